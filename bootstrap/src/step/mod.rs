//! The steps: for each a file with what tells whether it is done, what does it, and what undoes it.

pub(crate) mod access;
pub(crate) mod addons;
pub(crate) mod cgroups;
pub(crate) mod components;
pub(crate) mod configuration;
pub(crate) mod containerd;
pub(crate) mod control_plane;
pub(crate) mod controllers;
pub(crate) mod credentials;
pub(crate) mod directories;
pub(crate) mod filter;
pub(crate) mod forwarding;
pub(crate) mod holder;
pub(crate) mod hosts;
pub(crate) mod kubelet;
pub(crate) mod link;
pub(crate) mod loopback;
pub(crate) mod machine;
pub(crate) mod plug;
pub(crate) mod ports;
pub(crate) mod resolver;
pub(crate) mod shimd;
pub(crate) mod workloads;
