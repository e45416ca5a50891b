//! The composition root: everything is built here, served, and drained.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use builder::Builder;
use cachestore::gc::CachePolicy;
use cachestore::{Reference, Store};
use proto::control::builder_server::BuilderServer;
use proto::control::daemon_server::DaemonServer;
use proto::control::images_server::ImagesServer;
use proto::control::storage_server::StorageServer;
use proto::cri::image_service_server::ImageServiceServer;
use proto::snapshots::snapshots_server::SnapshotsServer;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};
use transfer::{Client, Puller};

use crate::build::host::World;
use crate::config::{Arguments, Config};
use crate::containerd::register::Registrar;
use crate::containerd::{Containerd, watch};
use crate::control::build::BuildService;
use crate::control::daemon::DaemonService;
use crate::control::image::ImagesService;
use crate::control::peer::Allowed;
use crate::control::storage::StorageService;
use crate::cri::image::ImageService;
use crate::cri::runtime::{Backend, RuntimeService};
use crate::deadline::DeadlineLayer;
use crate::images::Images;
use crate::janitor::{self, Bell};
use crate::pause;
use crate::policy::Policies;
use crate::snapshotter::SnapshotService;
use crate::socket;

/// How long calls that are under way may take after SIGTERM. Streams of events have no end of their own.
const DRAIN: Duration = Duration::from_secs(10);
/// The kubelet accepts answers of this size.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Runs the daemon until SIGTERM or SIGINT.
pub(crate) async fn run(arguments: Arguments, config: Config) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    let daemon = Daemon::build(&arguments, config).await?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    daemon.start_background(&mut tasks, &stop);
    daemon.serve(&arguments, &mut tasks, &stop)?;
    tracing::info!(run = %arguments.run.display(), elapsed = ?started.elapsed(), "serving");
    tokio::select! {
        signal = signalled() => tracing::info!(signal = signal?, "stopping"),
        Some(ended) = tasks.join_next() => {
            ended.context("a task of the daemon panicked")??;
            anyhow::bail!("a task of the daemon ended by itself");
        }
    }
    stop.cancel();
    if tokio::time::timeout(DRAIN, drain(&mut tasks)).await.is_err() {
        tracing::warn!(limit = ?DRAIN, "some calls did not end in time");
    }
    Ok(())
}

struct Daemon {
    store: Arc<Store>,
    containerd: Containerd,
    registrar: Arc<Registrar>,
    images: Arc<Images>,
    builds: BuildService,
    pause: Reference,
    bell: Bell,
    cache: CachePolicy,
}

impl Daemon {
    async fn build(arguments: &Arguments, config: Config) -> anyhow::Result<Self> {
        let directory = arguments.store.clone();
        let pause: Reference = arguments.pause.parse().context("--pause is not an image name")?;
        let name = pause.clone();
        let holder = format!("shimd, process {}", std::process::id());
        let opened = tokio::task::spawn_blocking(move || -> cachestore::Result<_> {
            let store = Store::open(&directory, &holder)?;
            let image = pause::ensure(&store, &name)?;
            Ok((store, image))
        });
        let (store, pause_image) = opened.await?.context("cannot open the store")?;
        let store = Arc::new(store);
        let containerd = Containerd::new(&arguments.containerd);
        let registrar = Arc::new(Registrar::new(Arc::clone(&store), containerd.clone()));
        registrar.pin(pause_image.id);
        let client =
            Client::new(transfer::Config { host_dirs: vec![arguments.certs.clone()], ..Default::default() })?;
        let puller = Puller::new(client, Arc::clone(&store)).keep_blobs(config.images.keep_blobs);
        let policies = Policies::new(config.images.pull, config.images.names);
        let bell = Bell::default();
        let images =
            Arc::new(Images::new(Arc::clone(&store), puller, policies, Arc::clone(&registrar), bell.clone()));
        let world = World::new(
            Arc::clone(&images),
            config.build.runtime,
            &arguments.run.join("build"),
            below(&arguments.cgroup, "build"),
        )?;
        let builder = Arc::new(Builder::new(Arc::clone(&store), store.contexts_dir(), config.build.parallel));
        let builds = BuildService::new(builder, world, Arc::clone(&images));
        let cache = CachePolicy { keep_used_within: config.cache.keep_unused, keep_bytes: config.cache.keep };
        Ok(Self { store, containerd, registrar, images, builds, pause, bell, cache })
    }

