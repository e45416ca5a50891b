//! What an archive has in it of images whose blobs were kept.

mod loading;

use std::io::{Read, Write};

use serde_json::Value;

use super::*;
use crate::images::{NewImage, Origin};
use crate::layer::LayerId;
use crate::oci::config::RootFs;
use crate::oci::manifest::OCI_MANIFEST;
use crate::testing::store;

/// A tar of one empty directory.
fn tar_of(name: &str) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_path(name).unwrap();
    header.set_mode(0o755);
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    header.set_mtime(1);
    header.set_size(0);
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    tar.resize(3 * 512, 0);
    tar
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn reference(bytes: &[u8]) -> BlobRef {
    BlobRef { digest: Digest::of(bytes), size_bytes: bytes.len() as u64 }
}

/// An image of two layers as docker's own tools write it, with blanks that no program of ours leaves in a manifest.
struct Pulled {
    blobs: Vec<Vec<u8>>,
    manifest: Vec<u8>,
    image: Arc<Image>,
}

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Takes the image into a store, and keeps the blobs of the layers of these numbers.
fn pull(store: &Store, keep: &[usize]) -> Pulled {
    let lease = store.lease();
    let tars = [tar_of("first/"), tar_of("second/")];
    let blobs: Vec<Vec<u8>> = tars.iter().map(|tar| gzip(tar)).collect();
    let mut layers: Vec<LayerId> = Vec::new();
    for (number, (tar, blob)) in tars.iter().zip(&blobs).enumerate() {
        let unpacked = store.unpack(&blob[..], Compression::Gzip, Digest::of(tar)).unwrap();
        let layer = store.commit_unpacked(unpacked, &layers, &lease).unwrap();
        layers.push(layer.id);
        if keep.contains(&number) {
            let mut download = store.partial(&Digest::of(blob)).unwrap();
            download.append(blob).unwrap();
            assert!(store.keep_blob(download, &reference(blob), layer.id).unwrap());
        }
    }
    let rootfs = RootFs { diff_ids: tars.iter().map(|tar| Digest::of(tar)).collect(), ..RootFs::default() };
    let config = ImageConfig { rootfs, ..ImageConfig::default() }.to_json().unwrap();
    let manifest = Manifest {
        config: reference(&config),
        layers: blobs
            .iter()
            .map(|blob| LayerRef { blob: reference(blob), compression: Compression::Gzip })
            .collect(),
    };
    let manifest: Value = serde_json::from_slice(&manifest.to_json().unwrap()).unwrap();
    let manifest =
        serde_json::to_string_pretty(&manifest).unwrap().replace(OCI_MANIFEST, DOCKER).into_bytes();
    let new = NewImage {
        config: &config,
        manifest: &manifest,
        layers: &layers,
        origin: Origin::Pulled,
        names: &[],
        repo_digests: &[],
    };
    let image = store.put_image(&new, &lease).unwrap();
    Pulled { blobs, manifest, image }
}

/// Saves an image; returns the members of the archive.
fn save(store: &Store, image: &Arc<Image>) -> BTreeMap<String, Vec<u8>> {
    let mut archive = Vec::new();
    store.save(&[Saved { image: Arc::clone(image), names: vec![] }], &mut archive).unwrap();
    let mut members = BTreeMap::new();
    for member in tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut member = member.unwrap();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).unwrap();
        members.insert(member.path().unwrap().display().to_string(), bytes);
    }
    members
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn an_image_of_kept_blobs_goes_out_as_it_came_in() {
    let (_directory, store) = store();
    let pulled = pull(&store, &[0, 1]);
    let members = save(&store, &pulled.image);
    let described = &parse(&members["index.json"])["manifests"][0];
    assert_eq!(described["digest"], pulled.image.manifest.to_string());
    assert_eq!(described["mediaType"], DOCKER);
    assert_eq!(described["size"], pulled.manifest.len());
    assert_eq!(members[&blob_path(&pulled.image.manifest)], pulled.manifest);
    let blobs: Vec<_> = pulled.blobs.iter().map(|blob| blob_path(&Digest::of(blob))).collect();
    for (path, blob) in blobs.iter().zip(&pulled.blobs) {
        assert_eq!(&members[path], blob);
    }
    assert_eq!(parse(&members["manifest.json"])[0]["Layers"], json!(blobs));
    // Besides manifest and layers: layout, index, docker's manifest, two directories, configuration.
    assert_eq!(members.len(), 3 + 6);
}

#[test]
fn an_image_that_lacks_a_kept_blob_goes_out_uncompressed() {
    type Damage = fn(&Store);
    let keeps: [(&[usize], Damage); 4] = [
        (&[], |_| {}),
        (&[1], |_| {}),
        // What the file of the second is, is seen before a byte is written.
        (&[0, 1], |store| std::fs::remove_file(store.paths.kept_blob(2)).unwrap()),
        (&[0, 1], |store| std::fs::File::create(store.paths.kept_blob(2)).map(drop).unwrap()),
    ];
    for (keep, damage) in keeps {
        let (_directory, store) = store();
        let pulled = pull(&store, keep);
        damage(&store);
        let members = save(&store, &pulled.image);
        let described = &parse(&members["index.json"])["manifests"][0];
        assert_eq!(described["mediaType"], OCI_MANIFEST);
        let manifest = described["digest"].as_str().unwrap().parse().unwrap();
        assert_ne!(manifest, pulled.image.manifest);
        let layers = &parse(&members[&blob_path(&manifest)])["layers"];
        for (layer, tar) in layers.as_array().unwrap().iter().zip([tar_of("first/"), tar_of("second/")]) {
            assert_eq!(layer["mediaType"], Compression::None.media_type());
            assert_eq!(layer["digest"], Digest::of(&tar).to_string());
            assert_eq!(members[&blob_path(&Digest::of(&tar))], tar);
        }
        assert_eq!(members.len(), 3 + 6);
    }
}

#[test]
fn a_kept_blob_that_is_damaged_spoils_the_archive() {
    let (_directory, store) = store();
    let pulled = pull(&store, &[0, 1]);
    let place = store.paths.kept_blob(1);
    let length = std::fs::metadata(&place).unwrap().len();
    std::fs::File::create(&place).unwrap().set_len(length).unwrap();
    let saved = Saved { image: pulled.image, names: vec![] };
    let error = store.save(&[saved], std::io::sink()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
}
