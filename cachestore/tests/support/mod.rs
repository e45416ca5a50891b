//! What the test binaries of this crate share: a store with one of everything.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cachestore::layer::{IfKeyed, Layer, LayerId, Step};
use cachestore::oci::manifest::{BlobRef, Compression};
use cachestore::snapshots::{Kind, Labels};
use cachestore::{Digest, Lease, Store};

mod image;
pub(crate) mod tar;

pub(crate) use self::image::put_image;
use self::tar::{DIRECTORY_MODE, FILE_MODE, TIME, base_tar};

/// Makes a directory for stores, in memory where that can be: these tests open hundreds of stores and sync each, and what
/// they end is a process, not the machine's power.
pub(crate) fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

/// Fills a store with two images of which one is built on the other, a container, a view, and an image that containerd
/// has unpacked by itself.
pub(crate) fn fill(store: &Store) {
    let lease = store.lease();
    let base = ingest(store, &base_tar(), &[], &lease);
    keep(store, &base_tar(), base.id);
    let top = build(store, &lease, ("step:app", "app"), &[base.id], IfKeyed::Keep);
    put_image(store, &lease, &[named(&base)], &["base:1"]);
    let layers = [named(&base), named(&top)];
    let app = put_image(store, &lease, &layers, &["app:1", "app"]);
    let chain = app.chain.expect("it has layers").to_string();
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    store.prepare("box", Kind::Active, Some(&chain), &labels).expect("a container");
    write(&own_directory(store, "box").join("written"), b"by the container");
    store.prepare("extract", Kind::Active, Some(&chain), &labels).expect("a snapshot");
    write(&own_directory(store, "extract").join("unpacked"), b"by containerd");
    store.commit_snapshot("unpacked", "extract", &labels).expect("it is committed");
    store.prepare("look", Kind::View, Some("unpacked"), &labels).expect("a view");
}

/// What an image is made of: a layer, and its diff ID.
pub(crate) fn named(layer: &Layer) -> (LayerId, Digest) {
    (layer.id, layer.diff_id)
}

/// Returns the directory in which an active snapshot keeps what is written.
pub(crate) fn own_directory(store: &Store, name: &str) -> std::path::PathBuf {
    let mounts = store.mounts(name).expect("how it is mounted");
    let upper = mounts[0].options.iter().find_map(|option| option.strip_prefix("upperdir="));
    upper.unwrap_or(&mounts[0].source).into()
}

/// Unpacks and commits a layer.
pub(crate) fn ingest(store: &Store, tar: &[u8], below: &[LayerId], lease: &Lease) -> Layer {
    let unpacked = store.unpack(tar, Compression::None, Digest::of(tar)).expect("it is unpacked");
    store.commit_unpacked(unpacked, below, lease).expect("it is committed")
}

/// Keeps a tar as the blob of a layer, as a pull does.
pub(crate) fn keep(store: &Store, tar: &[u8], layer: LayerId) {
    let blob = BlobRef { digest: Digest::of(tar), size_bytes: tar.len() as u64 };
    let mut download = store.partial(&blob.digest).expect("a download");
    download.append(tar).expect("it grows");
    assert!(store.keep_blob(download, &blob, layer).expect("it is kept"));
}

/// Commits what a build step made: new files, a file and a directory that are the same below, and what overlayfs leaves
/// in its work directory.
pub(crate) fn build(
    store: &Store,
    lease: &Lease,
    (key, content): (&str, &str),
    below: &[LayerId],
    if_keyed: IfKeyed,
) -> Layer {
    let workspace = store.workspace().expect("a workspace");
    let tree = workspace.tree();
    fs::create_dir_all(workspace.work().join("work")).expect("a directory");
    fs::create_dir_all(tree.join("etc/new")).expect("directories");
    write(&tree.join("etc/new/file"), content.as_bytes());
    write(&tree.join("etc/same"), b"same");
    fs::create_dir(tree.join("usr")).expect("a directory");
    for (path, mode) in [("etc/same", FILE_MODE), ("usr", DIRECTORY_MODE)] {
        let same = File::open(tree.join(path)).expect("it");
        same.set_permissions(fs::Permissions::from_mode(mode)).expect("its mode");
        same.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(TIME)).expect("its time");
    }
    for entry in ["etc/new/file", "etc/new", "etc"] {
        let entry = File::open(tree.join(entry)).expect("the file");
        entry.set_modified(std::time::UNIX_EPOCH).expect("its time");
    }
    let step = Step { key, description: "RUN something", if_keyed, below };
    store.commit_built(workspace, &step, lease).expect("it is committed")
}

/// Writes a file; nothing here need be durable.
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    let written = File::create(path).and_then(|mut file| file.write_all(bytes));
    written.unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}

/// Changes records behind the store's back.
pub(crate) fn edit(store: &Path, change: &str) {
    let connection = rusqlite::Connection::open(store.join("meta.db")).expect("the database");
    connection.busy_timeout(std::time::Duration::from_secs(20)).expect("a timeout");
    connection.execute_batch(change).expect("the change");
}
