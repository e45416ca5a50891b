//! One pull from its manifest on: the configuration, the layers side by side, the record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use cachestore::images::{Image, Name, NewImage, Origin};
use cachestore::layer::{Layer, LayerId, Unpacked};
use cachestore::oci::config::ImageConfig;
use cachestore::oci::manifest::{BlobRef, LayerRef, Manifest};
use cachestore::oci::{MAX_DOCUMENT_BYTES, chain};
use cachestore::partial::Partial;
use cachestore::{Digest, Lease, Reference, Store};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::jobs::Jobs;
use super::layer::{Phase, Ready};
use super::{Observer, PullError};
use crate::repository::Repository;

/// One pull, as its parts see it.
#[derive(Clone)]
pub(super) struct Pull {
    pub(super) repository: Repository,
    pub(super) store: Arc<Store>,
    pub(super) jobs: Jobs,
    pub(super) turns: Arc<Semaphore>,
    pub(super) lease: Arc<Lease>,
    pub(super) observer: Observer,
    pub(super) reference: Reference,
    /// Whether blobs stay in the store when they have been unpacked.
    pub(super) keep_blobs: bool,
}

/// A layer at its place in the image.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) layer: LayerRef,
    pub(super) diff_id: Digest,
    /// The chain that ends with it.
    pub(super) chain: Digest,
}

/// The layers of an image, all in the store, bottom first.
#[derive(Default)]
struct Stack {
    layers: Vec<LayerId>,
    /// Downloads of layers that depend on those below; they are of use until the image is recorded.
    partials: Vec<(BlobRef, LayerId, Partial)>,
}

impl Pull {
    /// Brings everything that the manifest names into the store, and records the image.
    pub(super) async fn complete(
        self,
        manifest_bytes: Bytes,
        manifest: Manifest,
        digest: Digest,
    ) -> Result<Arc<Image>, PullError> {
        let config = self.config(&manifest.config).await?;
        let places = self.places(&config, &manifest)?;
        let stack = self.layers(&places).await?;
        let names = self.names();
        let repo_digests = vec![self.reference.pinned_to(digest)];
        let (store, lease, jobs) = (Arc::clone(&self.store), Arc::clone(&self.lease), self.jobs.clone());
        let keep_blobs = self.keep_blobs;
        self.block(move || {
            let new = NewImage {
                config: &config,
                manifest: &manifest_bytes,
                layers: &stack.layers,
                origin: Origin::Pulled,
                names: &names,
                repo_digests: &repo_digests,
            };
            let image = store.put_image(&new, &lease)?;
            for (blob, layer, partial) in stack.partials {
                // Another pull may be reading it; then that one sees to it.
                if let Some(_job) = jobs.begin_if_idle(blob.digest) {
                    put_away(&store, partial, keep_blobs.then_some((&blob, layer)))?;
                }
            }
            Ok(image)
        })
        .await
    }

    /// A name with a digest says which image it means: its tag is not moved, as with docker and containerd.
    fn names(&self) -> Vec<Name> {
        match (self.reference.tag(), self.reference.digest()) {
            (Some(_), None) => vec![Name { reference: self.reference.clone(), local: false }],
            _ => Vec::new(),
        }
    }

    /// Returns the configuration: the store's, if it has it, or the registry's.
    async fn config(&self, blob: &BlobRef) -> Result<Bytes, PullError> {
        let (store, digest) = (Arc::clone(&self.store), blob.digest);
        let stored = self.block(move || store.blob(&digest)).await?;
        match stored.filter(|bytes| bytes.len() as u64 == blob.size_bytes) {
            Some(bytes) => Ok(bytes.into()),
            None => Ok(self.repository.blob_bytes(blob, MAX_DOCUMENT_BYTES).await?),
        }
    }

