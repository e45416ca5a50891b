//! Daemons that are made up: servers of the control and the lifecycle API with fixed answers.

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::control::builder_server::BuilderServer;
use proto::control::daemon_server::{Daemon, DaemonServer};
use proto::control::images_server::ImagesServer;
use proto::control::storage_server::StorageServer;
use proto::control::{InfoRequest, InfoResponse};
use proto::lifecycle::lifecycle_server::LifecycleServer;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::builder::Builder;
use crate::images::Images;
use crate::lifecycle::Lifecycle;
use crate::storage::Storage;

/// Answers that may wait for the program.
const EVENTS: usize = 64;

/// A stream of answers.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Returns a stream that has all of its answers.
pub(crate) fn answers<T: Send + 'static>(all: Vec<Result<T, Status>>) -> Answers<T> {
    Box::pin(tokio_stream::iter(all))
}

/// The way to a stream of answers.
pub(crate) type Events<T> = mpsc::Sender<Result<T, Status>>;

/// Returns the stream that some work fills. The work ends with it.
pub(crate) fn played<T, Work>(work: impl FnOnce(Events<T>) -> Work) -> Answers<T>
where
    T: Send + 'static,
    Work: Future<Output = ()> + Send + 'static,
{
    let (events, answers) = mpsc::channel(EVENTS);
    let mut tasks = JoinSet::new();
    tasks.spawn(work(events));
    Box::pin(Played { _tasks: tasks, answers })
}

struct Played<T> {
    _tasks: JoinSet<()>,
    answers: mpsc::Receiver<Result<T, Status>>,
}

impl<T> Stream for Played<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.answers.poll_recv(context)
    }
}

/// Returns the time so many seconds ago.
pub(crate) fn ago(seconds: u64) -> Option<prost_types::Timestamp> {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    let seconds = then.duration_since(UNIX_EPOCH).unwrap().as_secs();
    Some(prost_types::Timestamp { seconds: i64::try_from(seconds).unwrap(), nanos: 0 })
}

/// The servers of one instance. They end with it.
pub(crate) struct Daemons {
    servers: JoinSet<Result<(), tonic::transport::Error>>,
    runtime: Option<Runtime>,
}

impl Daemons {
    pub(crate) fn start(root: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let guard = runtime.enter();
        let listen =
            |name: &str| UnixListenerStream::new(UnixListener::bind(root.join("run").join(name)).unwrap());
        let control = Server::builder()
            .add_service(DaemonServer::new(Shimd))
            .add_service(BuilderServer::new(Builder))
            .add_service(ImagesServer::new(Images))
            .add_service(StorageServer::new(Storage))
            .serve_with_incoming(listen("control.sock"));
        let lifecycle = Server::builder()
            .add_service(LifecycleServer::new(Lifecycle { root: root.to_owned() }))
            .serve_with_incoming(listen("lifecycle.sock"));
        drop(guard);
        let mut servers = JoinSet::new();
        servers.spawn_on(control, runtime.handle());
        servers.spawn_on(lifecycle, runtime.handle());
        Self { servers, runtime: Some(runtime) }
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        self.servers.abort_all();
        // Calls that hang on purpose must not hold the test.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Shimd;

#[tonic::async_trait]
impl Daemon for Shimd {
    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(InfoResponse {
            version: "9.8.7".into(),
            pid: 4711,
            store_dir: "/var/lib/shim/store".into(),
            containerd_version: "1.6.20".into(),
        }))
    }
}
