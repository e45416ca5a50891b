#![doc = include_str!("../README.md")]

pub mod archive;
pub mod blobs;
pub mod chains;
pub mod digest;
pub mod disk;
pub mod error;
pub mod gc;
pub mod images;
pub mod kept;
pub mod layer;
pub mod leases;
mod meta;
pub mod oci;
mod open;
pub mod partial;
pub mod reference;
mod settle;
pub mod snapshots;
#[cfg(test)]
mod testing;
pub mod usage;
pub mod verify;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};

pub use digest::Digest;
pub use error::{Error, Result};
pub use images::Image;
pub use leases::Lease;
pub use reference::Reference;

/// An open store. Only one process has a store open; within it, the store may be used from any number of threads.
#[derive(Debug)]
pub struct Store {
    paths: disk::paths::Paths,
    meta: meta::Meta,
    images: RwLock<images::index::Index>,
    held: Arc<leases::Held>,
    registered: snapshots::Registered,
    discarded: snapshots::Discarded,
    boot: String,
    next_layer: AtomicI64,
    _lock: disk::lock::Lock,
}

impl Store {
    /// Returns the directory of the store.
    pub fn dir(&self) -> &Path {
        self.paths.root()
    }

    /// Returns the directory in which builds keep what they remember of their contexts. It is a cache; files that nobody
    /// has written for a month are removed when the store is opened.
    pub fn contexts_dir(&self) -> PathBuf {
        self.paths.contexts()
    }

    fn next_layer_id(&self) -> i64 {
        self.next_layer.fetch_add(1, Ordering::Relaxed)
    }

    /// Starts to protect what an operation finds and makes; see [`Lease`].
    pub fn lease(&self) -> Lease {
        Lease::new(&self.held)
    }
}
