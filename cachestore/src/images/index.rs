//! All images in memory: the kubelet asks for them every few seconds, and a database is slower than a map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};

use super::{Image, record};
use crate::Store;
use crate::digest::Digest;
use crate::error::Result;
use crate::reference::Reference;

/// The images by ID, by name and by digest. Follows the database: see [`Store::reload_images`].
#[derive(Debug, Default)]
pub(crate) struct Index {
    images: BTreeMap<Digest, Arc<Image>>,
    names: BTreeMap<String, Digest>,
    repo_digests: BTreeMap<String, Digest>,
    manifests: BTreeSet<(Digest, Digest)>,
}

impl Index {
    /// Puts an image in, or takes it out.
    pub(super) fn replace(&mut self, id: &Digest, image: Option<Image>) {
        if let Some(old) = self.images.remove(id) {
            // A name may point to another image by now.
            self.names.retain(|_, holder| holder != id);
            self.repo_digests.retain(|_, holder| holder != id);
            self.manifests.remove(&(old.manifest, *id));
        }
        let Some(image) = image else { return };
        for name in &image.names {
            self.names.insert(name.reference.to_string(), *id);
        }
        for digest in &image.repo_digests {
            self.repo_digests.insert(digest.to_string(), *id);
        }
        self.manifests.insert((image.manifest, *id));
        self.images.insert(*id, Arc::new(image));
    }

    pub(super) fn get(&self, id: &Digest) -> Option<Arc<Image>> {
        self.images.get(id).cloned()
    }

    pub(super) fn name(&self, name: &Reference) -> Option<Digest> {
        self.names.get(&name.to_string()).copied()
    }

    pub(super) fn repo_digest(&self, name: &Reference) -> Option<Digest> {
        self.repo_digests.get(&name.to_string()).copied()
    }

    /// Finds the image whose manifest, as it is stored, or as a registry gave it, has this digest.
    pub(super) fn manifest(&self, digest: &Digest) -> Option<Digest> {
        let stored = self.manifests.range((*digest, Digest::MIN)..).next();
        stored.filter(|(manifest, _)| manifest == digest).map(|(_, id)| *id).or_else(|| {
            let suffix = format!("@{digest}");
            self.repo_digests.iter().find(|(name, _)| name.ends_with(&suffix)).map(|(_, id)| *id)
        })
    }

    /// Finds images whose ID starts with these hexadecimal digits: at most two, since two are too many already.
    pub(super) fn by_prefix(&self, hex: &str) -> Vec<Digest> {
        let Some(start) = Digest::first_with_prefix(hex) else { return Vec::new() };
        self.images
            .range(start..)
            .map(|(id, _)| *id)
            .take_while(|id| id.hex().starts_with(hex))
            .take(2)
            .collect()
    }
}

impl Store {
    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.images.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.images.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads every image into memory, when the store is opened.
    pub(crate) fn load_images(&self) -> Result<()> {
        let ids = self.meta.read("read images", record::ids)?;
        self.reload_images(&ids)
    }

    /// Returns every image, in the order of their IDs.
    pub fn images(&self) -> Vec<Arc<Image>> {
        self.index().images.values().cloned().collect()
    }

    /// Returns an image.
    pub fn image(&self, id: &Digest) -> Option<Arc<Image>> {
        self.index().get(id)
    }
}
