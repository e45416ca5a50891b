//! Tests that need root: `tests/run root`.
//!
//! Each test makes a host of its own, so they run side by side; libtest starts as many as there are processors.

mod boxes;
mod build;
mod components;
mod conformance;
mod containerd;
mod control;
mod daemon;
mod host;
mod images;
mod pods;
mod ports;
mod published;
mod pull;
mod readme;
mod registry;
mod run;
mod snapshots;
mod storage;
mod zero_copy;
