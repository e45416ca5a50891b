//! The kubelet's configuration, and what changes kubeadm's manifests, are what they shall be.

use std::path::PathBuf;

use crate::cgroup::{self, PODS};
use crate::cluster::API_PORT;
use crate::enter::may_lower_oom_score;
use crate::error::IoContext;
use crate::error::Result;
use crate::files;
use crate::kubeadm::{Cluster, Token, Version, config};
use crate::network::cni::POD_SUBNET;
use crate::node::Node;
use crate::step::kubelet;

/// Nobody but root reads them; nothing of it is secret.
const MODE: u32 = 0o600;

pub(crate) fn check(node: &Node) -> Result<bool> {
    for (path, text) in wanted(node)? {
        if !files::is(&path, &text)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    files::ensure_directory(&node.paths.kubernetes().join("patches"), 0o700)?;
    files::ensure_directory(&node.paths.kubernetes().join("manifests"), 0o700)?;
    files::ensure_directory(&node.paths.kubelet(), 0o700)?;
    for (path, text) in wanted(node)? {
        files::put(&path, text.as_bytes(), MODE)?;
    }
    // It reads its configuration when it starts.
    kubelet::end(node).await
}

/// Returns what everything that Kubernetes is told follows from. Its token is a new one each time.
pub(crate) fn model(node: &Node) -> Result<Cluster> {
    let may_lower = may_lower_oom_score()
        .map_err(std::io::Error::other)
        .at("read the capabilities of", "this process")?;
    Ok(Cluster {
        version: Version::parse(&node.cluster()?.version)?,
        node_address: node.subnet()?.node(),
        cri_socket: node.paths.cri_socket().display().to_string(),
        cgroup_root: node.cgroup.path(PODS),
        is_cgroup_v1: !cgroup::is_unified()?,
        restrict_oom_score: !may_lower,
        pod_subnet: POD_SUBNET.into(),
        api_port: API_PORT,
        token: Token::random()?,
    })
}

fn wanted(node: &Node) -> Result<Vec<(PathBuf, String)>> {
    let cluster = model(node)?;
    let patches = node.paths.kubernetes().join("patches");
    let patches = config::patches(&cluster).into_iter().map(|(name, text)| (patches.join(name), text));
    let kubelet = (node.paths.kubelet().join("config.yaml"), config::kubelet(&cluster));
    Ok(patches.chain([kubelet]).collect())
}
