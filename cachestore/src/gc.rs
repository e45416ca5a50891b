//! Collection: what nothing needs any more is found, its records are removed, then its bytes.

mod mark;
mod sweep;

use std::time::Duration;

use crate::digest::Digest;

/// What a collection may take besides what nothing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// Layers of build steps that no image needs are kept if they were used within this time …
    pub keep_used_within: Duration,
    /// … and until they take this much of the disk together; the ones longest not used go first.
    pub keep_bytes: u64,
}

impl CachePolicy {
    /// Keeps no layer that no image needs.
    pub const DROP_ALL: Self = Self { keep_used_within: Duration::ZERO, keep_bytes: 0 };
    /// Keeps every layer of the build cache.
    pub const KEEP_ALL: Self = Self { keep_used_within: Duration::MAX, keep_bytes: u64::MAX };
}

/// What a collection removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Layers, by diff ID.
    pub layers: Vec<Digest>,
    /// Documents.
    pub blobs: Vec<Digest>,
    /// What their removal frees on the disk.
    pub freed_bytes: u64,
}

/// Whether a collection removes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Removes.
    Remove,
    /// Only says what would be removed.
    DryRun,
}
