//! The kubelet runs, inside the box, with the credentials and the configuration that are ours.

use std::time::Duration;

use crate::cgroup::KUBELET;
use crate::command::Place;
use crate::error::{Error, Result};
use crate::event::Part;
use crate::fault;
use crate::kubeadm::config;
use crate::node::Node;
use crate::step::configuration;
use crate::supervise::launch::{self, Launch};

/// How long it may take to end.
const MIN_GRACE: Duration = Duration::from_secs(5);
/// What Kubernetes itself asks for: pods go first when memory runs out.
const OOM_SCORE_ADJ: i32 = -999;

pub(crate) async fn check(node: &Node) -> Result<bool> {
    let wanted = arguments(node)?;
    let is_wanted = node.daemon_record(Part::Kubelet).is_some_and(|daemon| daemon.arguments == wanted);
    Ok(is_wanted && node.process(Part::Kubelet)?.is_some())
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    // It runs with other arguments, then.
    node.stop(node.process(Part::Kubelet)?, MIN_GRACE).await?;
    // What it ran for itself must not be in its way.
    node.cgroup.end(&[KUBELET], Duration::ZERO).await?;
    let Place::Box(holder) = node.inside()? else { return Err(Error::invalid("the box", "is not there")) };
    let launch = Launch {
        program: &node.paths.bin().join("kubelet"),
        arguments: &arguments(node)?,
        group: KUBELET,
        oom_score_adj: OOM_SCORE_ADJ,
        holder: Some(holder),
    };
    launch::daemon(node, Part::Kubelet, &launch)
}

/// Ends it; it is started again by who supervises it.
pub(crate) async fn end(node: &Node) -> Result<()> {
    node.stop(node.process(Part::Kubelet)?, MIN_GRACE).await
}

/// Returns its arguments; all else is in its configuration.
fn arguments(node: &Node) -> Result<Vec<String>> {
    Ok(config::kubelet_arguments(&configuration::model(node)?))
}

pub(crate) async fn undo(node: &Node, grace: Duration) -> Result<()> {
    node.stop(node.process(Part::Kubelet)?, grace.max(MIN_GRACE)).await?;
    node.cgroup.end(&[KUBELET], Duration::ZERO).await?;
    fault::point("the kubelet has ended");
    node.record_daemon(Part::Kubelet, None)
}
