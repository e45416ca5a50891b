//! What the tests of pulls share: a registry's shelf of images, a store to pull into, and looks at both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cachestore::error::chain;
use cachestore::oci::manifest::OCI_MANIFEST;
use cachestore::verify::Depth;
use cachestore::{Digest, Store};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::image::{Image, Layer, bytes};
use crate::pull::{LayerEvent, Observer, Phase, PullError, Pulled, Puller};
use crate::testing::{Answer, Seen, Server, client, client_with, limits, write_hosts};
use crate::{Config, Fixed};

/// How long anything may take that takes no time.
const LIMIT: Duration = Duration::from_secs(30);

/// One thing of the repository `app`.
#[derive(Clone)]
struct Item {
    label: String,
    media_type: String,
    bytes: Vec<u8>,
}

/// What a registry has in its repository `app`, by path. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Shelf(Arc<Mutex<BTreeMap<String, Item>>>);

impl Shelf {
    /// Puts an image there under a tag, with layers that are called `1`, `2` … after the tag.
    pub(super) fn with(self, tag: &str, image: &Image) -> Self {
        self.put(&format!("manifests/{tag}"), tag, OCI_MANIFEST, bytes(&image.manifest));
        self.parts(tag, image);
        self
    }

    /// Puts an index there under a tag, and its images with all that they consist of.
    pub(super) fn with_index(self, tag: &str, media_type: &str, index: &Value, images: &[&Image]) -> Self {
        self.put(&format!("manifests/{tag}"), tag, media_type, bytes(index));
        for (number, image) in images.iter().enumerate() {
            self.parts(&format!("{tag}.{number}"), image);
        }
        self
    }

    fn parts(&self, tag: &str, image: &Image) {
        let media_type = image.manifest["mediaType"].as_str().unwrap_or("application/json");
        let manifest = bytes(&image.manifest);
        let path = format!("manifests/{}", Digest::of(&manifest));
        self.put(&path, &format!("{tag} manifest"), media_type, manifest);
        self.blob(&format!("{tag} config"), bytes(&image.config));
        for (number, layer) in (1..).zip(&image.layers) {
            self.blob(&format!("{tag} {number}"), layer.blob.clone());
        }
    }

    fn blob(&self, label: &str, bytes: Vec<u8>) {
        self.put(&format!("blobs/{}", Digest::of(&bytes)), label, "application/octet-stream", bytes);
    }

    pub(super) fn put(&self, path: &str, label: &str, media_type: &str, bytes: Vec<u8>) {
        let item = Item { label: label.to_owned(), media_type: media_type.to_owned(), bytes };
        // What two images share keeps its first label.
        self.0.lock().unwrap().entry(path.to_owned()).or_insert(item);
    }

    /// Serves something else in the place of what has this label.
    pub(super) fn replace(&self, label: &str, bytes: impl Into<Vec<u8>>) {
        let mut items = self.0.lock().unwrap();
        items.values_mut().find(|item| item.label == label).unwrap().bytes = bytes.into();
    }

    pub(super) fn remove(&self, label: &str) {
        self.0.lock().unwrap().retain(|_, item| item.label != label);
    }

    fn item(&self, seen: &Seen) -> Option<Item> {
        let path = seen.target.strip_prefix("/v2/app/")?.split('?').next()?;
        self.0.lock().unwrap().get(path).cloned()
    }

    /// Returns the label of what a request is for, with where in it the answer should start.
    pub(super) fn label(&self, seen: &Seen) -> String {
        let label = self.item(seen).map_or_else(|| seen.target.clone(), |item| item.label);
        seen.range_start().map_or(label.clone(), |start| format!("{label} from {start}"))
    }

    /// Serves the shelf.
    pub(super) async fn serve(&self) -> Server {
        self.serve_with(|_, answer| answer).await
    }

