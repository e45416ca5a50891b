//! The steps: for each a file with what tells whether it is done, what does it, and what undoes it.

pub(crate) mod cgroups;
pub(crate) mod containerd;
pub(crate) mod directories;
pub(crate) mod filter;
pub(crate) mod forwarding;
pub(crate) mod holder;
pub(crate) mod link;
pub(crate) mod machine;
pub(crate) mod plug;
pub(crate) mod resolver;
pub(crate) mod shimd;
pub(crate) mod workloads;
