//! Programs that run beside a test.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::command::{Command, tail, wait_for_end};
use crate::{eventually, files};

/// How much of its log a daemon shows when a test fails, in bytes.
const SHOWN: usize = 8 * 1024;

const START_LIMIT: Duration = Duration::from_secs(10);

/// A running program with a log. It is killed when dropped. In a test the end of its log is printed then: libtest shows
/// that beneath the tests that fail.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    line: String,
    log: PathBuf,
    child: Child,
    enters: bool,
}

impl Daemon {
    /// Starts a command; its outputs are appended to `log`. `enters`: the child only enters a host, and the
    /// program is its one child.
    pub(crate) fn start(name: &str, command: Command, log: &Path, enters: bool) -> Result<Self> {
        if let Some(parent) = log.parent() {
            files::dir(parent)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file: File = file.with_context(|| format!("open {}", log.display()))?;
        let line = command.line();
        let child = command.start(&file)?;
        Ok(Self { name: name.to_owned(), line, log: log.to_path_buf(), child, enters })
    }

    /// Returns the process ID of the program as this machine knows it; inside its host it has another one, see
    /// [`Daemon::pid_inside`].
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> Result<u32> {
        let child = self.child.id();
        if !self.enters {
            return Ok(child);
        }
        eventually(START_LIMIT, &format!("{} to start", self.name), || {
            let children = fs::read_to_string(format!("/proc/{child}/task/{child}/children"))?;
            let first = children.split_whitespace().next().context("no child process")?;
            Ok(first.parse()?)
        })
        .with_context(|| self.report())
    }

    /// Returns the process ID of the program as other programs of its host know it.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid_inside(&self) -> Result<u32> {
        let status = files::text(format!("/proc/{}/status", self.pid()?))?;
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).context("no NSpid line")?;
        Ok(ids.split_whitespace().next_back().context("an empty NSpid line")?.parse()?)
    }

    /// Tells whether the program still runs.
    ///
    /// # Errors
    /// The system's answer.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The program has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw).context("a pid that is none")?;
        kill_process(pid, signal).with_context(|| format!("send {signal:?} to {}", self.name))
    }

    /// Waits for the end of the program.
    ///
    /// # Errors
    /// It still runs after the limit.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        if wait_for_end(&self.child, limit)? {
            return Ok(self.child.wait()?);
        }
        bail!("{} still runs after {limit:?}\n{}", self.name, self.report())
    }

    /// Asks the program to end, and waits.
    ///
    /// # Errors
    /// It had ended before, or has not after the limit.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }

    /// Kills the program as `kill -9` does: what it started goes on.
    ///
    /// # Errors
    /// The system's answer.
    pub fn kill(&mut self) -> Result<()> {
        if self.is_running()? {
            self.signal(Signal::KILL)?;
            self.wait(START_LIMIT)?;
        }
        Ok(())
    }

    /// Waits until the probe is content, and fails at once when the program ends.
    ///
    /// # Errors
    /// As [`eventually`], with the end of the log.
    pub fn ready<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut probe: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let mut gone = None;
        let answer = eventually(limit, what, || {
            gone = self.child.try_wait()?;
            if gone.is_some() { Ok(None) } else { probe().map(Some) }
        });
        let answer = answer.map_err(|error| anyhow!("{error:#}\n{}", self.report()))?;
        ensure!(gone.is_none(), "{} ended: {}\n{}", self.name, gone.unwrap_or_default(), self.report());
        answer.context("no answer")
    }

    /// Returns everything that the program wrote so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn log(&self) -> Result<String> {
        files::text(&self.log)
    }

    fn report(&self) -> String {
        let log = self.log().unwrap_or_else(|error| format!("{error:#}"));
        format!("--- log of {} (`{}`)\n{}", self.name, self.line, tail(&log, SHOWN).trim_end())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() || std::thread::current().name() != Some("main") {
            print(&self.report());
        }
        // Killing the process that entered the host kills the program too: see `Host::command`.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

#[expect(clippy::print_stdout, reason = "libtest captures it")]
fn print(text: &str) {
    println!("{text}");
}
