//! Pulls: from a reference to an image in the store. Layers are downloaded and unpacked in parallel; what the store has
//! is not downloaded; what a broken pull left is gone on from.

mod feed;
mod image;
mod jobs;
mod kept;
mod layer;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use cachestore::images::Image;
use cachestore::oci::manifest::{BlobRef, Document, Manifest};
use cachestore::oci::platform::Target;
use cachestore::{Digest, Reference, Store};
use tokio::sync::Semaphore;

use crate::auth::Credentials;
use crate::client::Client;
use crate::repository::{Repository, Resolved};

pub use layer::{LayerEvent, Phase};

/// How many layers are downloaded and unpacked at once, over all pulls: enough to keep a network and a disk busy.
const PARALLEL_LAYERS: usize = 6;
/// The operating system and the architecture of what is no image, such as the attestations that buildx adds.
const NO_PLATFORM: &str = "unknown";

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
        source: Box<cachestore::Error>,
    },
    /// A layer was delivered as its digest has it, and cannot be unpacked.
    #[error("cannot unpack layer {layer} of {reference}")]
    Layer {
        /// What was pulled.
        reference: String,
        /// The layer's blob.
        layer: Digest,
        /// Why.
        source: Box<cachestore::Error>,
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
    keep_blobs: bool,
}

impl Puller {
    /// Makes a puller for images of this machine's platform.
    pub fn new(client: Client, store: Arc<Store>) -> Self {
        let turns = Arc::new(Semaphore::new(PARALLEL_LAYERS));
        Self { client, store, jobs: jobs::Jobs::default(), turns, target: Target::host(), keep_blobs: false }
    }

    /// Says whether the blob of each layer that is downloaded is kept in the store; without this it is removed once the
    /// layer is recorded.
    #[must_use]
    pub fn keep_blobs(mut self, keep: bool) -> Self {
        self.keep_blobs = keep;
        self
    }

    /// Pulls an image. A tag beside a digest is not given to it.
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
        let pull = image::Pull {
            repository,
            store: Arc::clone(&self.store),
            jobs: self.jobs.clone(),
            turns: Arc::clone(&self.turns),
            lease: Arc::new(self.store.lease()),
            observer,
            reference: reference.clone(),
            keep_blobs: self.keep_blobs,
        };
        let image = pull.complete(manifest_bytes, manifest, resolved.digest).await?;
        let up_to_date = before == Some(image.id);
        Ok(Pulled { image, digest: resolved.digest, up_to_date })
    }

    /// Returns the manifest for this machine.
    async fn manifest(
        &self,
        repository: &Repository,
        resolved: &Resolved,
    ) -> Result<(Bytes, Manifest), PullError> {
        let reference = repository.reference();
        let stored = |source| PullError::Store { reference: reference.to_string(), source: Box::new(source) };
        let index = match resolved.document().map_err(stored)? {
            Document::Manifest(manifest) => return Ok((resolved.bytes.clone(), manifest)),
            Document::Index(index) => index,
        };
        let Some(chosen) = self.target.choose(index.manifests()) else {
            let platforms = index.manifests().iter().filter_map(|descriptor| descriptor.platform().as_ref());
            return Err(PullError::Platform {
                reference: reference.to_string(),
                platform: self.target.name(),
                offered: listed(platforms.map(|platform| Target {
                    os: platform.os().to_string(),
                    architecture: platform.architecture().to_string(),
                    variant: platform.variant().clone().unwrap_or_default(),
                })),
            });
        };
        let chosen = BlobRef::from_oci(chosen).map_err(stored)?;
        let resolved = repository.manifest_by_digest(chosen.digest).await?;
        let invalid =
            |problem: &str| stored(cachestore::Error::invalid("image manifest", chosen.digest, problem));
        if resolved.bytes.len() as u64 != chosen.size_bytes {
            let found = resolved.bytes.len();
            return Err(invalid(&format!("it has {found} bytes, and its index says {}", chosen.size_bytes)));
        }
        match resolved.document().map_err(stored)? {
            Document::Manifest(manifest) => Ok((resolved.bytes, manifest)),
            Document::Index(_) => Err(invalid("an index within an index")),
        }
    }
}

/// Lists platforms for a person, each once.
fn listed(platforms: impl Iterator<Item = Target>) -> String {
    let real = platforms.filter(|platform| platform.os != NO_PLATFORM);
    let names: BTreeSet<String> = real.map(|platform| platform.name()).collect();
    if names.is_empty() { "none at all".into() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}
