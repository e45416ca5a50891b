//! What the unit tests of this crate share.

use crate::Store;

/// Returns a new store in a directory that is removed with the first value.
pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(&directory.path().join("store"), "a unit test").expect("a new store");
    (directory, store)
}
