//! Keeps parts running: how they are started, seen to be healthy, and started again.

mod backoff;
pub(crate) mod health;
pub(crate) mod launch;
pub(crate) mod log;
mod unit;

pub(crate) use unit::supervise;
