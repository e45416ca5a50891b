use super::*;
use crate::layer::{IfKeyed, Step};
use crate::oci::config::RootFs;
use crate::oci::manifest::{BlobRef, Manifest};
use crate::testing::store;
use crate::verify::Depth;

fn names(names: &[&str], local: bool) -> Vec<Name> {
    names.iter().map(|name| Name { reference: name.parse().unwrap(), local }).collect()
}

/// Records an image without layers whose configuration differs by `label`.
fn put(store: &Store, label: &str, origin: Origin, image_names: &[&str], digests: &[&str]) -> Arc<Image> {
    let config = ImageConfig { author: label.into(), ..ImageConfig::default() }.to_json().unwrap();
    let manifest = Manifest {
        config: BlobRef { digest: Digest::of(&config), size_bytes: config.len() as u64 },
        layers: vec![],
    };
    let repo_digests: Vec<Reference> = digests.iter().map(|digest| digest.parse().unwrap()).collect();
    let new = NewImage {
        config: &config,
        manifest: &manifest.to_json().unwrap(),
        layers: &[],
        origin,
        names: &names(image_names, origin != Origin::Pulled),
        repo_digests: &repo_digests,
    };
    store.put_image(&new, &store.lease()).unwrap()
}

fn called(image: &Image) -> Vec<String> {
    image.names.iter().map(|name| name.reference.to_string()).collect()
}

fn assert_clean(store: &Store) {
    let mut findings = Vec::new();
    store.verify(Depth::Content, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(findings, []);
}

#[test]
fn every_form_of_a_name_means_the_same_image() {
    let (_directory, store) = store();
    let registry = Digest::of(b"what the registry has");
    let pulled = format!("docker.io/library/hellodocker@{registry}");
    let image = put(&store, "a", Origin::Built, &["hellodocker"], &[&pulled]);
    put(&store, "b", Origin::Built, &["other:1"], &[]);
    let hex = image.id.hex();
    for word in [
        "hellodocker",
        "hellodocker:latest",
        "docker.io/hellodocker",
        "docker.io/library/hellodocker:latest",
        &image.id.to_string(),
        &hex,
        &hex[..12],
        &hex[..4],
        &format!("sha256:{}", &hex[..8]),
        &image.manifest.to_string(),
        &registry.to_string(),
        &pulled,
        &format!("hellodocker@{registry}"),
        &format!("hellodocker:latest@{registry}"),
        &format!("hellodocker@{}", image.manifest),
    ] {
        let found = store.resolve(word).unwrap().map(|found| found.id);
        assert_eq!(found, Some(image.id), "{word}");
    }
    for word in
        ["hellodocker:1", "localhost/hellodocker", "ffff", "sha256:ffff", &format!("other@{registry}")]
    {
        assert!(store.resolve(word).unwrap().is_none(), "{word}");
        assert!(store.expect_image(word).unwrap_err().is_not_found());
    }
    assert!(store.resolve("Not A Name").is_err());
    assert!(store.resolve("").is_err());
}

#[test]
fn the_beginning_of_two_ids_means_neither() {
    let (_directory, store) = store();
    let images: Vec<_> =
        (0..17).map(|number| put(&store, &number.to_string(), Origin::Built, &[], &[])).collect();
    let first = |image: &Image| image.id.hex()[..1].to_owned();
    let shared = images.iter().find(|a| images.iter().filter(|b| first(a) == first(b)).count() > 1).unwrap();
    assert!(matches!(store.resolve(&first(shared)), Err(Error::Invalid { .. })));
}

#[test]
fn a_name_that_moves_leaves_its_image_behind() {
    let (_directory, store) = store();
    let old = put(&store, "old", Origin::Built, &["app"], &[]);
    let new = put(&store, "new", Origin::Built, &["app", "app:2"], &[]);
    assert_eq!(called(&store.image(&old.id).unwrap()), Vec::<String>::new());
    assert_eq!(called(&new), ["docker.io/library/app:2", "docker.io/library/app:latest"]);
    assert_eq!(store.resolve("app").unwrap().unwrap().id, new.id);
    store.tag(&old.id, &"app:old".parse().unwrap()).unwrap();
    store.tag(&old.id, &"app:2".parse().unwrap()).unwrap();
    assert_eq!(called(&store.image(&new.id).unwrap()), ["docker.io/library/app:latest"]);
    let left = store.untag(&"app:old".parse().unwrap()).unwrap();
    assert_eq!((left.id, called(&left)), (old.id, vec!["docker.io/library/app:2".to_owned()]));
    assert!(store.untag(&"app:old".parse().unwrap()).unwrap_err().is_not_found());
    assert_clean(&store);
}

#[test]
fn what_is_removed_is_gone_and_may_come_back() {
    let (_directory, store) = store();
    let image = put(&store, "a", Origin::Pulled, &["a:1", "b:2"], &[]);
    store.remove_image(&image.id).unwrap();
    store.remove_image(&image.id).unwrap();
    assert!(store.resolve("a:1").unwrap().is_none() && store.images().is_empty());
    assert_eq!(put(&store, "a", Origin::Pulled, &["a:1"], &[]).id, image.id);
    assert_clean(&store);
}

#[test]
fn only_what_a_registry_can_give_back_is_not_local() {
    let (_directory, store) = store();
    assert!(put(&store, "built", Origin::Built, &[], &[]).is_local());
    assert!(put(&store, "loaded", Origin::Loaded, &["l"], &[]).is_local());
    let pulled = put(&store, "pulled", Origin::Pulled, &["p"], &[]);
    assert!(!pulled.is_local());
    store.tag(&pulled.id, &"mine".parse().unwrap()).unwrap();
    assert!(store.image(&pulled.id).unwrap().is_local());
}

#[test]
fn images_are_there_again_after_a_restart() {
    let (directory, store) = store();
    let image = put(&store, "a", Origin::Built, &["a"], &[]);
    drop(store);
    let store = Store::open(&directory.path().join("store"), "again").unwrap();
    let found = store.resolve("a").unwrap().unwrap();
    assert_eq!((found.id, found.size_bytes, found.origin), (image.id, image.size_bytes, Origin::Built));
}

#[test]
fn layers_must_be_those_of_the_configuration() {
    let (_directory, store) = store();
    let lease = store.lease();
    let step = Step { key: "step:1", description: "", if_keyed: IfKeyed::Keep, below: &[] };
    let layer = store.commit_built(store.workspace().unwrap(), &step, &lease).unwrap();
    let rootfs = RootFs { diff_ids: vec![layer.diff_id], ..RootFs::default() };
    let config = ImageConfig { rootfs, ..ImageConfig::default() }.to_json().unwrap();
    let new = |layers| NewImage {
        config: &config,
        manifest: b"{}",
        layers,
        origin: Origin::Built,
        names: &[],
        repo_digests: &[],
    };
    assert!(matches!(store.put_image(&new(&[]), &lease), Err(Error::Invalid { .. })));
    assert_eq!(store.put_image(&new(&[layer.id]), &lease).unwrap().chain, Some(layer.diff_id));
}
