//! Processes that outlive this one: how they are recorded, recognised and ended.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use crate::error::{Error, IoContext, Result};
use crate::files;

/// How long a killed process may take to end.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Which process it is: a number alone is given to another one sooner or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// When it started, in ticks since the machine did.
    pub(crate) start_ticks: u64,
}

impl Identity {
    /// Identifies a process that runs.
    pub(crate) fn of(pid: u32) -> Result<Option<Self>> {
        let stat = files::read_if_there(format!("/proc/{pid}/stat").as_ref());
        let stat = match stat {
            // The process ended between open and read.
            Err(Error::Io { source, .. }) if source.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
                None
            }
            other => other?,
        };
        let start_ticks = stat.as_deref().and_then(start_ticks);
        Ok(start_ticks.map(|start_ticks| Self { pid, start_ticks }))
    }

    /// Opens the process, if it still is this one and runs.
    pub(crate) fn open(self) -> Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            opened => opened.at("open process", self.pid.to_string())?,
        };
        // In this order: what the descriptor stands for cannot change any more.
        Ok((Self::of(self.pid)? == Some(self)).then_some(pidfd))
    }
}

/// Reads the 22nd field of `/proc/PID/stat`; `None` for a process that has ended already.
fn start_ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses, which may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The children of this process, which somebody must wait for. Processes that were adopted are not among them.
#[derive(Debug, Default)]
pub(crate) struct Children(Mutex<HashMap<u32, Child>>);

impl Children {
    pub(crate) fn add(&self, child: Child) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id(), child);
    }

    /// Waits for a child that has ended, and says how it did.
    fn reap(&self, pid: u32) -> Option<ExitStatus> {
        let mut children = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = children.get_mut(&pid)?.try_wait().ok().flatten()?;
        children.remove(&pid);
        Some(status)
    }
}

/// A process that runs, or did a moment ago.
#[derive(Debug)]
pub(crate) struct Process {
    identity: Identity,
    pidfd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Opens a process by what was recorded of it; `None` if it has ended.
    pub(crate) fn open(identity: Identity, children: &Children) -> Result<Option<Self>> {
        let Some(pidfd) = identity.open()? else {
            children.reap(identity.pid);
            return Ok(None);
        };
        // A descriptor that is owned and never given away fulfils what the new name for this wants proven in unsafe code.
        #[allow(deprecated, reason = "only newer versions of tokio have the other name")]
        let pidfd = AsyncFd::new(pidfd).at("watch process", identity.pid.to_string())?;
        Ok(Some(Self { identity, pidfd }))
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// Waits for its end and says how it ended, as far as can be known.
    pub(crate) async fn ended(&self, children: &Children) -> String {
        // The only error is that of a runtime which is shutting down.
        drop(self.pidfd.readable().await);
        children.reap(self.identity.pid).map_or_else(|| "it ended".to_owned(), describe)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(self.pidfd.as_fd(), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(io::Error::from(error)).at("signal process", self.identity.pid.to_string()),
        }
    }

    /// Ends it: SIGTERM, then SIGKILL if it is there after `grace`.
    ///
    /// # Errors
    /// It does not even end when killed.
    pub(crate) async fn stop(&self, grace: Duration, children: &Children) -> Result<()> {
        self.signal(Signal::TERM)?;
        if tokio::time::timeout(grace, self.ended(children)).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(pid = self.identity.pid, ?grace, "did not end when asked to, and is killed");
        self.signal(Signal::KILL)?;
        tokio::time::timeout(KILL_LIMIT, self.ended(children)).await.map(drop).map_err(|_| Error::Timeout {
            awaited: format!("the killed process {} to end", self.identity.pid),
            seen: "it runs".into(),
            limit: KILL_LIMIT,
        })
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn fields() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        for (stat, expected) in [
            (format!("12 (containerd) S {rest}"), Some(4711)),
            (format!("12 (a) b (c)) R {rest}"), Some(4711)),
            (format!("12 (containerd) Z {rest}"), None),
            ("12 (x) S 1 2".to_owned(), None),
            ("12 x".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(start_ticks(&stat), expected, "{stat}");
        }
    }

    #[test]
    fn another_process_with_the_same_number_is_another_one() {
        let own = Identity::of(std::process::id()).unwrap().unwrap();
        assert!(own.open().unwrap().is_some());
        assert!(Identity { start_ticks: own.start_ticks + 1, ..own }.open().unwrap().is_none());
        assert!(Identity { pid: u32::MAX, ..own }.open().unwrap().is_none());
        assert!(Identity { pid: 0, ..own }.open().unwrap().is_none());
    }

    #[test]
    fn a_name_of_any_bytes_hides_nobody() {
        use std::os::unix::ffi::OsStrExt;
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join(std::ffi::OsStr::from_bytes(b"odd \xff) S 1"));
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut child = Command::new(program).arg("1000").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap().unwrap();
        assert!(identity.open().unwrap().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Identity::of(identity.pid).unwrap(), None);
    }

    #[tokio::test]
    async fn children_are_stopped_and_waited_for() {
        let children = Children::default();
        for (script, expected) in [("exit 3", "exit status 3"), ("kill -9 $$", "killed by signal 9")] {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("read x; {script}")]).stdin(std::process::Stdio::piped());
            let mut child = command.spawn().unwrap();
            let stdin = child.stdin.take();
            let identity = Identity::of(child.id()).unwrap().unwrap();
            children.add(child);
            let process = Process::open(identity, &children).unwrap().unwrap();
            drop(stdin);
            assert_eq!(process.ended(&children).await, expected);
            assert!(Process::open(identity, &children).unwrap().is_none());
        }
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap().unwrap();
        children.add(child);
        let process = Process::open(identity, &children).unwrap().unwrap();
        process.stop(Duration::from_secs(60), &children).await.unwrap();
        assert!(children.0.lock().unwrap().is_empty());
    }
}
