//! The instance's subtree of cgroups, in every hierarchy: containerd, pods, builds and daemons live in it, and `down`
//! ends exactly what is in it.

mod first;
mod hierarchy;
mod tree;

pub(crate) use tree::{Tree, own_groups};

/// Where containerd itself runs.
pub(crate) const CONTAINERD: &str = "containerd";
/// Where containerd's shims run: apart from it, so that whatever ends containerd's cgroup leaves the pods alone.
pub(crate) const SHIMS: &str = "shims";
/// Where pods go that name no cgroup.
pub(crate) const PODS: &str = "pods";
/// Where the steps of builds run.
pub(crate) const BUILD: &str = "build";
/// Where shimd, the holder and the lifecycle service run.
pub(crate) const DAEMONS: &str = "daemons";

/// Every group of the subtree. All of them are leaves for cgroup v2, whose inner groups hold no processes, except for
/// those of pods and builds, which hold groups.
const GROUPS: [&str; 5] = [CONTAINERD, SHIMS, PODS, BUILD, DAEMONS];
