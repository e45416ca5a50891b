//! The only code that syncs, renames and removes.

pub(crate) mod atomic;
pub mod fault;
pub(crate) mod lock;
pub(crate) mod paths;
pub(crate) mod remove;
