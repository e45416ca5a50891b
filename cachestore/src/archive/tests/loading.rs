//! Archives are loaded whole, or not at all and with the reason.

use std::cell::RefCell;

use super::*;
use crate::images::Name;
use crate::verify::Depth;

/// The members of an archive, by path.
type Parts = BTreeMap<String, Vec<u8>>;

/// An image of these layers as parts of an archive, under a name.
fn parts(layers: &[Vec<u8>], name: &str) -> Parts {
    let rootfs = RootFs { diff_ids: layers.iter().map(|tar| Digest::of(tar)).collect(), ..RootFs::default() };
    let config = ImageConfig { rootfs, ..ImageConfig::default() }.to_json().unwrap();
    let layer_ref = |tar: &Vec<u8>| LayerRef { blob: reference(tar), compression: Compression::None };
    let manifest = Manifest { config: reference(&config), layers: layers.iter().map(layer_ref).collect() };
    let manifest = manifest.to_json().unwrap();
    let mut parts = Parts::from([
        ("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".into(), described(&[(&manifest, name)])),
    ]);
    for blob in layers.iter().chain([&config, &manifest]) {
        parts.insert(blob_path(&Digest::of(blob)), blob.clone());
    }
    parts
}

fn described(manifests: &[(&Vec<u8>, &str)]) -> Vec<u8> {
    let descriptor = |(manifest, name): &(&Vec<u8>, &str)| {
        let annotations = json!({ "io.containerd.image.name": name });
        json!({ "mediaType": OCI_MANIFEST, "digest": Digest::of(manifest), "size": manifest.len(), "annotations": annotations })
    };
    let manifests: Vec<_> = manifests.iter().map(descriptor).collect();
    json!({ "schemaVersion": 2, "manifests": manifests }).to_string().into_bytes()
}

fn archived(parts: &Parts) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = Archive { output: &mut bytes, written: BTreeSet::new() };
    parts.iter().for_each(|(path, content)| archive.file(path, content).unwrap());
    archive.finish().unwrap();
    bytes
}

fn load(store: &Store, archive: &[u8]) -> Result<Vec<Arc<Image>>> {
    store.load(archive, &|_| {})
}

fn assert_clean(store: &Store) {
    let mut findings = Vec::new();
    store.verify(Depth::Content, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(findings, []);
    assert_eq!(std::fs::read_dir(store.paths.temporaries()).unwrap().count(), 0, "work in progress");
}

#[test]
fn what_was_saved_is_loaded() {
    for keep in [&[][..], &[0, 1]] {
        let ((_one, from), (_two, to)) = (store(), store());
        let pulled = pull(&from, keep);
        let names: Vec<Reference> =
            ["registry.k8s.io/app:v1", "app"].iter().map(|name| name.parse().unwrap()).collect();
        let mut archive = Vec::new();
        let saved = Saved { image: Arc::clone(&pulled.image), names: names.clone() };
        from.save(&[saved], &mut archive).unwrap();

        let seen = RefCell::new(Vec::new());
        let loaded = to.load(&archive[..], &|progress| seen.borrow_mut().push(progress)).unwrap();
        let [image] = &loaded[..] else { panic!("{loaded:?}") };
        assert_eq!((image.id, &image.diff_ids), (pulled.image.id, &pulled.image.diff_ids));
        assert_eq!((image.origin, image.is_local()), (Origin::Loaded, true));
        let mut local: Vec<_> =
            names.iter().map(|name| Name { reference: name.clone(), local: true }).collect();
        local.sort_by_key(|name| name.reference.to_string());
        assert_eq!(image.names, local);
        let manifest = if keep.is_empty() { image.manifest } else { pulled.image.manifest };
        assert_eq!(image.manifest, manifest, "what was kept comes back as it was");
        assert_clean(&to);
        let done = |phase| seen.borrow().iter().filter(|progress| progress.phase == phase).count();
        assert_eq!((done(Phase::Done), done(Phase::Exists)), (2, 0));
        assert!(seen.borrow().iter().any(
            |progress| progress.phase == Phase::Reading && progress.current_bytes == progress.total_bytes
        ));

        seen.borrow_mut().clear();
        assert_eq!(
            to.load(&archive[..], &|progress| seen.borrow_mut().push(progress)).unwrap()[0].id,
            image.id
        );
        let done = |phase| seen.borrow().iter().filter(|progress| progress.phase == phase).count();
        assert_eq!((done(Phase::Done), done(Phase::Exists)), (0, 2));
        assert_eq!(to.images().len(), 1);
        assert_clean(&to);
    }
}

#[test]
fn a_name_moves_to_what_was_loaded_last() {
    let (_directory, store) = store();
    let first = load(&store, &archived(&parts(&[tar_of("a/")], "app:1"))).unwrap();
    let second = load(&store, &archived(&parts(&[tar_of("a/"), tar_of("b/")], "app:1"))).unwrap();
    assert_eq!(store.expect_image("app:1").unwrap().id, second[0].id);
    assert!(store.image(&first[0].id).unwrap().names.is_empty());
    let layers = |image: &Image| store.chain_layers(&image.chain.unwrap()).unwrap();
    assert_eq!(layers(&first[0])[0], layers(&second[0])[0], "the layer is shared");
    assert_clean(&store);
}

#[test]
fn an_archive_that_is_cut_off_changes_nothing() {
    let (_directory, store) = store();
    let whole = archived(&parts(&[tar_of("a/"), tar_of("b/")], "app:1"));
    // The end of the archive is two blocks of zeros; all that an image needs is before them.
    for length in (0..whole.len() - 1024).step_by(256) {
        let error = load(&store, &whole[..length]).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{length} bytes: {error:?}");
        assert_eq!(store.images().len(), 0, "{length} bytes");
    }
    assert_clean(&store);
    load(&store, &whole[..whole.len() - 1024]).unwrap();
}

#[test]
fn a_changed_blob_is_named() {
    let (_directory, store) = store();
    let whole = parts(&[tar_of("a/"), tar_of("b/")], "app:1");
    for path in whole.keys().filter(|path| path.starts_with("blobs/")) {
        let mut changed = whole.clone();
        let content = changed.get_mut(path).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        let error = load(&store, &archived(&changed)).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains("digest"), "{error}");
        let mut lost = whole.clone();
        lost.remove(path).unwrap();
        let error = load(&store, &archived(&lost)).unwrap_err().to_string();
        let digest = path.rsplit('/').next().unwrap();
        assert!(error.contains(digest) && error.contains("not in the archive"), "{error}");
        assert_eq!(store.images().len(), 0);
    }
    assert_clean(&store);
}

