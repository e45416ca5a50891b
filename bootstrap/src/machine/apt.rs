//! Installs Debian packages: nothing is removed, no service is started, and the user sees the progress.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::command;
use crate::error::{Error, IoContext, Result};
use crate::files;

/// The program that maintainer scripts ask before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Answers that nothing may be started.
const DENY_ALL: &str = "#!/bin/sh\n# Made by `bootstrap start --install`, which removes it when the packages are there.\nexit 101\n";

/// Tells whether this machine has apt.
pub(crate) fn is_there() -> bool {
    command::find("apt-get").is_some()
}

/// Returns what the user types to install packages.
pub(crate) fn command_line(packages: &[&str]) -> String {
    let sudo = if rustix::process::geteuid().is_root() { "" } else { "sudo " };
    format!("{sudo}apt-get update && {sudo}apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Installs packages.
///
/// # Errors
/// apt does not succeed, or the user interrupts it; in both cases services may be started again afterwards.
pub(crate) async fn install(packages: &[&str]) -> Result<()> {
    let policy = Policy::put(Path::new(POLICY))?;
    let installed = update_and_install(packages).await;
    policy.remove()?;
    installed
}

async fn update_and_install(packages: &[&str]) -> Result<()> {
    // One mirror that does not answer is no reason to give up.
    if let Err(error) = apt_get(&["update"]).await {
        if matches!(error, Error::Interrupted) {
            return Err(error);
        }
        tracing::warn!("{error}");
    }
    // Another apt may run in the background: machines update themselves.
    let wait = ["-o", "DPkg::Lock::Timeout=300"];
    let words = ["install", "--yes", "--no-install-recommends", "--no-remove"];
    apt_get(&[&wait, &words[..], packages].concat()).await
}

/// Runs apt to its end; a signal to us is passed on, and waited for.
async fn apt_get(words: &[&str]) -> Result<()> {
    let line = format!("apt-get {}", words.join(" "));
    let failed = |outcome: String| Error::Command { line: line.clone(), outcome, stderr: String::new() };
    let listen = |kind| signal(kind).at("listen to", "signals");
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut child =
        command::apt_get(words).spawn().map_err(|error| failed(format!("cannot be started: {error}")))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let interrupted = tokio::select! {
        // From a terminal, apt has got it too.
        _ = interrupt.recv() => true,
        _ = terminate.recv() => {
            if let Some(pid) = pid {
                // It may have ended in the meantime, and is not waited for yet: the number is its own.
                kill_process(pid, Signal::TERM).at("end", "apt-get")?;
            }
            true
        }
        status = child.wait() => return finished(status.at("wait for", "apt-get")?, failed),
    };
    let status = child.wait().await.at("wait for", "apt-get")?;
    if interrupted { Err(Error::Interrupted) } else { finished(status, failed) }
}

fn finished(status: std::process::ExitStatus, failed: impl FnOnce(String) -> Error) -> Result<()> {
    if status.success() { Ok(()) } else { Err(failed(format!("failed ({status})"))) }
}

/// The file that keeps services from being started, if it is ours.
#[derive(Debug)]
struct Policy<'a>(Option<&'a Path>);

impl<'a> Policy<'a> {
    /// Puts it there, unless the machine has a policy of its own. One that a killed run left is taken over.
    fn put(path: &'a Path) -> Result<Self> {
        match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path) {
            Ok(mut file) => {
                file.write_all(DENY_ALL.as_bytes()).at("write", path)?;
                Ok(Self(Some(path)))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let is_ours = files::read(path)? == DENY_ALL;
                Ok(Self(is_ours.then_some(path)))
            }
            Err(error) => Err(error).at("create", path),
        }
    }

    fn remove(self) -> Result<()> {
        self.0.map_or(Ok(()), files::remove)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_the_machine_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy-rc.d");
        for content in [None, Some(DENY_ALL)] {
            if let Some(content) = content {
                files::put(&path, content.as_bytes(), 0o755).unwrap();
            }
            let policy = Policy::put(&path).unwrap();
            assert_eq!(files::read(&path).unwrap(), DENY_ALL);
            policy.remove().unwrap();
            assert!(!path.exists());
        }
        files::put(&path, b"#!/bin/sh\nexit 0\n", 0o755).unwrap();
        Policy::put(&path).unwrap().remove().unwrap();
        assert_eq!(files::read(&path).unwrap(), "#!/bin/sh\nexit 0\n");
    }
}
