//! Containers and builds, which nobody here starts, but which end with the instance.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cgroup::{BUILD, PODS, SHIMS};
use crate::cri;
use crate::error::Result;
use crate::event::Part;
use crate::fault;
use crate::files;
use crate::node::Node;
use crate::process::{Identity, Process};

/// How long the runtime may take beyond what containers are given.
const STOP_SLACK: Duration = Duration::from_secs(5);
/// How long containerd may take to notice that its containers have ended and to tidy up after them. Whatever it does not get to, it
/// does when it is started again.
const TIDY_LIMIT: Duration = Duration::from_secs(3);

pub(crate) async fn undo(node: &Node, grace: Duration) -> Result<()> {
    if node.state.get().kubernetes {
        stop_pods(node, grace).await;
        fault::point("pods have been stopped in their order");
    }
    // Containers whose pods named another cgroup are still their shims' children.
    let strays = children(&node.cgroup.processes(&[SHIMS]))?;
    node.cgroup.end(&[PODS, BUILD], grace).await?;
    fault::point("containers have ended");
    for stray in strays {
        node.stop(Process::open(stray, &node.children)?, grace).await?;
    }
    if node.process(Part::Containerd)?.is_some() {
        let tidy = Node::eventually(TIDY_LIMIT, "containerd to tidy up", || {
            std::future::ready(match node.cgroup.processes(&[SHIMS]).len() {
                0 => Ok(()),
                left => Err(format!("{left} shims run")),
            })
        });
        if let Err(error) = tidy.await {
            tracing::info!("{error}");
        }
    }
    Ok(())
}

/// Ends what runs in pods in its order, as far as the runtime does that in time. Their cgroups are ended anyway.
async fn stop_pods(node: &Node, grace: Duration) {
    let is_there = |part| node.process(part).is_ok_and(|process| process.is_some());
    if !is_there(Part::Containerd) || !is_there(Part::Shimd) {
        return;
    }
    let socket = node.paths.cri_socket();
    // The workloads have theirs, then the control plane has its own.
    let limit = grace * 2 + STOP_SLACK;
    match tokio::time::timeout(limit, cri::stop_pods(&socket, grace)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("{error}"),
        Err(_) => tracing::warn!("pods did not end within {limit:?}"),
    }
}

/// Lists the children of some processes.
fn children(parents: &BTreeSet<u32>) -> Result<Vec<Identity>> {
    let mut found = Vec::new();
    for parent in parents {
        // Each thread has a list of its own.
        let threads = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten();
        for thread in threads.filter_map(std::result::Result::ok) {
            let list = files::read(thread.path().join("children")).unwrap_or_default();
            for child in list.split_whitespace().filter_map(|pid| pid.parse().ok()) {
                found.extend(Identity::of(child)?);
            }
        }
    }
    Ok(found)
}