/// Changes an archive's parts for the worse.
type Damage = fn(&mut Parts);

fn replace(parts: &mut Parts, path: &str, from: &str, to: &str) {
    let text = String::from_utf8(parts[path].clone()).unwrap();
    assert!(text.contains(from), "{text}");
    parts.insert(path.into(), text.replace(from, to).into_bytes());
}

/// Puts another image into the archive, with its own documents, and describes both.
fn add(parts: &mut Parts, layers: &[Vec<u8>], diff_ids: &[Digest], name: &str) {
    let rootfs = RootFs { diff_ids: diff_ids.to_vec(), ..RootFs::default() };
    let config = ImageConfig { rootfs, ..ImageConfig::default() }.to_json().unwrap();
    let layer_ref = |tar: &Vec<u8>| LayerRef { blob: reference(tar), compression: Compression::None };
    let manifest = Manifest { config: reference(&config), layers: layers.iter().map(layer_ref).collect() };
    let manifest = manifest.to_json().unwrap();
    parts.insert("index.json".into(), described(&[(&manifest, name)]));
    for blob in layers.iter().chain([&config, &manifest]) {
        parts.insert(blob_path(&Digest::of(blob)), blob.clone());
    }
}

#[test]
fn hostile_archives_are_refused() {
    let large = " ".repeat(5 << 20);
    let cases: [(&str, Damage); 17] = [
        ("this is no OCI image layout", |parts| drop(parts.remove("oci-layout"))),
        ("version \"2.0.0\"", |parts| replace(parts, "oci-layout", "1.0.0", "2.0.0")),
        ("oci-layout", |parts| drop(parts.insert("oci-layout".into(), b"{}".to_vec()))),
        ("is missing, or the archive is cut off", |parts| drop(parts.remove("index.json"))),
        ("index.json", |parts| drop(parts.insert("index.json".into(), b"[]".to_vec()))),
        ("it names no image", |parts| drop(parts.insert("index.json".into(), described(&[])))),
        ("a document of more than", |parts| drop(parts.insert("index.json".into(), vec![b' '; 5 << 20]))),
        ("names more than 1000 images", |parts| {
            let manifest = Vec::new();
            drop(parts.insert("index.json".into(), described(&vec![(&manifest, "a"); 1001])));
        }),
        ("its name leads out", |parts| drop(parts.insert("blobs/sha256/../../x".into(), Vec::new()))),
        ("its name is not a digest", |parts| drop(parts.insert("blobs/sha256/short".into(), Vec::new()))),
        ("and what names it says", |parts| replace(parts, "index.json", "\"size\":", "\"size\":1")),
        ("image reference \"UPPER\"", |parts| replace(parts, "index.json", "app:1", "UPPER")),
        ("manifest has 1 layers, its configuration 2", |parts| {
            let tar = tar_of("c/");
            add(parts, std::slice::from_ref(&tar), &[Digest::of(&tar), Digest::of(b"")], "other");
        }),
        ("its tar has the diff ID", |parts| add(parts, &[tar_of("c/")], &[Digest::of(b"")], "other")),
        ("its name leads out of the layer", |parts| {
            let mut tar = tar_of("xx/e/");
            tar[..5].copy_from_slice(b"../e/");
            let mut header = Header::from_byte_slice(&tar[..512]).clone();
            header.set_cksum();
            tar[..512].copy_from_slice(header.as_bytes());
            add(parts, std::slice::from_ref(&tar), &[Digest::of(&tar)], "other");
        }),
        ("not a tar archive", |parts| {
            let tar = vec![b'x'; 1024];
            add(parts, std::slice::from_ref(&tar), &[Digest::of(&tar)], "other");
        }),
        ("a document of more than", |parts| {
            let manifest = vec![b' '; 5 << 20];
            parts.insert("index.json".into(), described(&[(&manifest, "other")]));
            parts.insert(blob_path(&Digest::of(&manifest)), manifest);
        }),
    ];
    let (_directory, store) = store();
    for (expected, damage) in cases {
        let mut parts = parts(&[tar_of("a/")], "app:1");
        damage(&mut parts);
        let error = load(&store, &archived_raw(&parts)).map(|_| "loaded").unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{expected}: {error:?}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(store.images().len(), 0, "{expected}");
    }
    for garbage in [&b""[..], b"x", large.as_bytes(), &[0; 4096]] {
        assert!(matches!(load(&store, garbage), Err(Error::Invalid { .. })));
    }
    assert_clean(&store);
}