    /// Pairs the manifest's blobs with the configuration's diff IDs.
    fn places(&self, config: &[u8], manifest: &Manifest) -> Result<Vec<Place>, PullError> {
        let diff_ids = ImageConfig::parse(config).map_err(|error| self.stored(error))?.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            let problem = format!(
                "its manifest has {} layers, its configuration {}",
                manifest.layers.len(),
                diff_ids.len()
            );
            return Err(self.stored(cachestore::Error::invalid("image", manifest.config.digest, problem)));
        }
        let chains = chain::ids(&diff_ids);
        let parts = manifest.layers.iter().zip(diff_ids).zip(chains);
        Ok(parts.map(|((layer, diff_id), chain)| Place { layer: *layer, diff_id, chain }).collect())
    }

    /// Brings every layer into the store.
    async fn layers(&self, places: &[Place]) -> Result<Stack, PullError> {
        let mut stack = Stack { layers: self.present(places).await?, ..Stack::default() };
        let (present, missing) = places.split_at(stack.layers.len());
        present
            .iter()
            .for_each(|Place { layer, .. }| self.observe(layer, Phase::Exists, layer.blob.size_bytes));
        let diff_ids = present.iter().map(|place| place.diff_id);
        let mut known: BTreeMap<Digest, LayerId> = diff_ids.zip(stack.layers.iter().copied()).collect();
        let mut waiting = self.bring(missing, &mut known).await?;
        for place in missing {
            if let Some((unpacked, partial)) = waiting.remove(&place.diff_id) {
                let layer = self.record_on(unpacked, stack.layers.clone()).await?;
                stack.partials.push((place.layer.blob, layer, partial));
                known.insert(place.diff_id, layer);
            }
            let layer = known.get(&place.diff_id).copied();
            let lost = || self.stored(cachestore::Error::not_found("layer", place.diff_id));
            stack.layers.push(layer.ok_or_else(lost)?);
        }
        Ok(stack)
    }

    /// Finds the longest part of the image, from the bottom, that some image of the store has too.
    async fn present(&self, places: &[Place]) -> Result<Vec<LayerId>, PullError> {
        let (store, lease) = (Arc::clone(&self.store), Arc::clone(&self.lease));
        let chains: Vec<Digest> = places.iter().map(|place| place.chain).collect();
        self.block(move || {
            for chain in chains.iter().rev() {
                let layers = chain_of(&store, chain, &lease)?;
                if !layers.is_empty() {
                    return Ok(layers.iter().map(|layer| layer.id).collect());
                }
            }
            Ok(Vec::new())
        })
        .await
    }

    /// Brings layers into the store, side by side, each once. Returns those that wait for the layers below them.
    async fn bring(
        &self,
        places: &[Place],
        known: &mut BTreeMap<Digest, LayerId>,
    ) -> Result<BTreeMap<Digest, (Box<Unpacked>, Partial)>, PullError> {
        let mut tasks = JoinSet::new();
        let mut started: BTreeSet<Digest> = known.keys().copied().collect();
        for place in places {
            if started.insert(place.diff_id) {
                let (pull, place) = (self.clone(), *place);
                tasks.spawn(async move { (place.diff_id, pull.layer(place).await) });
            }
        }
        let mut waiting = BTreeMap::new();
        while let Some(joined) = tasks.join_next().await {
            let (diff_id, layer) = joined.map_err(|error| self.task_failed(&error))?;
            match layer? {
                Ready::Recorded(layer) => drop(known.insert(diff_id, layer)),
                Ready::Waiting(unpacked, partial) => drop(waiting.insert(diff_id, (unpacked, partial))),
            }
        }
        Ok(waiting)
    }

    /// Records a layer that depends on those below it.
    async fn record_on(&self, unpacked: Box<Unpacked>, below: Vec<LayerId>) -> Result<LayerId, PullError> {
        let (store, lease) = (Arc::clone(&self.store), Arc::clone(&self.lease));
        self.block(move || store.commit_unpacked(*unpacked, &below, &lease).map(|layer| layer.id)).await
    }

    /// Runs store work where it may block.
    pub(super) async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> cachestore::Result<T> + Send + 'static,
    ) -> Result<T, PullError> {
        let result = tokio::task::spawn_blocking(work).await.map_err(|error| self.task_failed(&error))?;
        result.map_err(|error| self.stored(error))
    }

    pub(super) fn stored(&self, source: cachestore::Error) -> PullError {
        PullError::Store { reference: self.reference.to_string(), source: Box::new(source) }
    }

    pub(super) fn unpack_failed(&self, place: &Place, source: cachestore::Error) -> PullError {
        PullError::Layer {
            reference: self.reference.to_string(),
            layer: place.layer.blob.digest,
            source: Box::new(source),
        }
    }

    pub(super) fn task_failed(&self, problem: &tokio::task::JoinError) -> PullError {
        PullError::Task { reference: self.reference.to_string(), problem: problem.to_string() }
    }
}

/// Ends a download whose blob has been unpacked: keeps it with this layer, or removes it.
pub(super) fn put_away(
    store: &Store,
    download: Partial,
    keep: Option<(&BlobRef, LayerId)>,
) -> cachestore::Result<()> {
    match keep {
        Some((blob, layer)) => store.keep_blob(download, blob, layer).map(drop),
        None => download.remove(),
    }
}

/// Returns the layers of a chain, bottom first, and protects them; none, if it is not recorded.
pub(super) fn chain_of(store: &Store, chain: &Digest, lease: &Lease) -> cachestore::Result<Vec<Layer>> {
    match store.hold_chain(chain, lease) {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        layers => layers,
    }
}
