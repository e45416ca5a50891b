//! `bootstrap hold`: the process that keeps the namespaces of the box, and does nothing else.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail};
use clap::Args;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::enter::{self, DaemonArguments};
use crate::error::{IoContext, Result};
use crate::files;
use crate::mounts;
use crate::paths::Paths;
use crate::process::Identity;
use crate::state::Namespaces;

/// What is written when everything is mounted; the numbers of the namespaces follow.
const READY: &str = "ready";

/// Whose namespaces are kept.
#[derive(Debug, Args)]
pub(crate) struct HoldArguments {
    /// Process that lives in the box, whose holder died
    #[arg(long, requires = "member_start")]
    member: Option<u32>,
    /// When that process started, in ticks
    #[arg(long)]
    member_start: Option<u64>,
    /// Cover what Kubernetes needs too
    #[arg(long)]
    kubernetes: bool,
    #[command(flatten)]
    daemon: DaemonArguments,
}

/// Makes the box, or joins the one that lost its holder, says so, and stays until it is killed.
pub(crate) fn run(paths: &Paths, arguments: &HoldArguments) -> anyhow::Result<()> {
    arguments.daemon.apply()?;
    match (arguments.member, arguments.member_start) {
        (Some(pid), Some(start_ticks)) => enter::enter(Identity { pid, start_ticks })?,
        _ => make(paths, arguments.kubernetes)?,
    }
    std::env::set_current_dir("/").context("cannot leave the working directory")?;
    let namespaces = namespaces_of("self")?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{READY} {} {}", namespaces.network, namespaces.mount)
        .and_then(|()| stdout.flush())
        .context("cannot report")?;
    loop {
        // Signals have their default effect, so that SIGTERM ends it.
        std::thread::park();
    }
}

/// Whether connections that a closed socket had not accepted go to another one of the same port, in the network of who reads it.
const MIGRATE: &str = "/proc/sys/net/ipv4/tcp_migrate_req";

fn make(paths: &Paths, kubernetes: bool) -> anyhow::Result<()> {
    // SAFETY: the process has one thread: neither the command line nor what came before starts any. File descriptors are not
    // unshared.
    #[expect(unsafe_code, reason = "rustix cannot know that there is only one thread; see SAFETY")]
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET).context("cannot make namespaces")?;
    }
    // What the machine mounts later is seen in the box; what the box mounts is not seen outside, but is by the containers
    // in it that ask for it.
    let all = MountPropagationFlags::REC;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | all).at("make a slave of", "/")?;
    mount_change("/", MountPropagationFlags::SHARED | all).at("share", "/")?;
    mounts::apply(paths, kubernetes)?;
    files::set("/proc/sys/net/ipv4/ip_forward".as_ref(), "1")?;
    // So that `ports/early.rs` can hand connections over; kernels before 5.14 have no such setting.
    if Path::new(MIGRATE).exists() {
        files::set(MIGRATE.as_ref(), "1")?;
    }
    Ok(())
}

/// Returns the numbers of a process's namespaces; `process` is its number or `self`.
pub(crate) fn namespaces_of(process: &str) -> Result<Namespaces> {
    let number = |kind: &str| {
        let path = format!("/proc/{process}/ns/{kind}");
        std::fs::metadata(&path).at("examine", &path).map(|metadata| metadata.ino())
    };
    Ok(Namespaces { network: number("net")?, mount: number("mnt")? })
}

/// Reads what a holder says when it is ready.
pub(crate) fn parse_ready(line: &str) -> anyhow::Result<Namespaces> {
    let mut words = line.split_whitespace();
    let mut number = || words.next().and_then(|word| word.parse().ok());
    if line.split_whitespace().next() == Some(READY) {
        number();
        if let (Some(network), Some(mount)) = (number(), number()) {
            return Ok(Namespaces { network, mount });
        }
    }
    bail!("the holder said {line:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports() {
        let namespaces = Namespaces { network: 4_026_531_840, mount: 7 };
        assert_eq!(parse_ready("ready 4026531840 7\n").unwrap(), namespaces);
        for bad in ["", "ready", "ready 1", "ready x 1", "1 2 3"] {
            assert!(parse_ready(bad).is_err(), "{bad}");
        }
        assert_eq!(namespaces_of("self").unwrap(), namespaces_of(&std::process::id().to_string()).unwrap());
    }
}