/// As [`archived`], with names that a careful writer would not write.
fn archived_raw(parts: &Parts) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, content) in parts {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn a_blob_that_is_no_file_is_refused() {
    let (_directory, store) = store();
    let whole = parts(&[tar_of("a/")], "app:1");
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Char] {
        for path in ["index.json", "oci-layout", &format!("blobs/sha256/{}", "0".repeat(64))] {
            let mut header = Header::new_ustar();
            header.set_path(path).unwrap();
            header.set_entry_type(kind);
            header.set_link_name("etc/shadow").unwrap();
            header.set_device_minor(1).unwrap();
            header.set_device_major(1).unwrap();
            header.set_size(0);
            header.set_cksum();
            let archive = [header.as_bytes(), &archived(&whole)[..]].concat();
            let error = load(&store, &archive).unwrap_err().to_string();
            assert!(error.contains("not a plain file") && error.contains(path), "{error}");
        }
    }
    assert_clean(&store);
}

#[test]
fn two_images_cannot_have_one_name() {
    let (_directory, store) = store();
    let (mut one, two) = (parts(&[tar_of("a/")], "app:1"), parts(&[tar_of("b/")], "app:1"));
    let manifests = [&one, &two].map(|parts| {
        let index = parse(&parts["index.json"]);
        let digest: Digest = index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap();
        parts[&blob_path(&digest)].clone()
    });
    one.extend(two);
    one.insert(
        "index.json".into(),
        described(&[(&manifests[0], "app:1"), (&manifests[1], "docker.io/library/app:1")]),
    );
    let error = load(&store, &archived(&one)).unwrap_err().to_string();
    assert!(error.contains("two images of the archive have this name"), "{error}");
    one.insert(
        "index.json".into(),
        described(&[(&manifests[0], "app:1"), (&manifests[1], "app:2"), (&manifests[0], "app:3")]),
    );
    let loaded = load(&store, &archived(&one)).unwrap();
    let names = |image: &Image| image.names.iter().map(|name| name.reference.familiar()).collect::<Vec<_>>();
    assert_eq!(
        loaded.iter().map(|image| names(image)).collect::<Vec<_>>(),
        [vec!["app:1", "app:3"], vec!["app:2"]]
    );
    assert_clean(&store);
}
