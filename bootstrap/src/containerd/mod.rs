//! What has to be known of containerd's versions, and the configuration that it gets (pure).

pub(crate) mod config;
pub(crate) mod version;
