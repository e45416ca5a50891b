//! A store, and what the tests do with it.

use std::fs::File;
use std::path::{Path, PathBuf};

use cachestore::layer::{IfKeyed, Layer, LayerId, Step};
use cachestore::oci::manifest::Compression;
use cachestore::verify::Depth;
use cachestore::{Digest, Lease, Store};

use crate::outside::directory;
use crate::tree::Maker;

/// A place for a test, with a store in it.
pub(crate) struct Place {
    pub(crate) store: Store,
    pub(crate) lease: Lease,
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&directory.path().join("store"), "a test").expect("a new store");
        Self { lease: store.lease(), store, directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a directory beside the store.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        directory(self.path(name))
    }

    /// Commits a tree as a build does.
    pub(crate) fn build(&self, key: &str, below: &[LayerId], make: impl FnOnce(Maker)) -> Layer {
        let workspace = self.store.workspace().expect("a workspace");
        make(Maker(workspace.tree()));
        let step = Step { key, description: "", if_keyed: IfKeyed::Keep, below };
        self.store.commit_built(workspace, &step, &self.lease).expect("it is committed")
    }

    /// Unpacks and commits a layer as a pull does.
    pub(crate) fn pull(
        &self,
        blob: &Path,
        compression: Compression,
        diff_id: Digest,
        below: &[LayerId],
    ) -> Layer {
        let blob = File::open(blob).expect("the blob");
        let unpacked = self.store.unpack(blob, compression, diff_id).expect("it is unpacked");
        self.store.commit_unpacked(unpacked, below, &self.lease).expect("it is committed")
    }

    /// Writes the tar of a layer to a file.
    pub(crate) fn tar_of(&self, layer: &Layer, name: &str) -> PathBuf {
        let path = self.path(name);
        self.store.write_tar(layer, File::create(&path).expect("a file")).expect("the layer's tar");
        path
    }

    /// Every byte and every file of every layer is what it should be.
    pub(crate) fn assert_clean(&self) {
        let mut findings = Vec::new();
        self.store.verify(Depth::Content, &mut |finding| findings.push(finding)).expect("it can be done");
        assert_eq!(findings, []);
    }

    pub(crate) fn tree(&self, layer: &Layer) -> PathBuf {
        self.store.layer_tree(layer.id)
    }
}

/// Two files have the same bytes.
pub(crate) fn assert_same_bytes(what: &str, one: &Path, two: &Path) {
    let (one, two) = (std::fs::read(one).expect("a file"), std::fs::read(two).expect("a file"));
    assert!(!one.is_empty() && one == two, "{what}: {} and {} bytes", one.len(), two.len());
}
