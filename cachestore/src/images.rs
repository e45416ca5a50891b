//! Images and what they are called.

pub(crate) mod index;
mod record;
mod resolve;

use std::str::FromStr;
use std::sync::Arc;

use crate::Store;
use crate::blobs;
use crate::chains;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::LayerId;
use crate::leases::Lease;
use crate::oci::config::ImageConfig;
use crate::reference::Reference;

/// Where an image came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built here; no registry can give it back.
    Built,
    /// Pulled from a registry.
    Pulled,
    /// Loaded from an archive; no registry is known that has it.
    Loaded,
}

impl Origin {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Pulled => "pulled",
            Self::Loaded => "loaded",
        }
    }
}

impl FromStr for Origin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Built, Self::Pulled, Self::Loaded]
            .into_iter()
            .find(|origin| origin.name() == text)
            .ok_or_else(|| Error::invalid("origin", text, "expected built, pulled or loaded"))
    }
}

/// A name of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name; it has a tag and no digest.
    pub reference: Reference,
    /// Whether it was given here (by a build, a tag or a load) and not by a registry.
    pub local: bool,
}

/// The record of an image, with what every listing of images needs of its configuration.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of its configuration: the image ID.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Where it came from.
    pub origin: Origin,
    /// Its names, sorted.
    pub names: Vec<Name>,
    /// The digests under which registries gave it, sorted.
    pub repo_digests: Vec<Reference>,
    /// Its layers by diff ID, bottom first.
    pub diff_ids: Vec<Digest>,
    /// The chain ID of all its layers; `None` if it has none.
    pub chain: Option<Digest>,
    /// Bytes of content of its layers and its configuration; never 0.
    pub size_bytes: u64,
    /// When it was made, as its configuration says.
    pub created: Option<String>,
    /// The user that its configuration names.
    pub user: String,
    /// When it came into the store: nanoseconds since 1970.
    pub stored_at: i64,
}

impl Image {
    /// Tells whether no registry can give back what its removal would lose.
    pub fn is_local(&self) -> bool {
        self.origin != Origin::Pulled || self.names.iter().any(|name| name.local)
    }
}

/// An image that is to be recorded.
#[derive(Clone, Debug)]
pub struct NewImage<'a> {
    /// Its configuration, byte for byte.
    pub config: &'a [u8],
    /// Its manifest, byte for byte.
    pub manifest: &'a [u8],
    /// Its layers, bottom first; protected by the lease.
    pub layers: &'a [LayerId],
    /// Where it came from.
    pub origin: Origin,
    /// Its names. Each leaves the image that had it before.
    pub names: &'a [Name],
    /// The digests under which a registry gave it.
    pub repo_digests: &'a [Reference],
}

impl Store {
    /// Records an image, and ends the lease that protected its layers until now. An image that is there already gets
    /// the names and digests.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the layers are not those of the configuration.
    ///
    /// # Durability
    /// When it returns, the record survives a power failure.
    pub fn put_image(&self, new: &NewImage<'_>, lease: &Lease) -> Result<Arc<Image>> {
        let id = Digest::of(new.config);
        let manifest = Digest::of(new.manifest);
        let diff_ids = ImageConfig::parse(new.config)?.rootfs.diff_ids;
        let chain = crate::oci::chain::ids(&diff_ids).last().copied();
        if self.chain_of(new.layers)? != chain {
            return Err(Error::invalid("image", id, "its layers are not those of its configuration"));
        }
        let moved = self.meta.write("record image", |transaction| {
            blobs::insert(transaction, &id, new.config)?;
            blobs::insert(transaction, &manifest, new.manifest)?;
            chains::insert(transaction, new.layers)?;
            record::insert(transaction, &id, &manifest, chain.as_ref(), new.origin)?;
            let mut touched = vec![id];
            for name in new.names {
                touched.extend(record::put_name(transaction, name, &id)?);
            }
            for digest in new.repo_digests {
                touched.extend(record::put_repo_digest(transaction, digest, &id)?);
            }
            lease.release(transaction)?;
            Ok(touched)
        })?;
        self.reload_images(&moved)?;
        self.image(&id).ok_or_else(|| Error::not_found("image", id))
    }

    /// Gives an image another name, which leaves the image that had it before.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown image; [`Error::Invalid`] for a name with a digest.
    pub fn tag(&self, id: &Digest, reference: &Reference) -> Result<()> {
        if reference.digest().is_some() {
            return Err(Error::invalid(
                "image name",
                reference,
                "a tag cannot be given together with a digest",
            ));
        }
        if self.image(id).is_none() {
            return Err(Error::not_found("image", id));
        }
        let name = Name { reference: reference.clone(), local: true };
        let moved = self.meta.write("record name", |transaction| record::put_name(transaction, &name, id))?;
        self.reload_images(&[&moved[..], &[*id]].concat())
    }

    /// Takes a name away from its image, which stays.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown name.
    pub fn untag(&self, reference: &Reference) -> Result<Arc<Image>> {
        let name = reference.record_name();
        let missing = || Error::not_found("image name", &name);
        let id = self.index().name(&name).ok_or_else(missing)?;
        let found = self.meta.write("remove name", |transaction| record::remove_name(transaction, &name))?;
        self.reload_images(&[id])?;
        if !found {
            return Err(missing());
        }
        self.image(&id).ok_or_else(missing)
    }

    /// Removes an image with all of its names; its layers are left to the next collection.
    ///
    /// # Errors
    /// Those of the database; removing an image that is gone succeeds.
    pub fn remove_image(&self, id: &Digest) -> Result<()> {
        self.meta.write("remove image", |transaction| record::remove(transaction, id))?;
        self.reload_images(&[*id])
    }

    /// Brings what is in memory of these images up to date with the database.
    pub(crate) fn reload_images(&self, ids: &[Digest]) -> Result<()> {
        let mut index = self.index_mut();
        let images = self.meta.read("read images", |connection| {
            ids.iter()
                .map(|id| Ok((*id, record::load(connection, id)?)))
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        for (id, image) in images {
            index.replace(&id, image);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
