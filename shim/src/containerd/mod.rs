//! The client of containerd: connection, namespace, leases' headers.

mod content;
mod records;
pub(crate) mod register;
pub(crate) mod watch;

use std::path::{Path, PathBuf};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::snapshots::StatSnapshotRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::version_client::VersionClient;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

/// The namespace that containerd's CRI uses.
pub(crate) const NAMESPACE: &str = "k8s.io";
/// The name under which our snapshotter is in containerd's configuration.
pub(crate) const SNAPSHOTTER: &str = "cachestore";

/// containerd, connected to when it is first called and again whenever the connection broke.
#[derive(Clone, Debug)]
pub(crate) struct Containerd {
    channel: Channel,
    socket: PathBuf,
}

impl Containerd {
    /// Prepares a connection to the socket; nothing is opened yet.
    pub(crate) fn new(socket: &Path) -> Self {
        let path = socket.to_path_buf();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move {
                let stream = tokio::net::UnixStream::connect(path).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        });
        // The name goes into the :authority of requests and is looked up by nobody.
        let channel =
            Endpoint::from_static("http://containerd.invalid").connect_with_connector_lazy(connector);
        Self { channel, socket: socket.to_path_buf() }
    }

    /// Returns the connection, for calls that are passed on as they are.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Explains a failed call: a connection that cannot be made is the usual reason, and its own text says little.
    /// What containerd itself has answered stays as it is.
    pub(crate) fn explain(&self, status: Status) -> Status {
        match std::error::Error::source(&status) {
            Some(error) if status.code() == Code::Unavailable => self.unreachable(error),
            _ => status,
        }
    }

    /// Says that there was no answer, and why.
    pub(crate) fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> Status {
        let (socket, cause) = (self.socket.display(), cachestore::error::chain(error));
        Status::unavailable(format!("containerd at {socket} does not answer: {cause}"))
    }

    pub(crate) async fn version(&self) -> Result<String, Status> {
        let answer = VersionClient::new(self.channel()).version(()).await?;
        Ok(answer.into_inner().version)
    }

    /// Tells whether containerd has a snapshot of ours.
    async fn has_snapshot(&self, name: &str) -> Result<bool, Status> {
        let stat = StatSnapshotRequest { snapshotter: SNAPSHOTTER.to_owned(), key: name.to_owned() };
        match self.snapshots().stat(request(stat, None)).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(status),
        }
    }

    fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel())
    }

    fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel())
    }

    fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel())
    }

    fn leases(&self) -> LeasesClient<Channel> {
        LeasesClient::new(self.channel())
    }

    fn events(&self) -> EventsClient<Channel> {
        EventsClient::new(self.channel())
    }
}

/// Makes a request in our namespace, under a lease if there is one.
fn request<T>(message: T, lease: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    if let Some(lease) = lease.and_then(|lease| MetadataValue::try_from(lease).ok()) {
        metadata.insert("containerd-lease", lease);
    }
    request
}
