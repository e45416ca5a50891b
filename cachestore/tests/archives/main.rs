//! Layers and their tars beside those of other programs: GNU tar and umoci.
//!
//! Not part of a plain `cargo test`: owners, devices and overlayfs's marks need root. Run it with
//! `cargo test -p cachestore --test archives`.

mod gnu;
mod outside;
mod store;
mod tree;
mod umoci;
