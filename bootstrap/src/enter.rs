//! `bootstrap enter`: becomes another program, in the instance's cgroup and in the box.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Args;
use rustix::fd::AsFd;
use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, setrlimit, umask};
use rustix::thread::{CapabilitySet, ThreadNameSpaceType, capabilities, move_into_thread_name_spaces};

use crate::cgroup::Tree;
use crate::files;
use crate::process::Identity;

/// What the lifecycle service writes when it has recorded the process that it started.
pub(crate) const GO: &[u8] = b"go\n";
/// Signals that a shell may have had ignored for us and that programs rely on: SIGHUP, SIGINT, SIGQUIT, SIGTERM.
const EXPECTED_SIGNALS: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14;

/// The mode bits that new files lack, whatever the caller's shell says.
pub(crate) const UMASK: Mode = Mode::WGRP.union(Mode::WOTH);
/// How many files a process may open that asks for it: what systemd allows.
pub(crate) const OPEN_FILES: u64 = 524_288;

/// How to run the other program.
#[derive(Debug, Args)]
pub(crate) struct EnterArguments {
    /// Process whose network and mount namespaces are entered
    #[arg(long, requires = "holder_start")]
    holder: Option<u32>,
    /// When that process started, in ticks: it must still be the same one
    #[arg(long)]
    holder_start: Option<u64>,
    #[command(flatten)]
    daemon: DaemonArguments,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// What makes a process a daemon of the instance.
#[derive(Debug, Args)]
pub(crate) struct DaemonArguments {
    /// Group of the instance to move into first, as INSTANCE/GROUP
    #[arg(long)]
    cgroup: Option<String>,
    /// How readily the kernel ends it when memory runs out
    #[arg(long, allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,
    /// How many files it may have open unless it asks for more; the caller itself may have more
    #[arg(long)]
    open_files: Option<u64>,
    /// Begin when a line comes from standard input, end when it ends without one
    #[arg(long)]
    wait: bool,
}

impl DaemonArguments {
    /// Leaves the caller's cgroups, session and signals, once the caller has recorded this process.
    ///
    /// # Errors
    /// The caller is gone: then it knows nothing of this process, which must not begin.
    pub(crate) fn apply(&self) -> anyhow::Result<()> {
        if self.wait {
            let mut said = Vec::new();
            std::io::stdin()
                .take(GO.len() as u64)
                .read_to_end(&mut said)
                .context("cannot read standard input")?;
            if said != GO {
                bail!("the lifecycle service ended before it recorded this process");
            }
            // It fails for the leader of a group, which nothing at a terminal can interrupt either.
            rustix::process::setsid().ok();
            umask(UMASK);
            raise_limits(self.open_files)?;
        }
        if let Some((instance, group)) = self.cgroup.as_deref().and_then(|cgroup| cgroup.split_once('/')) {
            Tree::new(instance)?.join(group)?;
        }
        if let Some(score) = self.oom_score_adj {
            adjust_oom_score(score)?;
        }
        Ok(())
    }
}

/// Frees daemons, and the containers that inherit from them, of the limits of the shell that `up` was typed in.
fn raise_limits(usual_files: Option<u64>) -> anyhow::Result<()> {
    let may_exceed = may_lower_oom_score()?;
    // Users of containers are counted together with the machine's users of the same number.
    let mut processes = getrlimit(Resource::Nproc);
    let mut files = getrlimit(Resource::Nofile);
    if may_exceed {
        processes.maximum = None;
        files.maximum = files.maximum.map(|maximum| maximum.max(OPEN_FILES));
    }
    processes.current = processes.maximum;
    setrlimit(Resource::Nproc, processes).context("cannot raise the limit of processes")?;
    // Programs that need many files raise the lower limit themselves; others suffer from a high one.
    files.current = usual_files.or(files.current);
    setrlimit(Resource::Nofile, files).context("cannot raise the limit of open files")
}

/// Where the capability is missing, a score below the current one is refused; then it stays as it is.
fn adjust_oom_score(score: i32) -> anyhow::Result<()> {
    if may_lower_oom_score()? {
        files::set("/proc/self/oom_score_adj".as_ref(), &score.to_string())?;
    }
    Ok(())
}

/// Tells whether this process may exceed limits, among them that of how ready processes are to be ended when memory runs out.
pub(crate) fn may_lower_oom_score() -> anyhow::Result<bool> {
    let sets = capabilities(None).context("cannot read the capabilities")?;
    Ok(sets.effective.contains(CapabilitySet::SYS_RESOURCE))
}

/// Runs the other program in this process; returns only if that fails.
pub(crate) fn run(arguments: &EnterArguments) -> anyhow::Result<()> {
    arguments.daemon.apply()?;
    if let (Some(pid), Some(start_ticks)) = (arguments.holder, arguments.holder_start) {
        enter(Identity { pid, start_ticks })?;
    }
    let Some((program, words)) = arguments.command.split_first() else { bail!("no program is named") };
    let mut command = plain_signals(program)?;
    command.args(words);
    if arguments.daemon.wait {
        command.stdin(Stdio::null());
    }
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// Moves this process, which has one thread, into the network and mount namespaces of another one.
pub(crate) fn enter(holder: Identity) -> anyhow::Result<()> {
    let holder_fd =
        holder.open()?.with_context(|| format!("process {} does not hold the box any more", holder.pid))?;
    let namespaces = ThreadNameSpaceType::NETWORK | ThreadNameSpaceType::MOUNT;
    move_into_thread_name_spaces(holder_fd.as_fd(), namespaces).context("cannot enter the box")
}

/// Ignored signals stay ignored in the program that is run; `env` can undo that, and nothing else without unsafe code.
fn plain_signals(program: &OsString) -> anyhow::Result<Command> {
    let status = files::read("/proc/self/status")?;
    let mut command = Command::new("env");
    if ignored_signals(&status) & EXPECTED_SIGNALS == 0 {
        command = Command::new(program);
    } else {
        command.arg("--default-signal").arg(program);
    }
    Ok(command)
}

/// Reads the mask of ignored signals from the text of `/proc/self/status`; the first bit is signal 1.
fn ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_signals() {
        for (status, expected) in [
            ("Name:\tx\nSigIgn:\t0000000000001000\n", false),
            ("SigIgn:\t0000000000001003\n", true),
            ("SigIgn:\t0000000000004000\n", true),
            ("SigIgn:\tnonsense\n", false),
            ("", false),
        ] {
            assert_eq!(ignored_signals(status) & EXPECTED_SIGNALS != 0, expected, "{status}");
        }
    }
}
