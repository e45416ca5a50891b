//! `shimctl prune`: images that nobody can name or nobody uses, and the build cache.

use std::collections::BTreeSet;
use std::sync::Arc;

use cachestore::gc::{CachePolicy, Collected, Mode};
use cachestore::images::Image;
use cachestore::{Digest, Store};
use proto::control as api;
use tonic::Status;

use crate::blocking;
use crate::images::Images;
use crate::images::remove::Removed;

/// Prunes, or says what would be pruned.
pub(super) async fn run(images: &Images, request: api::PruneRequest) -> Result<api::PruneResponse, Status> {
    let mode = if request.dry_run { Mode::DryRun } else { Mode::Remove };
    let pinned: BTreeSet<Digest> = images
        .store
        .images()
        .iter()
        .map(|image| image.id)
        .filter(|id| images.registrar.is_pinned(id))
        .collect();
    let store = Arc::clone(&images.store);
    let doomed = blocking::run(move || doomed(&store, request.all, &pinned)).await?;
    if mode == Mode::Remove {
        for image in &doomed {
            let (store, id) = (Arc::clone(&images.store), image.id);
            blocking::run(move || store.remove_image(&id)).await?;
            let untagged = image.names.iter().map(|name| name.reference.clone()).collect();
            images.tell_removed(image, &Removed { untagged, deleted: Some(image.id) }).await;
        }
    }
    let (store, without) = (Arc::clone(&images.store), doomed.iter().map(|image| image.id).collect());
    let collected =
        blocking::run(move || store.collect_without(&without, CachePolicy::DROP_ALL, mode)).await?;
    Ok(describe(&doomed, &collected))
}

/// Images without a name; with `all`, also those that no container uses. Never the pause image.
fn doomed(store: &Store, all: bool, pinned: &BTreeSet<Digest>) -> cachestore::Result<Vec<Arc<Image>>> {
    let in_use = store.chains_in_use()?;
    let used = |image: &Image| image.chain.is_some_and(|chain| in_use.contains_key(&chain));
    let is_doomed =
        |image: &Arc<Image>| !pinned.contains(&image.id) && !used(image) && (all || image.names.is_empty());
    Ok(store.images().into_iter().filter(is_doomed).collect())
}

fn describe(images: &[Arc<Image>], collected: &Collected) -> api::PruneResponse {
    let names = images.iter().flat_map(|image| &image.names);
    api::PruneResponse {
        untagged: names.map(|name| name.reference.to_string()).collect(),
        deleted_images: images.iter().map(|image| image.id.to_string()).collect(),
        deleted_layers: collected.layers.iter().map(ToString::to_string).collect(),
        reclaimed_bytes: collected.freed_bytes,
    }
}
