//! `bootstrap serve`: the lifecycle service of one instance.

mod lifecycle;
pub(crate) mod wanted;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::FutureExt;
use proto::lifecycle::lifecycle_server::LifecycleServer;
use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

use crate::event::Part;
use crate::files;
use crate::node::Node;
use crate::operator::Operator;
use crate::paths::Paths;
use crate::room;
use crate::state::Wanted;
use crate::step;
use crate::supervise::log;

use lifecycle::Service;

/// How many orders may wait.
const MAX_ORDERS: usize = 16;
/// How long streams may take to deliver the last events.
const DRAIN: Duration = Duration::from_secs(2);
/// How long connections may take to close by themselves. Clients that wait for the end of this process may not answer.
const FAREWELL: Duration = Duration::from_millis(100);

/// Serves until the instance has been taken down or a signal comes. A signal ends the service alone: everything else runs on and is
/// taken over by the next one.
pub(crate) async fn run(paths: Paths) -> anyhow::Result<()> {
    files::ensure_directory(paths.root(), 0o711)?;
    files::ensure_directory(&paths.box_dir(), 0o700)?;
    let _lock = lock(&paths.lock())?;
    let node = Node::open(paths)?;
    files::ensure_directory(&node.paths.run(), 0o755)?;
    let socket = bind(&node.paths.lifecycle_socket())?;
    let (orders, received) = mpsc::channel(MAX_ORDERS);
    let stop = CancellationToken::new();
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let streams = TaskTracker::new();
    let service = Service::new(Arc::clone(&node), orders, streams.clone());
    let router = Server::builder().add_service(LifecycleServer::new(service));
    let stopped = stop.clone().cancelled_owned();
    tasks.spawn(async move {
        router
            .serve_with_incoming_shutdown(UnixListenerStream::new(socket), stopped)
            .await
            .context("the socket")
    });
    tasks.spawn(stop.clone().run_until_cancelled_owned(keep_room(Arc::clone(&node))).map(|_| Ok(())));
    tracing::info!(root = %node.paths.root().display(), version = env!("CARGO_PKG_VERSION"), "serving");
    let operator = Operator::new(Arc::clone(&node));
    let ended = tokio::select! {
        ended = operator.run(received) => ended.context("the instance"),
        signal = signalled() => {
            tracing::info!(signal = signal?, "this service ends; everything else runs on");
            Ok(())
        }
        Some(ended) = tasks.join_next() => ended.context("a task of the service panicked")?,
    };
    if node.state.get().wanted == Wanted::Nothing {
        step::directories::remove_run(&node.paths)?;
    }
    node.events.close();
    stop.cancel();
    streams.close();
    // Who does not listen until then does not want to know.
    tokio::time::timeout(DRAIN, streams.wait()).await.ok();
    tokio::time::timeout(FAREWELL, async { while tasks.join_next().await.is_some() {} }).await.ok();
    ended
}

/// Locks the instance: it has one lifecycle service.
fn lock(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("a lifecycle service of this instance runs: it has locked {}", path.display());
    }
    Ok(file)
}

/// Binds the socket under another name first, so that it is never there without somebody who listens.
fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    let context = || format!("cannot listen on {}", path.display());
    let temporary = path.with_extension("new");
    files::remove(&temporary)?;
    let listener = UnixListener::bind(&temporary).with_context(context)?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600)).with_context(context)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a socket in the run directory need not survive a power failure"
    )]
    std::fs::rename(&temporary, path).with_context(context)?;
    Ok(listener)
}

/// Sees to it that logs stay small, and that there is a reserve.
async fn keep_room(node: Arc<Node>) {
    loop {
        tokio::time::sleep(log::CHECK_PERIOD).await;
        if let Err(error) = room::keep_reserve(&node.paths) {
            tracing::warn!("{error}");
        }
        for name in Part::ALL.map(Part::name).into_iter().chain(["lifecycle"]) {
            if let Err(error) = log::rotate(&node.paths.log(name), log::MAX_LOG_BYTES) {
                tracing::warn!("{error}");
            }
        }
    }
}

async fn signalled() -> anyhow::Result<&'static str> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_service_an_instance() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(lock(&path).unwrap_err().to_string().contains("a lifecycle service of this instance runs"));
        drop(held);
        lock(&path).unwrap();
    }
}
