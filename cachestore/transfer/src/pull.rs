//! Pulls: from a reference to an image in the store. Layers are downloaded and unpacked in parallel; what the store has
//! is not downloaded; what a broken pull left is gone on from.

mod feed;
mod jobs;
mod layer;

use std::collections::BTreeSet;
use std::sync::Arc;

use cachestore::images::{Image, Name, NewImage, Origin};
use cachestore::layer::{LayerId, Unpacked};
use cachestore::oci::MAX_DOCUMENT_BYTES;
use cachestore::oci::config::ImageConfig;
use cachestore::oci::manifest::{Document, LayerRef, Manifest};
use cachestore::oci::platform::Target;
use cachestore::{Digest, Lease, Reference, Store};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::auth::Credentials;
use crate::client::Client;
use crate::repository::{Repository, Resolved};

pub use layer::{LayerEvent, Phase};

/// How many layers are downloaded and unpacked at once, over all pulls: enough to keep a network and a disk busy.
const PARALLEL_LAYERS: usize = 6;

/// Receives what happens to each layer. Called from several tasks; must be quick.
pub type Observer = Arc<dyn Fn(LayerEvent) + Send + Sync>;

/// Why a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry did not deliver.
    #[error(transparent)]
    Registry(#[from] crate::error::Error),
    /// What it delivered cannot be stored.
    #[error("cannot store {reference}")]
    Store {
        /// What was pulled.
        reference: String,
        /// Why.
        source: cachestore::Error,
    },
    /// The image has no variant for this machine.
    #[error("{reference} has no image for {platform}; it has {offered}")]
    Platform {
        /// What was pulled.
        reference: String,
        /// What this machine needs.
        platform: String,
        /// What there is.
        offered: String,
    },
    /// A part of the program failed in an unexpected way.
    #[error("the pull of {reference} ended unexpectedly: {problem}")]
    Task {
        /// What was pulled.
        reference: String,
        /// What happened.
        problem: String,
    },
}

/// An image that was pulled.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The image.
    pub image: Arc<Image>,
    /// The digest that the registry gave for the reference.
    pub digest: Digest,
    /// Whether the store had exactly this image under this name.
    pub up_to_date: bool,
}

/// Pulls images into a store. Concurrent pulls share the work on layers that they have in common.
#[derive(Clone, Debug)]
pub struct Puller {
    client: Client,
    store: Arc<Store>,
    jobs: jobs::Jobs,
    turns: Arc<Semaphore>,
    target: Target,
}

impl Puller {
    /// Makes a puller for images of this machine's platform.
    pub fn new(client: Client, store: Arc<Store>) -> Self {
        let turns = Arc::new(Semaphore::new(PARALLEL_LAYERS));
        Self { client, store, jobs: jobs::Jobs::default(), turns, target: Target::host() }
    }

    /// Pulls an image.
    ///
    /// # Errors
    /// See [`PullError`]. Layers that were complete stay for the next attempt, for as long as [`cachestore::leases::KEEP`].
    ///
    /// # Cancellation
    /// Dropping the future ends the downloads; what was received stays for the next attempt.
    pub async fn pull(
        &self,
        reference: &Reference,
        credentials: Arc<dyn Credentials>,
        observer: Observer,
    ) -> Result<Pulled, PullError> {
        let repository = self.client.repository(reference, credentials).await?;
        let resolved = repository.resolve().await?;
        let (manifest_bytes, manifest) = self.manifest(&repository, &resolved).await?;
        let before = self.store.resolve(&reference.to_string()).ok().flatten().map(|image| image.id);
        let pull = Pull {
            repository,
            store: Arc::clone(&self.store),
            jobs: self.jobs.clone(),
            turns: Arc::clone(&self.turns),
            lease: Arc::new(self.store.lease()),
            observer,
            reference: reference.clone(),
        };
        let layers = match self.store.image(&manifest.config.digest) {
            Some(image) => pull.present(&image, &manifest)?,
            None => Vec::new(),
        };
        let image = pull.complete(manifest_bytes, manifest, resolved.digest, layers).await?;
        let up_to_date = before == Some(image.id);
        Ok(Pulled { image, digest: resolved.digest, up_to_date })
    }

    /// Returns the manifest for this machine.
    async fn manifest(
        &self,
        repository: &Repository,
        resolved: &Resolved,
    ) -> Result<(Vec<u8>, Manifest), PullError> {
        let reference = repository.reference();
        let stored = |source| PullError::Store { reference: reference.to_string(), source };
        let index = match resolved.document().map_err(stored)? {
            Document::Manifest(manifest) => return Ok((resolved.bytes.to_vec(), manifest)),
            Document::Index(index) => index,
        };
        let Some(chosen) = self.target.choose(index.manifests()) else {
            let offered = index.manifests().iter().filter_map(|descriptor| descriptor.platform().as_ref());
            let offered: BTreeSet<_> =
                offered.map(|platform| format!("{}/{}", platform.os(), platform.architecture())).collect();
            return Err(PullError::Platform {
                reference: reference.to_string(),
                platform: self.target.name(),
                offered: offered.into_iter().collect::<Vec<_>>().join(", "),
            });
        };
        let digest = chosen.digest().to_string().parse().map_err(stored)?;
        let resolved = repository.manifest_by_digest(digest).await?;
        match resolved.document().map_err(stored)? {
            Document::Manifest(manifest) => Ok((resolved.bytes.to_vec(), manifest)),
            Document::Index(_) => {
                let problem = "an index within an index";
                Err(stored(cachestore::Error::invalid("image manifest", digest, problem)))
            }
        }
    }
}

