//! The instance's cgroups are there, and this service is in them.

use std::time::Duration;

use crate::cgroup::DAEMONS;
use crate::error::Result;
use crate::fault;
use crate::node::Node;

pub(crate) fn check(node: &Node) -> Result<bool> {
    Ok(node.cgroup.exists() && node.cgroup.processes(&[DAEMONS]).contains(&std::process::id()))
}

pub(crate) fn apply(node: &Node) -> Result<()> {
    node.cgroup.ensure()?;
    fault::point("cgroups are there and empty");
    // A user who logs out takes along what is in the session's cgroups.
    node.cgroup.join(DAEMONS)
}

pub(crate) async fn undo(node: &Node) -> Result<()> {
    // Whatever was started in the subtree ends with it; this service does not.
    node.cgroup.end(&[""], Duration::ZERO).await?;
    fault::point("the cgroups hold this service alone");
    if node.cgroup.all_processes().contains(&std::process::id()) {
        node.leave_cgroup()?;
    }
    fault::point("the cgroups are empty");
    node.cgroup.remove("").await
}
