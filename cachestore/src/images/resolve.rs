//! The one resolver: what a word means, for the builder, the CRI and the command line alike.

use std::sync::Arc;

use super::Image;
use crate::Store;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::reference::{self, Reference};

impl Store {
    /// Finds the image that a word means: an image ID, a manifest digest, a name in any of its forms, or the beginning
    /// of an image ID, in this order. `None` if there is no such image.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a word that cannot mean an image, or that is the beginning of several IDs.
    pub fn resolve(&self, word: &str) -> Result<Option<Arc<Image>>> {
        let index = self.index();
        let digest = word.parse().ok().or_else(|| Digest::from_hex(word).ok());
        if let Some(digest) = digest {
            let id = index.get(&digest).map(|image| image.id).or_else(|| index.manifest(&digest));
            return Ok(id.and_then(|id| index.get(&id)));
        }
        let prefix = word.strip_prefix("sha256:").unwrap_or(word);
        let reference = match word.parse::<Reference>() {
            Ok(reference) => Some(reference),
            Err(_) if reference::is_hex(prefix) => None,
            Err(error) => return Err(error),
        };
        if let Some(image) = reference.and_then(|reference| by_reference(&index, &reference)) {
            return Ok(Some(image));
        }
        if !reference::is_hex(prefix) {
            return Ok(None);
        }
        match index.by_prefix(prefix)[..] {
            [] => Ok(None),
            [id] => Ok(index.get(&id)),
            _ => Err(Error::invalid("image ID", word, "several images have an ID that starts so")),
        }
    }

    /// Finds an image, as [`Store::resolve`] does.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub fn expect_image(&self, word: &str) -> Result<Arc<Image>> {
        self.resolve(word)?.ok_or_else(|| match word.parse::<Reference>() {
            Ok(reference) => Error::not_found("image", reference.familiar()),
            Err(_) => Error::not_found("image", word),
        })
    }
}

/// With a digest, the name must also be of an image that has this digest.
fn by_reference(index: &super::index::Index, reference: &Reference) -> Option<Arc<Image>> {
    let Some(digest) = reference.digest() else {
        return index.name(reference).and_then(|id| index.get(&id));
    };
    let pinned = reference.pinned_to(digest);
    if let Some(id) = index.repo_digest(&pinned) {
        return index.get(&id);
    }
    // An image that was built here has a manifest too, though no registry has seen it.
    let image = index.manifest(&digest).and_then(|id| index.get(&id))?;
    let repository = reference.repository();
    image.names.iter().any(|name| name.reference.repository() == repository).then_some(image)
}
