//! The steps that touch the world: each fills a workspace's tree.

pub(crate) mod chmod;
pub(crate) mod copy;
mod file;
pub(crate) mod mkdir;
pub(crate) mod run;
