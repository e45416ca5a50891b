//! What kubeadm, the kubelet and kube-proxy are told: one model, and what follows from it.

pub(crate) mod config;
mod model;
mod version;

#[cfg(test)]
mod tests;

pub(crate) use model::{Cluster, Token};
pub(crate) use version::Version;