    fn start_background(&self, tasks: &mut JoinSet<anyhow::Result<()>>, stop: &CancellationToken) {
        let (containerd, registrar, store) =
            (self.containerd.clone(), Arc::clone(&self.registrar), Arc::clone(&self.store));
        spawn(tasks, watch::run(containerd, registrar, store, stop.clone()));
        spawn(tasks, janitor::run(Arc::clone(&self.store), self.cache, self.bell.clone(), stop.clone()));
    }

    /// Binds every socket before any is served, so that a failure leaves nothing half started.
    fn serve(
        &self,
        arguments: &Arguments,
        tasks: &mut JoinSet<anyhow::Result<()>>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        std::fs::create_dir_all(&arguments.run)
            .with_context(|| format!("cannot create {}", arguments.run.display()))?;
        let bind = |name, mode| socket::bind(&arguments.run, name, mode);
        let sockets = [
            (bind("snapshots.sock", 0o600)?, self.snapshots()),
            (bind("cri.sock", 0o600)?, self.cri(arguments)?),
            // Anybody may connect; each call is checked by the peer's user.
            (bind("control.sock", 0o666)?, self.control(arguments)),
        ];
        for (socket, router) in sockets {
            let stopped = stop.clone().cancelled_owned();
            tasks.spawn(async move {
                router.serve_with_incoming_shutdown(socket::connections(socket), stopped).await?;
                Ok(())
            });
        }
        Ok(())
    }

    fn snapshots(&self) -> Services {
        server().add_service(SnapshotsServer::new(SnapshotService::new(Arc::clone(&self.store))))
    }

    fn cri(&self, arguments: &Arguments) -> anyhow::Result<Services> {
        let images = ImageServiceServer::new(ImageService::new(Arc::clone(&self.images)))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let runtime = RuntimeService::new(Backend {
            store: Arc::clone(&self.store),
            containerd: self.containerd.clone(),
            registrar: Arc::clone(&self.registrar),
            cgroup_parent: below(&arguments.cgroup, "pods"),
            pause: self.pause.clone(),
        });
        Ok(server().add_service(images).add_service(runtime))
    }

    fn control(&self, arguments: &Arguments) -> Services {
        let allowed = Allowed(arguments.allow.clone());
        let check = move |request| allowed.check(request);
        let daemon =
            DaemonService { store_dir: arguments.store.clone(), containerd: self.containerd.clone() };
        let images = ImagesService::new(Arc::clone(&self.images));
        let storage = StorageService::new(Arc::clone(&self.images));
        server()
            .add_service(DaemonServer::with_interceptor(daemon, check.clone()))
            .add_service(BuilderServer::with_interceptor(self.builds.clone(), check.clone()))
            .add_service(ImagesServer::with_interceptor(images, check.clone()))
            .add_service(StorageServer::with_interceptor(storage, check))
    }
}

/// The services of a socket.
type Services = Router<Stack<DeadlineLayer, Identity>>;

fn server() -> Server<Stack<DeadlineLayer, Identity>> {
    Server::builder().layer(DeadlineLayer)
}

fn spawn(tasks: &mut JoinSet<anyhow::Result<()>>, work: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        work.await;
        Ok(())
    });
}

fn below(cgroup: &str, name: &str) -> String {
    if cgroup.is_empty() { String::new() } else { format!("{}/{name}", cgroup.trim_end_matches('/')) }
}

async fn signalled() -> anyhow::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

async fn drain(tasks: &mut JoinSet<anyhow::Result<()>>) {
    while let Some(ended) = tasks.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::warn!(error = format!("{error:#}"), "a task of the daemon failed while stopping");
        }
    }
}
