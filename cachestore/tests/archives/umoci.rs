//! umoci reads images that we save, and we read layers that it writes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use cachestore::archive::Saved;
use cachestore::layer::LayerId;
use cachestore::oci::config::ImageConfig;
use cachestore::oci::manifest::{Compression, Document, LayerRef};
use cachestore::{Digest, Image};

use crate::outside::{merge, run};
use crate::store::Place;
use crate::tree::{Maker, Picture, assert_same, describe};

#[path = "../support/image.rs"]
mod image;

/// An image layout on the disk (OCI image specification, image-layout.md).
struct Layout(PathBuf);

impl Layout {
    /// Saves an image under a tag, as `shimctl save` does, and extracts the archive.
    fn save(place: &Place, image: &Image, tag: &str) -> Self {
        let archive = place.path("saved.tar");
        let name = format!("registry.test/image:{tag}").parse().expect("a name");
        let saved = Saved { image: image.clone().into(), names: vec![name] };
        place.store.save(&[saved], File::create(&archive).expect("a file")).expect("it is saved");
        let layout = place.directory("layout");
        run("tar", ["-xf".as_ref(), archive.as_os_str(), "-C".as_ref(), layout.as_os_str()]);
        Self(layout)
    }

    fn tag(&self, tag: &str) -> String {
        format!("{}:{tag}", self.0.display())
    }

    /// Lets umoci unpack an image; returns its bundle.
    fn unpack(&self, tag: &str, bundle: PathBuf) -> PathBuf {
        run("umoci", ["unpack", "--image", &self.tag(tag), bundle.to_str().expect("our own path")]);
        bundle
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.0.join("blobs/sha256").join(digest.hex())
    }

    /// Returns the layers of an image: the blob of each, and its diff ID.
    fn layers(&self, tag: &str) -> Vec<(LayerRef, Digest)> {
        let read = |path: &Path| fs::read(path).expect("a document");
        let index: serde_json::Value =
            serde_json::from_slice(&read(&self.0.join("index.json"))).expect("JSON");
        let manifests = index["manifests"].as_array().expect("a list");
        let name = "org.opencontainers.image.ref.name";
        let found = manifests.iter().find(|entry| entry["annotations"][name] == tag).expect("the tag");
        let digest = found["digest"].as_str().expect("a digest").parse().expect("a digest");
        let Document::Manifest(manifest) = Document::parse(&read(&self.blob(&digest)), None).expect("it")
        else {
            panic!("{digest} is no manifest");
        };
        let config = ImageConfig::parse(&read(&self.blob(&manifest.config.digest))).expect("a configuration");
        assert_eq!(manifest.layers.len(), config.rootfs.diff_ids.len());
        manifest.layers.into_iter().zip(config.rootfs.diff_ids).collect()
    }

    /// Takes the layers of an image into a store, as a pull does.
    fn pull(&self, tag: &str, place: &Place) -> Vec<LayerId> {
        let mut below = Vec::new();
        for (layer, diff_id) in self.layers(tag) {
            let blob = self.blob(&layer.blob.digest);
            below.push(place.pull(&blob, layer.compression, diff_id, &below).id);
        }
        below
    }
}

/// Returns what a container sees of layers.
fn seen(place: &Place, layers: &[LayerId], name: &str) -> Picture {
    describe(&merge(&place.store.lower_dirs(layers), &place.directory(name)))
}

/// Go's tar takes an attribute without a value for none.
fn without_empty_attributes(mut picture: Picture) -> Picture {
    picture.values_mut().for_each(|node| node.attributes.retain(|_, value| !value.is_empty()));
    picture
}

/// Commits and records an image of two layers, and saves it with the tag 1.
fn saved(place: &Place) -> (Layout, Vec<LayerId>) {
    let base = place.build("base", &[], |maker| drop(maker.oldest().ustar().gnu().pax().attributes()));
    let top = place.build("top", &[base.id], |maker| drop(maker.change()));
    let layers = [(base.id, base.diff_id), (top.id, top.diff_id)];
    let image = image::put_image(&place.store, &place.lease, &layers, &["image:1"]);
    let layout = Layout::save(place, &image, "1");
    let found: Vec<_> =
        layout.layers("1").into_iter().map(|(layer, diff_id)| (layer.compression, diff_id)).collect();
    assert_eq!(found, [(Compression::None, base.diff_id), (Compression::None, top.diff_id)]);
    (layout, vec![base.id, top.id])
}