    /// Serves the shelf with what `change` makes of each answer; it is told the label of what was asked for.
    pub(super) async fn serve_with(
        &self,
        change: impl Fn(&str, Answer) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let shelf = self.clone();
        Server::start(move |seen| {
            let Some(item) = shelf.item(seen) else {
                return Answer::new(404).body(r#"{"errors":[{"code":"UNKNOWN","message":"not here"}]}"#);
            };
            let answer = Answer::ranged(seen, &item.bytes).header("Content-Type", &item.media_type);
            change(&shelf.label(seen), answer)
        })
        .await
    }

    /// Returns what a server was asked for, sorted.
    pub(super) fn asked(&self, server: &Server) -> Vec<String> {
        let mut asked: Vec<_> = server.seen().iter().map(|seen| self.label(seen)).collect();
        asked.sort();
        asked
    }
}

/// A store, and a puller that fills it.
pub(super) struct World {
    directory: tempfile::TempDir,
    pub(super) store: Arc<Store>,
    pub(super) puller: Puller,
}

impl World {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&directory.path().join("store"), "a unit test").unwrap());
        let puller = Puller::new(client(vec![directory.path().join("certs.d")]), Arc::clone(&store));
        Self { directory, store, puller }
    }

    /// Makes a puller that keeps blobs.
    pub(super) fn keeping() -> Self {
        let mut world = Self::new();
        world.puller = world.puller.keep_blobs(true);
        world
    }

    /// Returns the digest of each blob that is kept, and that of its layer's tar.
    pub(super) fn kept(&self) -> Vec<(Digest, Digest)> {
        let layers = self.store.layer_uses().unwrap();
        let diff_id = |id| layers.iter().find(|used| used.layer.id == id).unwrap().layer.diff_id;
        let kept = self.store.kept_blobs().unwrap();
        let mut kept: Vec<_> = kept.iter().map(|kept| (kept.blob.digest, diff_id(kept.layer))).collect();
        kept.sort();
        kept
    }

    /// Makes a puller that takes up no broken stream: one break is the end of a pull.
    pub(super) fn impatient() -> Self {
        let mut world = Self::new();
        let limits = crate::Limits { resumes: 0, tries: 1, ..limits() };
        let host_dirs = vec![world.directory.path().join("certs.d")];
        world.puller = Puller::new(client_with(Config { host_dirs, limits }), Arc::clone(&world.store));
        world
    }

    /// Lets `r.example` stand for these servers: the last is the registry, the others are its mirrors.
    pub(super) fn mirrors(&self, servers: &[&Server]) {
        let (last, mirrors) = servers.split_last().unwrap();
        let mirrors: String = mirrors.iter().map(|server| format!("[host.'{}']\n", server.url())).collect();
        let text = format!("server = '{}'\n{mirrors}", last.url());
        write_hosts(&self.directory.path().join("certs.d"), "r.example", &text);
    }

    /// Pulls `app:TAG` or `app@DIGEST`.
    pub(super) async fn pull(&self, server: &Server, tag: &str) -> Result<Pulled, PullError> {
        self.pull_name(&reference(server, tag), Arc::new(|_| {})).await
    }

    pub(super) async fn pull_name(&self, name: &str, observer: Observer) -> Result<Pulled, PullError> {
        pull(self.puller.clone(), name.to_owned(), observer).await
    }

    /// Pulls what cannot be pulled; returns everything that the error says.
    pub(super) async fn fails(&self, server: &Server, tag: &str) -> String {
        let error = self.pull(server, tag).await.unwrap_err();
        chain(&error)
    }

    /// Checks that the store is whole, each layer's content included.
    pub(super) fn verify(&self) {
        let mut findings = Vec::new();
        self.store.verify(Depth::Content, &mut |finding| findings.push(finding)).unwrap();
        assert_eq!(findings, []);
    }

    /// Lists what is not done: `p LENGTH` for a partial download, `t` for a tree that is being made.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let list =
            |folder: &str| std::fs::read_dir(self.store.dir().join(folder)).unwrap().map(Result::unwrap);
        let partials = list("p").map(|entry| format!("p {}", entry.metadata().unwrap().len()));
        let mut all: Vec<_> = partials.chain(list("t").map(|_| "t".to_owned())).collect();
        all.sort();
        all
    }

    /// Waits until exactly this is not done. Threads that unpack go on for a moment when a pull is dropped.
    pub(super) async fn settled(&self, expected: &[String]) {
        eventually(|| (self.unfinished() == expected).then_some(()), || format!("{:?}", self.unfinished()))
            .await;
    }

    /// Waits until no tree is being made.
    pub(super) async fn idle(&self) {
        let is_idle = || !self.unfinished().contains(&"t".to_owned());
        eventually(|| is_idle().then_some(()), || format!("{:?}", self.unfinished())).await;
    }

    /// Returns where the partial download of a layer is, if there is one.
    pub(super) fn partial(&self, layer: &Layer) -> PathBuf {
        self.store.dir().join("p").join(layer.digest().hex())
    }

    /// Leaves what an earlier pull could have left of a layer.
    pub(super) fn leave_partial(&self, layer: &Layer, bytes: &[u8]) {
        self.store.partial(&layer.digest()).unwrap().append(bytes).unwrap();
    }

    /// Reads a file of the topmost layer of an image that has it.
    pub(super) fn read(&self, image: &cachestore::Image, path: &str) -> Vec<u8> {
        let layers = self.store.chain_layers(&image.chain.unwrap()).unwrap();
        let trees = layers.into_iter().rev().map(|layer| self.store.layer_tree(layer).join(path));
        std::fs::read(trees.into_iter().find(|path| path.exists()).unwrap()).unwrap()
    }
}

