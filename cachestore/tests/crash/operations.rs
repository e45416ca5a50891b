//! The operations, each with what it needs. Any of them may find that it was done before, whole or in part.

use cachestore::gc::{CachePolicy, Mode};
use cachestore::layer::{IfKeyed, LayerId};
use cachestore::oci::manifest::BlobRef;
use cachestore::snapshots::{Kind, Labels};
use cachestore::{Digest, Error, Result, Store};

use crate::archive::archive;
use crate::fixture::{self, build as build_layer, ingest as ingest_layer, named, put_image, upper_tar};

/// Nothing but what every store has.
pub(crate) fn nothing(_: &Store) {}

/// What cannot be done again because it is done is done.
fn done<T>(result: Result<T>) {
    match result {
        Ok(_) | Err(Error::AlreadyExists { .. } | Error::NotFound { .. }) => {}
        Err(error) => panic!("{error}: {error:?}"),
    }
}

fn blob() -> Digest {
    Digest::of(b"a blob that is on its way")
}

pub(crate) fn download(store: &Store) {
    let mut partial = store.partial(&blob()).expect("a download");
    if partial.length_bytes() == 0 {
        partial.append(b"the first bytes").expect("it grows");
    }
}

pub(crate) use download as a_download;

pub(crate) fn restart_download(store: &Store) {
    store.partial(&blob()).and_then(|partial| partial.restart()).expect("it restarts");
}

pub(crate) fn forget_download(store: &Store) {
    store.partial(&blob()).and_then(|partial| partial.remove()).expect("it goes");
}

/// The blob of the layer that [`ingest`] makes.
fn upper_blob() -> BlobRef {
    let tar = upper_tar();
    BlobRef { digest: Digest::of(&tar), size_bytes: tar.len() as u64 }
}

/// A layer, and all of the blob that it was unpacked from.
pub(crate) fn a_whole_download(store: &Store) {
    ingest(store);
    let mut partial = store.partial(&upper_blob().digest).expect("a download");
    partial.append(&upper_tar()).expect("it grows");
}

/// Where the blob is kept already, nothing is left to be done.
pub(crate) fn keep_download(store: &Store) {
    let blob = upper_blob();
    let lease = store.lease();
    let below = layers(store, "base:1");
    let layer =
        store.layer_by_diff_id(blob.digest, Some(&below), &lease).expect("an answer").expect("a layer");
    if store.kept_blobs().expect("the kept blobs").iter().any(|kept| kept.blob == blob) {
        return;
    }
    let mut partial = store.partial(&blob.digest).expect("a download");
    if partial.length_bytes() == 0 {
        // The kill came between its rename and its record: what had no record is gone, and is fetched again.
        partial.append(&upper_tar()).expect("it grows");
    }
    assert!(store.keep_blob(partial, &blob, layer.id).expect("it is kept"));
}

/// Returns the layers of an image, bottom first.
fn layers(store: &Store, image: &str) -> Vec<LayerId> {
    let image = store.expect_image(image).expect("the image");
    store.chain_layers(&image.chain.expect("its chain")).expect("its layers")
}

pub(crate) fn ingest(store: &Store) {
    ingest_layer(store, &upper_tar(), &layers(store, "base:1"), &store.lease());
}

pub(crate) use ingest as an_ingested_layer;

pub(crate) fn build(store: &Store) {
    build_layer(store, &store.lease(), ("step:new", "first"), &layers(store, "base:1"), IfKeyed::Keep);
}

pub(crate) use build as a_built_layer;

/// The step is run without the cache: its layer takes the key from the one that was there.
pub(crate) fn build_again(store: &Store) {
    let lease = store.lease();
    let there = store.layer_by_key("step:new", &lease).expect("an answer").expect("a layer");
    let content = std::fs::read_to_string(store.layer_tree(there.id).join("etc/new/file")).expect("its file");
    if content != "again" {
        build_layer(store, &lease, ("step:new", "again"), &layers(store, "base:1"), IfKeyed::Replace);
    }
}

/// Records an image of a layer that is there; it takes a name from another image.
pub(crate) fn record_image(store: &Store) {
    let lease = store.lease();
    let below = layers(store, "base:1");
    let base = store.hold_chain(&store.expect_image("base:1").expect("it").chain.expect("it"), &lease);
    let upper = store.layer_by_diff_id(Digest::of(&upper_tar()), Some(&below), &lease).expect("an answer");
    let layers = [named(&base.expect("the base")[0]), named(&upper.expect("a layer"))];
    put_image(store, &lease, &layers, &["new:1", "app"]);
}

