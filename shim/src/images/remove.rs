//! Removal: CRI's, which takes an image with all its names, and docker's, which takes one name after the other.

use std::sync::Arc;

use cachestore::error::Error;
use cachestore::images::Image;
use cachestore::{Digest, Reference, Store};
use tonic::Status;

use super::Images;
use crate::blocking;

/// What a removal did, in docker's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) untagged: Vec<Reference>,
    pub(crate) deleted: Option<Digest>,
}

/// Removes an image even if it has several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Force(pub(crate) bool);

impl Images {
    /// Removes an image with all of its names (CRI: RemoveImage); one that is gone is removed.
    pub(crate) async fn remove_all(&self, word: String) -> Result<(), Status> {
        let store = Arc::clone(&self.store);
        let image = blocking::run(move || {
            let image = store.resolve(&word)?;
            if let Some(image) = &image {
                store.remove_image(&image.id)?;
            }
            Ok(image)
        })
        .await?;
        if let Some(image) = image {
            tracing::info!(image = %image.id, "removed");
            self.tell_removed(&image, &Removed { untagged: all_names(&image), deleted: Some(image.id) })
                .await;
        }
        Ok(())
    }

    /// Removes a name, and the image with its last name (docker rmi).
    pub(crate) async fn remove(&self, word: String, force: Force) -> Result<Removed, Status> {
        let store = Arc::clone(&self.store);
        let (image, removed) = blocking::run(move || remove(&store, &word, force)).await?;
        self.tell_removed(&image, &removed).await;
        Ok(removed)
    }

    /// containerd may be away; what it still knows then is deleted when it comes back.
    pub(crate) async fn tell_removed(&self, image: &Image, removed: &Removed) {
        let mut names: Vec<String> = removed.untagged.iter().map(ToString::to_string).collect();
        if removed.deleted.is_some() {
            names.push(image.id.to_string());
            names.extend(image.repo_digests.iter().map(ToString::to_string));
        }
        if let Err(status) = self.registrar.forget(&image.id, &names).await {
            tracing::debug!(image = %image.id, error = status.message(), "containerd was not told of the removal yet");
        }
        self.bell.ring();
    }
}

fn all_names(image: &Image) -> Vec<Reference> {
    image.names.iter().map(|name| name.reference.clone()).collect()
}

fn remove(store: &Store, word: &str, force: Force) -> cachestore::Result<(Arc<Image>, Removed)> {
    let image = store.expect_image(word)?;
    let names = all_names(&image);
    let named =
        word.parse::<Reference>().ok().map(|name| name.record_name()).filter(|name| names.contains(name));
    if let Some(name) = named.filter(|_| names.len() > 1) {
        store.untag(&name)?;
        return Ok((image, Removed { untagged: vec![name], deleted: None }));
    }
    let repositories: std::collections::BTreeSet<_> = names.iter().map(Reference::repository).collect();
    if repositories.len() > 1 && !force.0 {
        let user =
            format!("names in several repositories ({}); remove them, or use --force", familiar(&names));
        return Err(Error::InUse { kind: "image", name: image.id.short(), user });
    }
    if !force.0
        && let Some(user) = container_of(store, &image)?
    {
        return Err(Error::InUse { kind: "image", name: word.to_owned(), user });
    }
    store.remove_image(&image.id)?;
    let deleted = Some(image.id);
    Ok((image, Removed { untagged: names, deleted }))
}

fn familiar(names: &[Reference]) -> String {
    names.iter().map(Reference::familiar).collect::<Vec<_>>().join(", ")
}

/// Says which containers stand on the image.
fn container_of(store: &Store, image: &Image) -> cachestore::Result<Option<String>> {
    let count = image
        .chain
        .and_then(|chain| store.chains_in_use().map(|chains| chains.get(&chain).copied()).transpose());
    Ok(match count.transpose()? {
        None => None,
        Some(1) => Some("a container; use --force to remove it all the same".to_owned()),
        Some(count) => Some(format!("{count} containers; use --force to remove it all the same")),
    })
}
