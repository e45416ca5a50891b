//! What the unit tests of this crate share.

use crate::Store;

/// Returns a new store in a directory that is removed with the first value; in memory where that can be, because a store
/// syncs what it writes.
pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let directory = directory.expect("a temporary directory");
    let store = Store::open(&directory.path().join("store"), "a unit test").expect("a new store");
    (directory, store)
}