/// All that a pull does: two layers, the second on top of the first, and their image.
pub(crate) fn pull(store: &Store) {
    let lease = store.lease();
    download(store);
    let lower = ingest_layer(store, &fixture::Tar::default().file("lower", b"x").end(), &[], &lease);
    let upper = ingest_layer(store, &upper_tar(), &[lower.id], &lease);
    forget_download(store);
    put_image(store, &lease, &[named(&lower), named(&upper)], &["pulled:1", "app"]);
}

/// An archive of one image of two layers, the second of which leaves directories out.
pub(crate) fn load(store: &Store) {
    store.load(&archive(&["new:1", "app"])[..], &|_| {}).expect("it is loaded");
}

fn give_name(store: &Store, image: &str, name: &str) {
    let id = store.expect_image(image).expect("the image").id;
    store.tag(&id, &name.parse().expect("a name")).expect("it is named");
}

pub(crate) fn tag(store: &Store) {
    give_name(store, "base:1", "base:mine");
}

pub(crate) fn move_tag(store: &Store) {
    give_name(store, "base:1", "app:latest");
}

pub(crate) fn untag(store: &Store) {
    done(store.untag(&"app:latest".parse().expect("a name")));
}

/// The image goes; its layers stay for the container, and its base for the other image.
pub(crate) fn remove_image(store: &Store) {
    if let Some(image) = store.resolve("app:1").expect("an answer") {
        store.remove_image(&image.id).expect("it is removed");
    }
}

/// An image that was removed, and a layer of the build cache whose build broke off yesterday.
pub(crate) fn garbage(store: &Store) {
    pull(store);
    build(store);
    let image = store.expect_image("pulled:1").expect("the image");
    let upper = *layers(store, "pulled:1").last().expect("a layer");
    fixture::keep(store, &upper_tar(), upper);
    store.remove_image(&image.id).expect("it is removed");
    fixture::expire_leases(store.dir());
}

/// A layer whose pull broke off yesterday.
pub(crate) fn a_broken_pull(store: &Store) {
    ingest(store);
    fixture::expire_leases(store.dir());
}

/// The lease goes, and only then what it kept.
pub(crate) fn expire(store: &Store) {
    store.collect(CachePolicy::KEEP_ALL, Mode::Remove).expect("it collects");
    let lease = store.lease();
    let layer = store.layer_by_diff_id(Digest::of(&upper_tar()), None, &lease).expect("an answer");
    assert!(layer.is_none(), "nothing has kept it");
}

pub(crate) fn collect(store: &Store) {
    store.collect(CachePolicy::DROP_ALL, Mode::Remove).expect("it collects");
}

pub(crate) fn settle(store: &Store) {
    store.settle().expect("it settles");
}

pub(crate) fn tree_digest(store: &Store) {
    let image = store.expect_image("app:1").expect("the image");
    let (chain, top) = (image.chain.expect("its chain"), layers(store, "app:1").pop().expect("a layer"));
    store.put_tree_digest(top, &chain, "etc", &Digest::of(b"etc")).expect("it is recorded");
    assert_eq!(store.tree_digest(&chain, "etc").expect("an answer"), Some(Digest::of(b"etc")));
}

fn prepare(store: &Store, name: &str, kind: Kind) {
    let chain = store.expect_image("app:1").expect("the image").chain.expect("its chain").to_string();
    done(store.prepare(name, kind, Some(&chain), &Labels::from([("k".to_owned(), "v".to_owned())])));
}

pub(crate) fn prepare_snapshot(store: &Store) {
    prepare(store, "new", Kind::Active);
}

pub(crate) fn prepare_view(store: &Store) {
    prepare(store, "new", Kind::View);
}

/// A container in which files were written.
pub(crate) fn an_active_snapshot(store: &Store) {
    prepare_snapshot(store);
    let own = fixture::own_directory(store, "new");
    std::fs::create_dir_all(own.join("d/e")).expect("directories");
    fixture::write(&own.join("d/e/file"), b"x");
    std::fs::create_dir_all(own.with_file_name("w").join("work/incompat")).expect("overlay's directories");
}

pub(crate) fn commit_snapshot(store: &Store) {
    done(store.commit_snapshot("committed", "new", &Labels::new()));
}

pub(crate) fn relabel_snapshot(store: &Store) {
    store
        .update_labels("box", |labels| drop(labels.insert("new".into(), "label".into())))
        .expect("its labels");
}

pub(crate) fn remove_snapshot(store: &Store) {
    done(store.remove_snapshot("new"));
    store.cleanup().expect("its directory goes");
}
