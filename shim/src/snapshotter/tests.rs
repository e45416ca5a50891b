//! The laws of containerd's snapshotters, through gRPC as containerd speaks it.

mod chains;
mod errors;
mod lists;
mod lives;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cachestore::Store;
use cachestore::images::{NewImage, Origin};
use cachestore::layer::{IfKeyed, LayerId, Step};
use cachestore::oci::config::{ImageConfig, RootFs};
use cachestore::oci::manifest::{BlobRef, Manifest};
use cachestore::verify::Depth;
use cachestore::{Digest, snapshots::LABEL_REF};
use proto::containerd::types::Mount;
use proto::snapshots as api;
use proto::snapshots::snapshots_client::SnapshotsClient;
use proto::snapshots::snapshots_server::SnapshotsServer;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};

use super::SnapshotService;

type Labels = HashMap<String, String>;

/// A service with a store of its own, and a client of it.
struct World {
    client: SnapshotsClient<Channel>,
    server: JoinSet<()>,
    stop: CancellationToken,
    store: Arc<Store>,
    directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        // In memory where that can be, because a store syncs what it writes.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self::open(directory).await
    }

    async fn open(directory: tempfile::TempDir) -> Self {
        let store = Arc::new(Store::open(&directory.path().join("store"), "a test").unwrap());
        let socket = directory.path().join("snapshots.sock");
        let incoming = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
        let service = SnapshotsServer::new(SnapshotService::new(Arc::clone(&store)));
        let (mut server, stop) = (JoinSet::new(), CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        server.spawn(async move {
            let router = Server::builder().add_service(service);
            router.serve_with_incoming_shutdown(incoming, stopped).await.unwrap();
        });
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://snapshots.invalid");
        let channel = endpoint.connect_with_connector(connector).await.unwrap();
        Self { client: SnapshotsClient::new(channel), server, stop, store, directory }
    }

    /// Ends the service and starts another one with the same store.
    async fn restart(self) -> Self {
        let Self { client, server, stop, store, directory } = self;
        drop(client);
        stop.cancel();
        server.join_all().await;
        drop(Arc::into_inner(store).expect("the service is gone"));
        std::fs::remove_file(directory.path().join("snapshots.sock")).unwrap();
        Self::open(directory).await
    }

    fn dir(&self) -> &Path {
        self.store.dir()
    }

    async fn prepare_with(&self, key: &str, parent: &str, labels: Labels) -> Result<Mount, Status> {
        let request = api::PrepareSnapshotRequest {
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels,
            ..Default::default()
        };
        let mut mounts = self.client.clone().prepare(request).await?.into_inner().mounts;
        assert_eq!(mounts.len(), 1);
        Ok(mounts.remove(0))
    }

    async fn prepare(&self, key: &str, parent: &str) -> Result<Mount, Status> {
        self.prepare_with(key, parent, Labels::new()).await
    }

    /// Asks for a chain, as containerd does before it unpacks a layer.
    async fn ask(&self, key: &str, parent: &str, chain: &str) -> Result<Mount, Status> {
        self.prepare_with(key, parent, labels(&[(LABEL_REF, chain)])).await
    }

    async fn view(&self, key: &str, parent: &str) -> Result<Mount, Status> {
        let (key, parent) = (key.to_owned(), parent.to_owned());
        let request = api::ViewSnapshotRequest { key, parent, ..Default::default() };
        Ok(self.client.clone().view(request).await?.into_inner().mounts.remove(0))
    }

    async fn mounts(&self, key: &str) -> Result<Mount, Status> {
        let request = api::MountsRequest { key: key.to_owned(), ..Default::default() };
        Ok(self.client.clone().mounts(request).await?.into_inner().mounts.remove(0))
    }

    async fn commit(&self, name: &str, key: &str, labels: Labels) -> Result<(), Status> {
        let (name, key) = (name.to_owned(), key.to_owned());
        let request = api::CommitSnapshotRequest { name, key, labels, ..Default::default() };
        self.client.clone().commit(request).await.map(drop)
    }

    async fn remove(&self, key: &str) -> Result<(), Status> {
        let request = api::RemoveSnapshotRequest { key: key.to_owned(), ..Default::default() };
        self.client.clone().remove(request).await.map(drop)
    }

    async fn stat(&self, key: &str) -> Result<api::Info, Status> {
        let request = api::StatSnapshotRequest { key: key.to_owned(), ..Default::default() };
        Ok(self.client.clone().stat(request).await?.into_inner().info.expect("a snapshot"))
    }

    async fn update(&self, name: &str, new: Labels, mask: &[&str]) -> Result<api::Info, Status> {
        let info = api::Info { name: name.to_owned(), labels: new, ..Default::default() };
        let paths = mask.iter().map(ToString::to_string).collect();
        let request = api::UpdateSnapshotRequest {
            info: Some(info),
            update_mask: Some(prost_types::FieldMask { paths }),
            ..Default::default()
        };
        Ok(self.client.clone().update(request).await?.into_inner().info.expect("a snapshot"))
    }

    /// Returns the messages of a list.
    async fn batches(&self, filters: &[&str]) -> Result<Vec<Vec<api::Info>>, Status> {
        let filters = filters.iter().map(ToString::to_string).collect();
        let request = api::ListSnapshotsRequest { filters, ..Default::default() };
        let mut answers = self.client.clone().list(request).await?.into_inner();
        let mut batches = Vec::new();
        while let Some(answer) = answers.message().await? {
            batches.push(answer.info);
        }
        Ok(batches)
    }

    /// Returns the names of a list, in order.
    async fn names(&self, filters: &[&str]) -> Result<Vec<String>, Status> {
        let infos = self.batches(filters).await?.into_iter().flatten();
        let mut names: Vec<_> = infos.map(|info| info.name).collect();
        names.sort();
        Ok(names)
    }

    async fn usage(&self, key: &str) -> Result<(i64, i64), Status> {
        let request = api::UsageRequest { key: key.to_owned(), ..Default::default() };
        let usage = self.client.clone().usage(request).await?.into_inner();
        Ok((usage.size, usage.inodes))
    }

    async fn cleanup(&self) -> Result<(), Status> {
        self.client.clone().cleanup(api::CleanupRequest::default()).await.map(drop)
    }

    /// Records an image whose layers hold one file each; returns its chain IDs, bottom first.
    fn image(&self, files: &[&str]) -> Vec<String> {
        let lease = self.store.lease();
        let layer = |name: &&str| {
            let workspace = self.store.workspace().unwrap();
            std::fs::File::create(workspace.tree().join(name)).unwrap();
            let step = Step { key: name, description: "", if_keyed: IfKeyed::Keep, below: &[] };
            self.store.commit_built(workspace, &step, &lease).unwrap()
        };
        let layers: Vec<_> = files.iter().map(layer).collect();
        let rootfs =
            RootFs { diff_ids: layers.iter().map(|layer| layer.diff_id).collect(), ..Default::default() };
        let config = ImageConfig { rootfs, ..Default::default() }.to_json().unwrap();
        let blob = BlobRef { digest: Digest::of(&config), size_bytes: config.len() as u64 };
        let new = NewImage {
            config: &config,
            manifest: &Manifest { config: blob, layers: vec![] }.to_json().unwrap(),
            layers: &layers.iter().map(|layer| layer.id).collect::<Vec<_>>(),
            origin: Origin::Built,
            names: &[],
            repo_digests: &[],
        };
        let mut next = self.store.put_image(&new, &lease).unwrap().chain;
        let mut chains = Vec::new();
        while let Some(chain) = next {
            chains.insert(0, chain.to_string());
            next = self.store.chain_parent(&chain).unwrap();
        }
        chains
    }

    /// Returns the layers' directories of a chain, top first, as a mount has them.
    fn lower(&self, chain: &str) -> String {
        let layers: Vec<LayerId> = self.store.chain_layers(&chain.parse().unwrap()).unwrap();
        let trees = layers.iter().rev().map(|&layer| self.store.layer_tree(layer).display().to_string());
        trees.collect::<Vec<_>>().join(":")
    }

    fn is_whole(&self) {
        let mut findings = Vec::new();
        self.store.verify(Depth::Content, &mut |finding| findings.push(format!("{finding:?}"))).unwrap();
        assert_eq!(findings, Vec::<String>::new());
    }

    /// Returns how many directories of snapshots the store has, those on their way out included.
    fn directories(&self) -> usize {
        ["s", "t"].map(|name| std::fs::read_dir(self.dir().join(name)).unwrap().count()).iter().sum()
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// Returns an option's value.
fn option<'a>(mount: &'a Mount, name: &str) -> Option<&'a str> {
    mount.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
}

/// Returns the directory that a writer of this mount writes to.
fn upper(mount: &Mount) -> PathBuf {
    option(mount, "upperdir").unwrap_or(&mount.source).into()
}
