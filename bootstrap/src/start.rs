//! `bootstrap start`: sees to it that the lifecycle service of an instance runs, on a machine that has what it needs.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use proto::lifecycle::lifecycle_client::LifecycleClient;
use proto::lifecycle::{StatusRequest, UpRequest};

use crate::command::{own_program, search_path};
use crate::error::Error;
use crate::machine;
use crate::node::Node;
use crate::paths::Paths;
use crate::service::wanted;
use crate::state::{StateFile, Wanted};
use crate::supervise::{health, log};
use crate::{config, files};

/// How long the service may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What to start.
#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    /// Only containerd and shimd, for crictl and other kubelets
    #[arg(long)]
    pub(crate) no_kubernetes: bool,
    /// Version of Kubernetes that will be asked for: nothing is started for one that cannot be had
    #[arg(long, value_name = "VERSION", conflicts_with = "no_kubernetes")]
    pub(crate) kubernetes_version: Option<String>,
    /// Where its components will come from
    #[arg(long, value_name = "SOURCE", conflicts_with = "no_kubernetes")]
    pub(crate) components: Option<String>,
    /// Install distribution packages that are missing
    #[arg(long)]
    pub(crate) install: bool,
    /// Only if there is something left to be taken down
    #[arg(long, conflicts_with = "install", hide = true)]
    pub(crate) if_left: bool,
    /// Only if there is a cluster to be deleted
    #[arg(long, conflicts_with = "install", hide = true)]
    pub(crate) if_cluster: bool,
    /// Only if there is anything that a cluster leaves behind
    #[arg(long, conflicts_with = "install", hide = true)]
    pub(crate) if_anything: bool,
}

/// Returns when the service answers. The instance itself is brought up by asking the service.
pub(crate) async fn run(paths: &Paths, arguments: &StartArguments) -> anyhow::Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root can do this; repeat it with sudo");
    }
    // What was half brought up or taken down goes on, whatever the machine lacks by now.
    let state = StateFile::open(paths.state())?.get();
    let is_left_over = state.wanted != Wanted::Nothing;
    let only_if = arguments.if_left || arguments.if_cluster || arguments.if_anything;
    let is_kept = arguments.if_anything && (paths.kubernetes().exists() || paths.volumes().exists());
    let is_deleted = (arguments.if_cluster || arguments.if_anything) && state.cluster.is_some() || is_kept;
    // A service that was killed when it had nothing to do, or nothing more, left its socket.
    if only_if && !is_left_over && !is_deleted && !paths.run().exists() {
        return Ok(ExitCode::SUCCESS);
    }
    paths.check_place()?;
    if !only_if {
        let request = UpRequest {
            no_kubernetes: arguments.no_kubernetes,
            kubernetes_version: arguments.kubernetes_version.clone().unwrap_or_default(),
            components: arguments.components.clone().unwrap_or_default(),
            ..UpRequest::default()
        };
        // The service would say the same, and then run for nothing.
        wanted::cluster(&request, &state, false, paths)
            .map_err(|refusal| anyhow!(refusal.message().to_owned()))?;
        allow_caller(paths)?;
    }
    let runs = answers(paths).await.is_ok();
    let is_settled = runs || is_left_over || only_if;
    if (arguments.install || !is_settled) && !is_equipped(arguments.install).await? {
        return Ok(ExitCode::FAILURE);
    }
    if runs {
        return Ok(ExitCode::SUCCESS);
    }
    files::ensure_directory(paths.root(), 0o711)?;
    files::ensure_directory(&paths.log_dir(), 0o700)?;
    let log = paths.log("lifecycle");
    let log_end = log::end(&log);
    let mut service = spawn(paths, &log)?;
    let started = Node::eventually(START_LIMIT, "the lifecycle service to answer", || {
        let ended = service.try_wait().ok().flatten();
        async move {
            // Another one may have been faster: then that one answers.
            answers(paths).await.map_err(|seen| ended.map_or(seen, |status| format!("it ended: {status}")))
        }
    });
    if let Err(error) = started.await {
        let tail = log::tail(&log, log_end).unwrap_or_default();
        bail!("{error}\n{tail}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whoever became root by sudo to type this may use shimctl without it.
fn allow_caller(paths: &Paths) -> anyhow::Result<()> {
    match std::env::var("SUDO_USER") {
        Ok(user) if user != "root" => Ok(config::allow(&paths.bootstrap_config(), &user)?),
        _ => Ok(()),
    }
}

async fn is_equipped(install: bool) -> anyhow::Result<bool> {
    let mut findings = machine::survey().await;
    let packages = machine::packages(&findings);
    if install && !packages.is_empty() {
        if !machine::apt::is_there() {
            bail!("this machine has no apt; install what Debian calls {}", packages.join(" "));
        }
        machine::apt::install(&packages).await?;
        findings = machine::survey().await;
    }
    let Some(Error::Lacking { missing, remedy }) = machine::lacking(&findings) else { return Ok(true) };
    let mut stderr = std::io::stderr();
    writeln!(stderr, "This machine lacks:")?;
    for thing in missing {
        writeln!(stderr, "  {thing}")?;
    }
    writeln!(stderr, "What helps:")?;
    for line in remedy.split("; ") {
        writeln!(stderr, "  {line}")?;
    }
    if !packages.is_empty() && !install && machine::apt::is_there() {
        writeln!(stderr, "or the same command again with --install")?;
    }
    Ok(false)
}

async fn answers(paths: &Paths) -> Result<(), String> {
    let channel = health::connect(&paths.lifecycle_socket()).await?;
    let status = LifecycleClient::new(channel).status(StatusRequest {}).await;
    status.map(drop).map_err(|status| status.message().to_owned())
}

/// Starts the service; it leaves our session by itself.
fn spawn(paths: &Paths, log: &Path) -> anyhow::Result<Child> {
    let output = log::open(log)?;
    let errors = output.try_clone().context("cannot share the log")?;
    Command::new(own_program()?)
        .arg("--root")
        .arg(paths.root())
        .arg("serve")
        .env("PATH", search_path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .context("cannot start the lifecycle service")
}