/// One pull, as its parts see it.
#[derive(Clone)]
struct Pull {
    repository: Repository,
    store: Arc<Store>,
    jobs: jobs::Jobs,
    turns: Arc<Semaphore>,
    lease: Arc<Lease>,
    observer: Observer,
    reference: Reference,
}

/// What became of a layer.
enum Ready {
    /// It is in the store.
    Recorded(LayerId),
    /// Its tree is complete, but depends on the layers below it.
    Waiting(Box<Unpacked>),
}

impl Pull {
    fn stored(&self, source: cachestore::Error) -> PullError {
        PullError::Store { reference: self.reference.to_string(), source }
    }

    /// The image is here already, perhaps under another name: its layers are at hand.
    fn present(&self, image: &Image, manifest: &Manifest) -> Result<Vec<LayerId>, PullError> {
        for layer in &manifest.layers {
            (self.observer)(LayerEvent::new(layer, Phase::Exists, layer.blob.size_bytes));
        }
        match &image.chain {
            Some(chain) => self.store.chain_layers(chain).map_err(|error| self.stored(error)),
            None => Ok(Vec::new()),
        }
    }

    async fn complete(
        self,
        manifest_bytes: Vec<u8>,
        manifest: Manifest,
        digest: Digest,
        present: Vec<LayerId>,
    ) -> Result<Arc<Image>, PullError> {
        let config = self.repository.blob_bytes(&manifest.config, MAX_DOCUMENT_BYTES).await?;
        let diff_ids = ImageConfig::parse(&config).map_err(|error| self.stored(error))?.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            let problem = format!(
                "its manifest has {} layers, its configuration {}",
                manifest.layers.len(),
                diff_ids.len()
            );
            return Err(self.stored(cachestore::Error::invalid("image", manifest.config.digest, problem)));
        }
        let layers = if present.len() == diff_ids.len() {
            present
        } else {
            self.layers(&manifest.layers, &diff_ids).await?
        };
        let name = self.reference.record_name();
        let names = match name.tag() {
            Some(_) => vec![Name { reference: name, local: false }],
            None => Vec::new(),
        };
        let repo_digests = vec![self.reference.pinned_to(digest)];
        let (store, lease) = (Arc::clone(&self.store), Arc::clone(&self.lease));
        self.block(move || {
            let new = NewImage {
                config: &config,
                manifest: &manifest_bytes,
                layers: &layers,
                origin: Origin::Pulled,
                names: &names,
                repo_digests: &repo_digests,
            };
            store.put_image(&new, &lease)
        })
        .await
    }

    /// Brings every layer into the store; returns them bottom first.
    async fn layers(&self, blobs: &[LayerRef], diff_ids: &[Digest]) -> Result<Vec<LayerId>, PullError> {
        let mut tasks = JoinSet::new();
        let mut started = BTreeSet::new();
        for (blob, diff_id) in blobs.iter().zip(diff_ids) {
            if started.insert(*diff_id) {
                let (pull, blob, diff_id) = (self.clone(), *blob, *diff_id);
                tasks.spawn(async move { (diff_id, pull.layer(blob, diff_id).await) });
            }
        }
        let mut ready = std::collections::HashMap::new();
        while let Some(joined) = tasks.join_next().await {
            let (diff_id, layer) = joined.map_err(|error| self.task_failed(&error))?;
            ready.insert(diff_id, layer?);
        }
        let mut below = Vec::new();
        for diff_id in diff_ids {
            let layer = match ready.remove(diff_id) {
                Some(Ready::Recorded(layer)) => layer,
                Some(Ready::Waiting(unpacked)) => self.commit(*unpacked, below.clone()).await?,
                None => self.again(*diff_id, below.clone()).await?,
            };
            if !below.contains(&layer) {
                ready.insert(*diff_id, Ready::Recorded(layer));
            }
            below.push(layer);
        }
        Ok(below)
    }

    async fn commit(&self, unpacked: Unpacked, below: Vec<LayerId>) -> Result<LayerId, PullError> {
        let (store, lease) = (Arc::clone(&self.store), Arc::clone(&self.lease));
        self.block(move || store.commit_unpacked(unpacked, &below, &lease).map(|layer| layer.id)).await
    }

    /// The image has a layer twice, and the layer depends on what is below: the first one serves, by its diff ID.
    async fn again(&self, diff_id: Digest, below: Vec<LayerId>) -> Result<LayerId, PullError> {
        let (store, lease) = (Arc::clone(&self.store), Arc::clone(&self.lease));
        let found = self.block(move || store.layer_by_diff_id(diff_id, Some(&below), &lease)).await?;
        found.map(|layer| layer.id).ok_or_else(|| self.stored(cachestore::Error::not_found("layer", diff_id)))
    }

    /// Runs store work where it may block.
    async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> cachestore::Result<T> + Send + 'static,
    ) -> Result<T, PullError> {
        let result = tokio::task::spawn_blocking(work).await.map_err(|error| self.task_failed(&error))?;
        result.map_err(|error| self.stored(error))
    }

    fn task_failed(&self, problem: &tokio::task::JoinError) -> PullError {
        PullError::Task { reference: self.reference.to_string(), problem: problem.to_string() }
    }
}
