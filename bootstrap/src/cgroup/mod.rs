//! The instance's subtree of cgroups, in every hierarchy: containerd, pods, builds and daemons live in it, and `down`
//! ends exactly what is in it.

mod first;
mod hierarchy;
mod tree;

use rustix::fs::statfs;

use crate::error::{IoContext, Result};

pub(crate) use tree::{Tree, own_groups};

/// What cgroup v2 calls itself in statfs(2).
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
/// Where the machine's hierarchies are mounted.
const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// Tells whether all controllers are cgroup v2's, as programs commonly find out.
pub(crate) fn is_unified() -> Result<bool> {
    Ok(statfs(MOUNT_POINT).at("examine", MOUNT_POINT)?.f_type == CGROUP2_SUPER_MAGIC)
}

/// Where containerd itself runs.
pub(crate) const CONTAINERD: &str = "containerd";
/// Where containerd's shims run: apart from it, so that whatever ends containerd's cgroup leaves the pods alone.
pub(crate) const SHIMS: &str = "shims";
/// Where pods go that name no cgroup.
pub(crate) const PODS: &str = "pods";
/// Where the steps of builds run.
pub(crate) const BUILD: &str = "build";
/// Where the kubelet runs, and what it runs: `kubeadm` among it.
pub(crate) const KUBELET: &str = "kubelet";
/// Where shimd, the holder and the lifecycle service run.
pub(crate) const DAEMONS: &str = "daemons";

/// Every group of the subtree. All of them are leaves for cgroup v2, whose inner groups hold no processes, except for
/// those of pods and builds, which hold groups.
const GROUPS: [&str; 6] = [CONTAINERD, SHIMS, PODS, BUILD, DAEMONS, KUBELET];
