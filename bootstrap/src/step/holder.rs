//! The holder runs: the process whose namespaces are the box.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;
use tokio::time::timeout;

use crate::cgroup::{CONTAINERD, DAEMONS, KUBELET, PODS, SHIMS};
use crate::cluster::{ENDPOINT, NAME};
use crate::dns;
use crate::error::{Error, IoContext, Result};
use crate::event::Part;
use crate::fault;
use crate::files;
use crate::hold::{namespaces_of, parse_ready};
use crate::mounts;
use crate::node::Node;
use crate::process::{Identity, Process};
use crate::state::{Holder, Namespaces};
use crate::supervise::launch;

/// How long the mounts may take: they are seven, and the machine may be busy.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Without it the box is gone: it is the last to be ended when memory runs out.
const OOM_SCORE_ADJ: i32 = -999;

pub(crate) fn check(node: &Node) -> Result<bool> {
    Ok(node.process(Part::Box)?.is_some())
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    if let Some(half_made) = node.holder_record() {
        let process = Process::open(half_made.identity, &node.children)?;
        node.stop(process, Duration::ZERO).await?;
    }
    let life = node.state.get().life;
    let mut words = vec![OsString::from("--root"), node.paths.root().into(), "hold".into()];
    words.extend(launch::daemon_words(node, DAEMONS, OOM_SCORE_ADJ));
    match life.namespaces.map(|namespaces| member(node, namespaces)).transpose()?.flatten() {
        Some(Identity { pid, start_ticks }) => {
            tracing::info!(pid, "the box lives on in this process, and gets a new holder");
            let member = format!("--member={pid}");
            words.extend([member, format!("--member-start={start_ticks}")].map(OsString::from));
        }
        None => {
            // Containers whose box is gone have neither network nor engine any more.
            node.cgroup.end(&[PODS, CONTAINERD, SHIMS, KUBELET], Duration::ZERO).await?;
            // A kubelet that finds the groups of pods that are gone looks for what was in them, half a minute for each.
            node.cgroup.remove(PODS).await?;
            fault::point("the pods of a box that is gone have no cgroups");
            node.cgroup.ensure()?;
            words.extend(node.state.get().kubernetes.then(|| "--kubernetes".into()));
            mounts::prepare(&node.paths, node.state.get().kubernetes, &etc(node)?)?;
            fault::point("what is mounted in the box is prepared");
            node.state.change(|state| state.life.namespaces = None)?;
        }
    }
    let mut waiting = launch::spawn(node, Part::Box, &words, true)?;
    let identity = waiting.identity;
    fault::point("a holder waits and is not recorded");
    node.state.change(|state| state.life.holder = Some(Holder { identity, is_ready: false }))?;
    let answer = waiting.stdout.take();
    fault::point("a holder is recorded and waits");
    waiting.go()?;
    fault::point("a holder makes the box");
    let namespaces = ready(answer).await?;
    fault::point("a holder is ready and not recorded as such");
    node.state.change(|state| {
        state.life.namespaces = Some(namespaces);
        state.life.holder = Some(Holder { identity, is_ready: true });
    })?;
    node.events.set_pid(Part::Box, identity.pid);
    Ok(())
}

/// Returns the files of the box's `/etc` that are its own.
fn etc(node: &Node) -> Result<[(&'static str, String); 2]> {
    let machine = files::read_if_there("/etc/resolv.conf".as_ref())?.unwrap_or_default();
    let mut hosts = files::read_if_there("/etc/hosts".as_ref())?.unwrap_or_default();
    if node.state.get().kubernetes {
        hosts = with_node(&hosts, node.subnet()?.node());
    }
    Ok([("resolv.conf", dns::for_box(&machine, node.subnet()?.host())), ("hosts", hosts)])
}

/// Returns the box's `hosts`: there the control plane's name is the node, whatever it is on the machine (pure).
fn with_node(machine: &str, node: Ipv4Addr) -> String {
    let is_other = |line: &&str| {
        let words = line.split('#').next().unwrap_or_default();
        !words.split_whitespace().skip(1).any(|name| name.eq_ignore_ascii_case(ENDPOINT))
    };
    let others: String = machine.lines().filter(is_other).map(|line| format!("{line}\n")).collect();
    format!("{node} {ENDPOINT} {NAME}\n{others}")
}

/// Finds a process of the instance that lives in these namespaces: containerd, or the shim of a container.
fn member(node: &Node, namespaces: Namespaces) -> Result<Option<Identity>> {
    for pid in node.cgroup.all_processes() {
        // Processes end while they are looked at.
        if namespaces_of(&pid.to_string()).is_ok_and(|found| found == namespaces)
            && let Some(identity) = Identity::of(pid)?
        {
            return Ok(Some(identity));
        }
    }
    Ok(None)
}

async fn ready(answer: Option<std::process::ChildStdout>) -> Result<Namespaces> {
    let failed = |outcome: String| Error::Ended { program: "the holder of the box".into(), outcome };
    let Some(answer) = answer else { return Err(failed("without an answer".into())) };
    let answer = ChildStdout::from_std(answer).at("read from", "the holder")?;
    let mut line = String::new();
    match timeout(READY_LIMIT, BufReader::new(answer).read_line(&mut line)).await {
        Err(_) => Err(Error::Timeout {
            awaited: "the box to be made".into(),
            seen: "nothing".into(),
            limit: READY_LIMIT,
        }),
        Ok(read) => {
            read.at("read from", "the holder")?;
            parse_ready(&line).map_err(|_| failed("its log says why".into()))
        }
    }
}

pub(crate) async fn undo(node: &Node, grace: Duration) -> Result<()> {
    if let Some(holder) = node.holder_record() {
        node.stop(Process::open(holder.identity, &node.children)?, grace).await?;
    }
    // Whoever still is in the box, such as a program that looked at it, keeps what is mounted there.
    node.cgroup.end(&[""], Duration::ZERO).await?;
    fault::point("the holder has ended");
    node.state.change(|state| {
        state.life.holder = None;
        state.life.namespaces = None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_s_names() {
        let machine = "127.0.0.1 localhost\n127.0.0.1 kubernetes.docker.internal # shim\n::1 ip6 Kubernetes.Docker.Internal\n# kubernetes.docker.internal";
        assert_eq!(
            with_node(machine, Ipv4Addr::new(192, 168, 65, 3)),
            "192.168.65.3 kubernetes.docker.internal docker-desktop\n127.0.0.1 localhost\n# kubernetes.docker.internal\n"
        );
    }
}
