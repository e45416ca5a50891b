//! Small helpers of these tests, beside those that all share.

use std::fs;
use std::path::Path;

use cachestore::{Digest, Store};

#[path = "../support/mod.rs"]
mod support;

pub(crate) use support::tar::{Tar, upper_tar};
pub(crate) use support::{
    build, edit, fill, ingest, keep, named, own_directory, put_image, temporary, write,
};

/// Returns the names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

/// Removes every image, snapshot and download.
pub(crate) fn remove_everything(store: &Store) {
    for image in store.images() {
        store.remove_image(&image.id).expect("an image is removed");
    }
    // Snapshots stand on one another: those that others stand on go in a later round.
    while !store.snapshots().expect("the snapshots").is_empty() {
        let before = store.snapshots().expect("the snapshots");
        for snapshot in &before {
            match store.remove_snapshot(&snapshot.name) {
                Ok(()) | Err(cachestore::Error::InUse { .. }) => {}
                Err(error) => panic!("remove {}: {error}", snapshot.name),
            }
        }
        assert!(
            store.snapshots().expect("the snapshots").len() < before.len(),
            "none can be removed: {before:?}"
        );
    }
    for hex in names(&store.dir().join("p")) {
        let partial = store.partial(&Digest::from_hex(&hex).expect("a digest")).expect("a download");
        partial.remove().expect("a download is removed");
    }
}

/// Lets a day pass for every lease that an earlier process has left.
pub(crate) fn expire_leases(store: &Path) {
    edit(store, "UPDATE leases SET expires_at = 0");
}
