//! The Container Runtime Interface: images from the store, everything else from containerd.

mod codec;
mod convert;
pub(crate) mod image;
mod patch;
pub(crate) mod runtime;
mod wire;
