//! Runs build steps with runc. The only file of this crate that starts processes.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use builder::{Cancel, Exit, Output};

/// How often a running step is looked at whether it is still wanted; its end is noticed at once.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a step may take to end after it was killed.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// What runc says of itself when it fails is short.
const MAX_LOG_BYTES: u64 = 16 << 10;
const READ_BYTES: usize = 16 << 10;

/// The OCI runtime, with a state directory of our own.
#[derive(Clone, Debug)]
pub(super) struct Runc {
    program: PathBuf,
    state: PathBuf,
}

/// Receives what a step writes.
pub(super) type Sink<'a> = &'a (dyn Fn(Output, &[u8]) + Sync);

impl Runc {
    pub(super) fn new(program: PathBuf, state: PathBuf) -> Self {
        Self { program, state }
    }

    fn command(&self, log: Option<&Path>) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.state).stdin(Stdio::null());
        if let Some(log) = log {
            command.arg("--log").arg(log);
        }
        command
    }

    /// Runs the container of a bundle to its end.
    pub(super) fn run(
        &self,
        bundle: &Path,
        id: &str,
        sink: Sink<'_>,
        cancel: &Cancel,
    ) -> anyhow::Result<Exit> {
        let log = bundle.join("runc.log");
        let mut command = self.command(Some(&log));
        command.arg("run").arg("--bundle").arg(bundle).arg(id).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let status = std::thread::scope(|scope| {
            scope.spawn(move || pass_on(stdout, Output::Stdout, sink));
            scope.spawn(move || pass_on(stderr, Output::Stderr, sink));
            self.wait(child, id, cancel)
        })?;
        match status {
            None => Ok(Exit::Cancelled),
            Some(status) => exit(status, &log),
        }
    }

    /// Waits for runc, or ends the container if the build is cancelled.
    fn wait(&self, mut child: Child, id: &str, cancel: &Cancel) -> anyhow::Result<Option<ExitStatus>> {
        let pid = child.id();
        let (sender, ended) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || sender.send(child.wait()));
            let mut killed: Option<Instant> = None;
            loop {
                match ended.recv_timeout(LOOK_EVERY) {
                    Ok(status) if killed.is_none() => {
                        return Ok(Some(status.context("cannot wait for runc")?));
                    }
                    Ok(_) => {
                        self.remove(id)?;
                        return Ok(None);
                    }
                    Err(RecvTimeoutError::Disconnected) => bail!("the thread that waits for runc ended"),
                    Err(RecvTimeoutError::Timeout) if !cancel.is_cancelled() => {}
                    Err(RecvTimeoutError::Timeout) => {
                        // The container may not exist yet: it is asked for until it ends.
                        self.kill(id);
                        let since = *killed.get_or_insert_with(Instant::now);
                        if since.elapsed() > KILL_LIMIT {
                            end_process(pid);
                        }
                    }
                }
            }
        })
    }

    fn kill(&self, id: &str) {
        let killed = self
            .command(None)
            .args(["kill", id, "KILL"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if let Err(error) = killed {
            tracing::warn!(id, %error, "cannot kill a build step");
        }
    }

    /// Removes what is left of a container, ending its processes.
    fn remove(&self, id: &str) -> anyhow::Result<()> {
        let mut command = self.command(None);
        command.args(["delete", "--force", id]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(())
    }

    /// Ends the steps that a killed shimd has left behind.
    pub(super) fn remove_all(&self) -> anyhow::Result<()> {
        let entries = match std::fs::read_dir(&self.state) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.with_context(|| format!("cannot read {}", self.state.display()))?,
        };
        for entry in entries {
            let id = entry.with_context(|| format!("cannot read {}", self.state.display()))?.file_name();
            tracing::info!(id = %id.display(), "ending a build step that an earlier shimd left behind");
            self.remove(&id.to_string_lossy())?;
        }
        Ok(())
    }
}

/// runc itself hangs: its container has been killed, and what is left of it is removed.
fn end_process(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended just now.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}

fn pass_on(stream: Option<impl Read>, output: Output, sink: Sink<'_>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; READ_BYTES];
    // A pipe whose other end is closed has ended, however it tells.
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        sink(output, &buffer[..count]);
    }
}

/// runc ends with the code of the command, or with 1 and a line in its log if there was no command to run.
fn exit(status: ExitStatus, log: &Path) -> anyhow::Result<Exit> {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    if code != 0
        && let Some(problem) = own_failure(log)
    {
        bail!("runc: {problem}");
    }
    Ok(Exit::Code(code))
}

/// Returns what runc says went wrong, if it was runc.
fn own_failure(log: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(log).ok()?.take(MAX_LOG_BYTES).read_to_string(&mut text).ok()?;
    let last =
        text.lines().rev().find(|line| line.contains("level=error") || line.contains("level=fatal"))?;
    let message = last.split_once("msg=").map_or(last, |(_, message)| message);
    Some(message.trim_matches('"').replace("\\\"", "\""))
}
