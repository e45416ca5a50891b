//! `kubeadm`, which runs in the box.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::command::{PROXY_VARIABLES, enter_words, own_program, search_path};
use crate::error::{Error, IoContext, Result};
use crate::process::Identity;
use crate::supervise::log;

/// How long it may take: it waits four minutes for the control plane by itself.
const LIMIT: Duration = Duration::from_secs(360);

/// Runs kubeadm to its end. What it prints goes to a log. It ends with this process, whatever ends it.
///
/// # Errors
/// It fails; its log says why.
pub(crate) async fn kubeadm(
    holder: Identity,
    group: &str,
    program: &Path,
    words: &[&str],
    log_path: &Path,
) -> Result<()> {
    let failed = |outcome: String| Error::Command {
        line: format!("kubeadm {}", words.first().unwrap_or(&"")),
        outcome,
        stderr: String::new(),
    };
    let output = log::open(log_path)?;
    let errors = output.try_clone().at("share", log_path)?;
    let mut command = tokio::process::Command::new("setpriv");
    for name in PROXY_VARIABLES {
        command.env_remove(name);
    }
    let mut child = command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(own_program()?)
        .args(enter_words(holder))
        .args(["--cgroup", group, "--"])
        .arg(program)
        .args(words.iter().map(OsStr::new))
        .env("PATH", search_path())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    match tokio::time::timeout(LIMIT, child.wait()).await {
        Err(_) => Err(failed(format!("did not end within {LIMIT:?}"))),
        Ok(Err(error)) => Err(failed(format!("cannot be waited for: {error}"))),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(format!("failed ({status})"))),
    }
}
