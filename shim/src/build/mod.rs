//! Builds: the surroundings that the builder asks for.

pub(crate) mod host;
mod mount;
mod runc;
mod seccomp;
mod spec;
