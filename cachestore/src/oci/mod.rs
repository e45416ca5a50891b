//! Documents of the OCI image specification and of docker's older schema 2. Pure: bytes in, values out.

pub mod chain;
pub mod config;
pub mod manifest;
pub mod platform;

/// The largest manifest, index or configuration that is read: the limit that the distribution specification suggests.
pub const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// The largest number of layers of one image: overlayfs stacks no more than 500 lower directories.
pub const MAX_LAYERS: usize = 500;