/// A pull that owns all that it needs, for a task.
pub(super) async fn pull(puller: Puller, name: String, observer: Observer) -> Result<Pulled, PullError> {
    puller.pull(&name.parse().unwrap(), Arc::new(Fixed::anonymous()), observer).await
}

/// Returns `HOST/app:TAG`, or `HOST/app@DIGEST`.
pub(super) fn reference(server: &Server, tag: &str) -> String {
    format!("{}/app{}{tag}", server.host, if tag.contains(':') { "@" } else { ":" })
}

/// Asks until there is an answer.
pub(super) async fn eventually<T>(mut ask: impl FnMut() -> Option<T>, last: impl Fn() -> String) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, asking).await.unwrap_or_else(|_| panic!("last seen: {}", last()))
}

/// The events of a pull.
pub(super) struct Events(UnboundedReceiver<LayerEvent>);

impl Events {
    pub(super) fn new() -> (Observer, Self) {
        let (sender, receiver) = unbounded_channel();
        // The test may have seen enough.
        (Arc::new(move |event| sender.send(event).unwrap_or_default()), Self(receiver))
    }

    /// Waits until this many bytes of a layer have been received; passes over the events before.
    pub(super) async fn received(&mut self, layer: &Layer, bytes: usize) {
        self.until(&[layer], |event| event.current_bytes == bytes as u64).await;
    }

    /// Waits until each of these layers has come to this phase; passes over the events before.
    pub(super) async fn phase(&mut self, layers: &[&Layer], phase: Phase) {
        self.until(layers, |event| event.phase == phase).await;
    }

    async fn until(&mut self, layers: &[&Layer], wanted: impl Fn(&LayerEvent) -> bool) {
        let mut open: BTreeSet<Digest> = layers.iter().map(|layer| layer.digest()).collect();
        let waiting = async {
            while !open.is_empty() {
                let event = self.0.recv().await.expect("the pull goes on");
                if wanted(&event) {
                    open.remove(&event.digest);
                }
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("they come so far");
    }

    /// Returns every event so far of a layer, as its phase and its bytes.
    pub(super) fn of(&mut self, layer: &Layer) -> Vec<(Phase, u64)> {
        let mut events = Vec::new();
        while let Ok(event) = self.0.try_recv() {
            if event.digest == layer.digest() {
                assert_eq!(event.total_bytes, layer.blob.len() as u64);
                events.push((event.phase, event.current_bytes));
            }
        }
        events
    }
}
