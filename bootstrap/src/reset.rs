//! The end of a cluster: its pods, its files, and nothing that outlives it.

use std::time::Duration;

use crate::cri;
use crate::error::{IoContext, Result};
use crate::event::Part;
use crate::fault;
use crate::files;
use crate::node::Node;

/// What is kept of the directory that is `/etc/kubernetes`: certificates and keys, and the credentials that are made of them.
const KEPT: [&str; 1] = ["pki"];

/// Ends the kubelet and makes the container runtime forget every pod. What runs of the instance is used as it is.
pub(crate) async fn empty(node: &Node) -> Result<()> {
    node.stop(node.process(Part::Kubelet)?, Duration::from_secs(1)).await?;
    fault::point("the kubelet has ended and pods have not");
    if node.process(Part::Containerd)?.is_some() && node.process(Part::Shimd)?.is_some() {
        cri::remove_pods(&node.paths.cri_socket()).await?;
    }
    Ok(())
}

/// Deletes the cluster's files, once everything is down. Images stay. Volumes, certificates and keys go only with `all`.
///
/// # Errors
/// One cannot be removed; the rest is tried again by the next reset.
pub(crate) fn delete(node: &Node, all: bool) -> Result<()> {
    let paths = &node.paths;
    files::remove_tree(&paths.cluster())?;
    fault::point("the cluster's data is gone and its configuration is not");
    let entries = match std::fs::read_dir(paths.kubernetes()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        entries => Some(entries.at("list", paths.kubernetes())?),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry.at("list", paths.kubernetes())?;
        let is_kept = !all && KEPT.iter().any(|name| entry.file_name() == *name);
        match entry.file_type().at("examine", entry.path())?.is_dir() {
            _ if is_kept => {}
            true => files::remove_tree(&entry.path())?,
            false => files::remove(&entry.path())?,
        }
    }
    // What containerd remembers of pods names snapshots, which shimd drops when nobody does any more.
    files::remove_tree(&paths.private("log-pods"))?;
    files::remove_tree(&paths.private("log-containers"))?;
    if all {
        files::remove_tree(&paths.kubernetes())?;
        files::remove_tree(&paths.volumes())?;
    }
    fault::point("the cluster's files are gone and it is still known");
    node.state.change(|state| {
        state.cluster = None;
        state.kubernetes = false;
    })
}