#[test]
fn umoci_unpacks_what_we_save() {
    let place = Place::new();
    let (layout, layers) = saved(&place);
    let bundle = layout.unpack("1", place.path("bundle"));
    let ours = seen(&place, &layers, "ours");
    let theirs = describe(&bundle.join("rootfs"));
    assert_same("what umoci unpacked", &theirs, &without_empty_attributes(ours.clone()));
    let names: Vec<_> =
        ["etc/passwd", "srv/a-link", "etc/empty/new"].map(|name| ours.contains_key(OsStr::new(name))).into();
    assert_eq!(names, [false, true, true]);
}

/// What somebody does in a container: every kind of change to what is below, one after the other.
const CHANGES: &str = r#"
    rm etc/set-id && mkdir etc/set-id && echo x >etc/set-id/file
    rm -r srv && mkdir -m 1777 srv && echo new >srv/only-this && ln srv/only-this srv/again
    rm -r usr && ln -s etc usr
    chmod 700 etc/empty && chown 5:6 etc/empty/new
    touch -d '2001-02-03 04:05:06.789' only-a-hole
    mkfifo var-fifo && mknod var-null c 1 3
    mkdir -p deep/er/and/deeper && echo bottom >deep/er/and/deeper/file
    rm to-long && echo smaller >to-long
"#;

#[test]
fn we_read_what_umoci_repacks_and_inserts() {
    let place = Place::new();
    let (layout, _) = saved(&place);
    let bundle = layout.unpack("1", place.path("bundle"));
    let rootfs = bundle.join("rootfs");
    run(
        "sh",
        [
            "-euc".as_ref(),
            "cd \"$1\"; eval \"$2\"".as_ref(),
            "sh".as_ref(),
            rootfs.as_os_str(),
            CHANGES.as_ref(),
        ],
    );
    run("umoci", ["repack", "--image", &layout.tag("2"), bundle.to_str().expect("our own path")]);
    assert_eq!(layout.layers("2").len(), 3);
    let layers = layout.pull("2", &place);
    // Not with the tree itself: umoci writes whole seconds.
    let again = layout.unpack("2", place.path("bundle-2"));
    let ours = without_empty_attributes(seen(&place, &layers, "repacked"));
    assert_same("what umoci repacked", &ours, &describe(&again.join("rootfs")));

    let source = place.directory("source");
    Maker(source.clone()).oldest();
    let (source, tag) = (source.display().to_string(), layout.tag("2"));
    run("umoci", ["insert", "--image", &tag, "--tag", "3", &source, "/new/place"]);
    run("umoci", ["insert", "--image", &layout.tag("3"), "--opaque", &source, "/deep"]);
    run("umoci", ["insert", "--image", &layout.tag("3"), "--whiteout", "/var-null"]);
    let bundle = layout.unpack("3", place.path("bundle-3"));
    let other = Place::new();
    let layers = layout.pull("3", &other);
    other.assert_clean();
    assert_eq!(layers.len(), 6);
    let mut ours = without_empty_attributes(seen(&other, &layers, "inserted"));
    let mut theirs = describe(&bundle.join("rootfs"));
    // No layer contains this directory: its time is that of its making.
    let implicit = OsStr::new("new");
    let times =
        [&mut ours, &mut theirs].map(|tree| std::mem::take(&mut tree.get_mut(implicit).expect("it").mtime));
    assert!(times.iter().all(|time| time.0 > 0), "{times:?}");
    assert_same("what umoci inserted", &ours, &theirs);
    let names: Vec<_> = ["new/place/etc/passwd", "deep/etc/passwd", "deep/er", "var-null", "var-fifo"]
        .map(|name| ours.contains_key(OsStr::new(name)))
        .into();
    assert_eq!(names, [true, true, false, false, true]);
}
