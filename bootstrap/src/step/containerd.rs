//! containerd runs, inside the box, with a configuration of ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::lifecycle::State;

use crate::cgroup::{CONTAINERD, SHIMS};
use crate::command::Place;
use crate::containerd::config::{Settings, render};
use crate::enter::may_lower_oom_score;
use crate::error::{Error, IoContext, Result};
use crate::event::Part;
use crate::fault;
use crate::files;
use crate::machine;
use crate::network::cni;
use crate::node::Node;
use crate::step::shimd::PAUSE;
use crate::supervise::launch::{self, Launch};

/// How long what it needs may take: the box, and shimd's socket.
const NEEDS_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to end.
const MIN_GRACE: Duration = Duration::from_secs(5);
/// Like every engine: the containers go first when memory runs out.
const OOM_SCORE_ADJ: i32 = -999;

pub(crate) async fn check(node: &Node) -> Result<bool> {
    let is_wanted =
        node.daemon_record(Part::Containerd).is_some_and(|daemon| daemon.arguments == arguments(node));
    if !is_wanted || node.process(Part::Containerd)?.is_none() {
        return Ok(false);
    }
    // Another one in PATH is no reason to end this one; another configuration of ours is.
    let Ok((_, config)) = program_and_config(node).await else { return Ok(true) };
    files::is(&node.paths.containerd_config(), &config)
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    node.stop(node.process(Part::Containerd)?, MIN_GRACE).await?;
    let (program, config) = program_and_config(node).await?;
    files::ensure_directory(&node.paths.networks(), 0o755)?;
    files::put_changed(&node.paths.networks().join(cni::FILE), &cni::network(), 0o644)?;
    files::put_changed(&node.paths.containerd_config(), &config, 0o600)?;
    let holder = needs(node).await?;
    let launch = Launch {
        program: &program,
        arguments: &arguments(node),
        group: CONTAINERD,
        oom_score_adj: OOM_SCORE_ADJ,
        holder: Some(holder),
    };
    launch::daemon(node, Part::Containerd, &launch)
}

/// Waits for what it needs, and returns the holder of its box.
async fn needs(node: &Node) -> Result<crate::process::Identity> {
    let socket = node.paths.snapshots_socket();
    Node::eventually(NEEDS_LIMIT, "the box and snapshots.sock", || {
        std::future::ready(match node.events.status(Part::Box) {
            status if status.state != State::Ready => Err(format!("the box: {}", status.message)),
            _ if !socket.exists() => Err(format!("{} is not there", socket.display())),
            _ => Ok(()),
        })
    })
    .await?;
    match node.inside()? {
        Place::Box(holder) => Ok(holder),
        Place::Machine => Err(Error::invalid("the box", "is not there")),
    }
}

fn arguments(node: &Node) -> Vec<String> {
    vec!["--config".into(), node.paths.containerd_config().display().to_string()]
}

async fn program_and_config(node: &Node) -> Result<(PathBuf, String)> {
    let missing = |problem: String| Error::Lacking {
        missing: vec![format!("containerd: {problem}")],
        remedy: node.paths.command("doctor"),
    };
    let (program, version) = machine::containerd().await.map_err(missing)?;
    let plugin_dir = cni::plugin_dir(Path::is_file).ok_or_else(|| missing("no CNI plug-ins".into()))?;
    let paths = &node.paths;
    let may_lower = may_lower_oom_score()
        .map_err(std::io::Error::other)
        .at("read the capabilities of", "this process")?;
    let config = render(&Settings {
        version,
        root: paths.containerd_root(),
        state: paths.containerd_state(),
        socket: paths.containerd_socket(),
        snapshots_socket: paths.snapshots_socket(),
        store: paths.store(),
        networks: paths.networks(),
        plugin_dir: plugin_dir.to_path_buf(),
        pause: PAUSE.to_owned(),
        address: node.subnet()?.node(),
        shim_cgroup: node.cgroup.path(SHIMS),
        restrict_oom_score: !may_lower,
    });
    Ok((program, config))
}

pub(crate) async fn undo(node: &Node, grace: Duration) -> Result<()> {
    node.stop(node.process(Part::Containerd)?, grace.max(MIN_GRACE)).await?;
    fault::point("containerd has ended and shims have not");
    // Shims live on without it.
    node.cgroup.end(&[CONTAINERD, SHIMS], Duration::ZERO).await?;
    fault::point("containerd and shims have ended");
    node.record_daemon(Part::Containerd, None)
}
