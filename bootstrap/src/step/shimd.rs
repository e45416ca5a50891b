//! shimd runs, outside the box: it has the machine's network, for registries.

use std::time::Duration;

use crate::cgroup::DAEMONS;
use crate::command;
use crate::error::Result;
use crate::event::Part;
use crate::fault;
use crate::machine;
use crate::node::Node;
use crate::supervise::launch::{self, Launch};

/// The image of sandboxes, which shimd has in its store. The top-level domain `internal` belongs to nobody.
pub(crate) const PAUSE: &str = concat!("shim.internal/pause:", env!("CARGO_PKG_VERSION"));
/// How long it may take to finish what it does: calls that are under way have ten seconds.
const MIN_GRACE: Duration = Duration::from_secs(12);
/// As for any program: builds start from what it has.
const OOM_SCORE_ADJ: i32 = 0;

pub(crate) async fn check(node: &Node) -> Result<bool> {
    let wanted = arguments(node).await?;
    let is_wanted = node.daemon_record(Part::Shimd).is_some_and(|daemon| daemon.arguments == wanted);
    Ok(is_wanted && node.process(Part::Shimd)?.is_some())
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    // It runs with other arguments, then.
    node.stop(node.process(Part::Shimd)?, MIN_GRACE).await?;
    let launch = Launch {
        program: &machine::shimd()?,
        arguments: &arguments(node).await?,
        group: DAEMONS,
        oom_score_adj: OOM_SCORE_ADJ,
        holder: None,
    };
    launch::daemon(node, Part::Shimd, &launch)
}

async fn arguments(node: &Node) -> Result<Vec<String>> {
    let paths = &node.paths;
    let mut arguments = Vec::new();
    for (name, path) in [
        ("--store", paths.store()),
        ("--run", paths.run()),
        ("--config", paths.shimd_config()),
        ("--certs", paths.registry_hosts()),
        ("--containerd", paths.containerd_socket()),
    ] {
        arguments.extend([name.to_owned(), path.display().to_string()]);
    }
    arguments.extend(["--cgroup".into(), format!("/{}", node.name()), "--pause".into(), PAUSE.into()]);
    for user in node.config()?.control.users {
        arguments.extend(["--allow".into(), command::user_id(&user).await?.to_string()]);
    }
    Ok(arguments)
}

pub(crate) async fn undo(node: &Node, grace: Duration) -> Result<()> {
    node.stop(node.process(Part::Shimd)?, grace.max(MIN_GRACE)).await?;
    fault::point("shimd has ended");
    node.record_daemon(Part::Shimd, None)
}
