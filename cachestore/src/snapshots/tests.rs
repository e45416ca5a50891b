use super::*;
use crate::gc::{CachePolicy, Mode};
use crate::images::{NewImage, Origin};
use crate::layer::{IfKeyed, Layer, Step};
use crate::oci::config::{ImageConfig, RootFs};
use crate::oci::manifest::{BlobRef, Manifest};
use crate::testing::store;
use crate::verify::Depth;

/// Records an image of layers that each hold one file; returns the layers and the chain.
fn image(store: &Store, files: &[&str]) -> (Vec<Layer>, Digest) {
    let lease = store.lease();
    let layers: Vec<Layer> = files
        .iter()
        .map(|name| {
            let workspace = store.workspace().unwrap();
            std::fs::File::create(workspace.tree().join(name)).unwrap();
            let key = format!("step:{name}");
            let step = Step { key: &key, description: "", if_keyed: IfKeyed::Keep, below: &[] };
            store.commit_built(workspace, &step, &lease).unwrap()
        })
        .collect();
    let rootfs = RootFs { diff_ids: layers.iter().map(|layer| layer.diff_id).collect(), ..RootFs::default() };
    let config = ImageConfig { rootfs, ..ImageConfig::default() }.to_json().unwrap();
    let manifest = Manifest {
        config: BlobRef { digest: Digest::of(&config), size_bytes: config.len() as u64 },
        layers: vec![],
    };
    let new = NewImage {
        config: &config,
        manifest: &manifest.to_json().unwrap(),
        layers: &layers.iter().map(|layer| layer.id).collect::<Vec<_>>(),
        origin: Origin::Built,
        names: &[],
        repo_digests: &[],
    };
    let image = store.put_image(&new, &lease).unwrap();
    (layers, image.chain.unwrap())
}

fn active(store: &Store, name: &str, parent: &str) -> Result<Vec<Mount>> {
    store.prepare(name, Kind::Active, Some(parent), &Labels::new())
}

fn findings(store: &Store) -> Vec<String> {
    let mut findings = Vec::new();
    store.verify(Depth::Content, &mut |finding| findings.push(format!("{finding:?}"))).unwrap();
    findings
}

#[test]
fn a_container_is_mounted_from_the_layers_themselves() {
    let (_directory, store) = store();
    let (layers, chain) = image(&store, &["a", "b"]);
    let mounts = active(&store, "k8s.io/1/box", &chain.to_string()).unwrap();
    let trees: Vec<_> =
        layers.iter().rev().map(|layer| store.layer_tree(layer.id).display().to_string()).collect();
    assert_eq!(mounts[0].options.last().unwrap(), &format!("lowerdir={}", trees.join(":")));
    assert_eq!(store.mounts("k8s.io/1/box").unwrap(), mounts);
    assert_eq!(findings(&store), Vec::<String>::new());
}

#[test]
fn chains_need_no_registration() {
    let (_directory, store) = store();
    let (_, chain) = image(&store, &["a", "b"]);
    let info = store.snapshot(&chain.to_string()).unwrap();
    assert_eq!(info.kind, Kind::Committed);
    assert_eq!(info.parent, store.chain_parent(&chain).unwrap().map(|parent| parent.to_string()));
    assert!(store.usage(&chain.to_string()).unwrap().inodes >= 2);
    assert!(store.snapshots().unwrap().is_empty(), "the store must not be listed whole");
}

#[test]
fn a_request_by_reference_is_answered_with_the_chain() {
    let (_directory, store) = store();
    let (layers, chain) = image(&store, &["a", "b"]);
    let base = layers[0].diff_id.to_string();
    let ask = |chain: &str, parent: Option<&str>| {
        let labels = Labels::from([(LABEL_REF.to_owned(), chain.to_owned())]);
        store.prepare("k8s.io/1/extract", Kind::Active, parent, &labels)
    };
    assert!(matches!(ask(&base, None), Err(Error::AlreadyExists { name, .. }) if name == base));
    let top = chain.to_string();
    assert!(matches!(ask(&top, Some(&base)), Err(Error::AlreadyExists { name, .. }) if name == top));
    let listed: Vec<_> = store.snapshots().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(listed.len(), 2);
    assert!(ask(&top, None).is_ok(), "another parent: containerd must unpack by itself");
    store.remove_snapshot("k8s.io/1/extract").unwrap();
    assert!(ask(&Digest::of(b"unknown").to_string(), None).is_ok());
}

#[test]
fn removing_a_chain_leaves_its_layers() {
    let (_directory, store) = store();
    let (layers, chain) = image(&store, &["a"]);
    store.set_registered([chain].into());
    active(&store, "box", &chain.to_string()).unwrap();
    assert!(matches!(store.remove_snapshot(&chain.to_string()), Err(Error::InUse { .. })));
    store.remove_snapshot("box").unwrap();
    store.remove_snapshot(&chain.to_string()).unwrap();
    assert!(store.layer_tree(layers[0].id).is_dir() && store.snapshots().unwrap().is_empty());
}

#[test]
fn a_container_keeps_its_layers_when_the_image_goes() {
    let (_directory, store) = store();
    let (layers, chain) = image(&store, &["a", "b"]);
    active(&store, "box", &chain.to_string()).unwrap();
    store.remove_image(&store.images()[0].id).unwrap();
    let collected = store.collect(CachePolicy::DROP_ALL, Mode::Remove).unwrap();
    assert_eq!((collected.layers.len(), collected.blobs.len()), (0, 2));
    store.remove_snapshot("box").unwrap();
    let dry = store.collect(CachePolicy::DROP_ALL, Mode::DryRun).unwrap();
    assert!(store.layer_tree(layers[0].id).is_dir());
    assert_eq!(store.collect(CachePolicy::DROP_ALL, Mode::Remove).unwrap(), dry);
    assert_eq!(dry.layers.len(), 2);
    assert!(!store.layer_tree(layers[0].id).exists());
    assert_eq!(findings(&store), Vec::<String>::new());
}

