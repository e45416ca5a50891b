#![doc = include_str!("../README.md")]

pub mod cache;
pub mod cluster;
pub mod command;
pub mod containerd;
pub mod crictl;
pub mod critest;
pub mod daemon;
pub mod files;
pub mod host;
pub mod image;
pub mod images;
pub mod instance;
pub mod network;
pub mod product;
pub mod registry;
pub mod shimd;
pub mod tour;
pub mod wait;

pub use wait::eventually;