#[test]
fn a_lease_and_the_cache_keep_layers() {
    let (_directory, store) = store();
    let (layers, _) = image(&store, &["a"]);
    let lease = store.lease();
    store.remove_image(&store.images()[0].id).unwrap();
    assert!(store.collect(CachePolicy::KEEP_ALL, Mode::Remove).unwrap().layers.is_empty());
    assert!(store.layer_by_key("step:a", &lease).unwrap().is_some());
    assert!(store.collect(CachePolicy::DROP_ALL, Mode::Remove).unwrap().layers.is_empty());
    drop(lease);
    assert_eq!(store.collect(CachePolicy::DROP_ALL, Mode::Remove).unwrap().layers, [layers[0].diff_id]);
}

#[test]
fn containerd_may_unpack_by_itself() {
    let (_directory, store) = store();
    let (_, chain) = image(&store, &["a"]);
    active(&store, "extract", &chain.to_string()).unwrap();
    let upper = store.mounts("extract").unwrap()[0].options[2].replace("upperdir=", "");
    std::fs::File::create(std::path::Path::new(&upper).join("new")).unwrap();
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    store.commit_snapshot("k8s.io/2/sha256:x", "extract", &labels).unwrap();
    let info = store.snapshot("k8s.io/2/sha256:x").unwrap();
    assert_eq!((info.kind, &info.labels), (Kind::Committed, &labels));
    assert!(store.snapshot("extract").unwrap_err().is_not_found());
    let mounts = active(&store, "box", "k8s.io/2/sha256:x").unwrap();
    let lower = mounts[0].options.last().unwrap();
    assert!(lower.starts_with(&format!("lowerdir={upper}:")) && lower.contains("/l/"), "{lower}");
    assert!(matches!(store.remove_snapshot("k8s.io/2/sha256:x"), Err(Error::InUse { .. })));
    assert!(matches!(active(&store, "on-box", "box"), Err(Error::Invalid { .. })));
    assert!(matches!(active(&store, "box", "k8s.io/2/sha256:x"), Err(Error::AlreadyExists { .. })));
    assert!(active(&store, "lost", "absent").unwrap_err().is_not_found());
    store.remove_snapshot("box").unwrap();
    store.remove_snapshot("k8s.io/2/sha256:x").unwrap();
    store.cleanup().unwrap();
    assert_eq!(findings(&store), Vec::<String>::new());
}

#[test]
fn labels_change() {
    let (_directory, store) = store();
    let (_, chain) = image(&store, &["a"]);
    active(&store, "box", &chain.to_string()).unwrap();
    for name in ["box", &chain.to_string()] {
        let info = store.update_labels(name, |labels| drop(labels.insert("k".into(), "v".into()))).unwrap();
        assert_eq!(info.labels["k"], "v");
        assert_eq!(store.snapshot(name).unwrap().labels, info.labels);
    }
}

#[test]
fn a_writable_layer_grows() {
    let (_directory, store) = store();
    store.prepare("box", Kind::Active, None, &Labels::new()).unwrap();
    let before = store.usage("box").unwrap();
    let directory = store.mounts("box").unwrap()[0].source.clone();
    let mut file = std::fs::File::create(std::path::Path::new(&directory).join("file")).unwrap();
    std::io::Write::write_all(&mut file, &[1; 100_000]).unwrap();
    let after = store.usage("box").unwrap();
    assert_eq!(after.inodes, before.inodes + 1);
    assert!(after.size_bytes >= before.size_bytes + 100_000);
}

#[test]
fn what_is_on_its_way_out_is_no_finding() {
    let (_directory, store) = store();
    let directory = store.paths.snapshot(7);
    std::fs::create_dir(&directory).unwrap();
    store.discarded.announce(directory.clone());
    assert_eq!(findings(&store), Vec::<String>::new());
    store.discard(&directory).unwrap();
    std::fs::create_dir(&directory).unwrap();
    assert_eq!(findings(&store).len(), 1, "it is announced no more");
    store.cleanup().unwrap();
    assert_eq!(std::fs::read_dir(store.paths.temporaries()).unwrap().count(), 0);
    // What is gone already needs no move.
    store.discard(&store.paths.snapshot(8)).unwrap();
}

#[test]
fn a_check_does_not_mind_what_happens_meanwhile() {
    let (_directory, store) = store();
    let (_, chain) = image(&store, &["a", "b"]);
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..40 {
                active(&store, "box", &chain.to_string()).unwrap();
                store.remove_snapshot("box").unwrap();
                let lease = store.lease();
                let workspace = store.workspace().unwrap();
                std::fs::File::create(workspace.tree().join(format!("{round}"))).unwrap();
                let step = Step { key: "k", description: "", if_keyed: IfKeyed::Replace, below: &[] };
                store.commit_built(workspace, &step, &lease).unwrap();
                drop(lease);
                expire_leases(&store);
                store.collect(CachePolicy::DROP_ALL, Mode::Remove).unwrap();
            }
            is_done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        while !is_done.load(std::sync::atomic::Ordering::SeqCst) {
            assert_eq!(findings(&store), Vec::<String>::new());
        }
    });
}

fn expire_leases(store: &Store) {
    let expire = |transaction: &rusqlite::Transaction<'_>| {
        transaction.execute("UPDATE leases SET expires_at = 0", []).unwrap();
        Ok(())
    };
    store.meta.write("expire leases", expire).unwrap();
}
