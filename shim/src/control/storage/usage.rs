//! `shimctl df`: what the store takes, in docker's classes.

use std::collections::{BTreeMap, BTreeSet};

use cachestore::layer::LayerId;
use cachestore::usage::LayerUse;
use cachestore::{Result, Store};
use proto::control as api;

use crate::control::convert;

/// Adds the store up.
pub(super) fn report(store: &Store, verbose: bool) -> Result<api::DiskUsageResponse> {
    let layers = store.layer_uses()?;
    let in_use = store.chains_in_use()?;
    let containers = store.writable_usage()?;
    let images = store.images();
    let mut active = BTreeSet::new();
    let mut usages = Vec::new();
    let sizes: BTreeMap<LayerId, &LayerUse> = layers.iter().map(|used| (used.layer.id, used)).collect();
    for image in &images {
        let own = store.image_layers(image)?;
        let count = image.chain.and_then(|chain| in_use.get(&chain).copied()).unwrap_or(0);
        if count > 0 {
            active.extend(own.iter().copied());
        }
        let size = |shared: bool| {
            let layers = own.iter().filter_map(|layer| sizes.get(layer));
            layers.filter(|used| (used.images > 1) == shared).map(|used| used.layer.content_size_bytes).sum()
        };
        usages.push(api::ImageUsage {
            image: Some(convert::image(image)),
            shared_bytes: size(true),
            unique_bytes: size(false),
            containers: count as u64,
        });
    }
    let total =
        |keep: &dyn Fn(&LayerUse) -> bool| layers.iter().filter(|used| keep(used)).map(taken).sum::<u64>();
    let cache: Vec<_> = layers.iter().filter(|used| used.images == 0).collect();
    let cache_bytes = cache.iter().map(|used| taken(used)).sum();
    Ok(api::DiskUsageResponse {
        images: Some(api::UsageClass {
            count: images.len() as u64,
            active_count: usages.iter().filter(|usage| usage.containers > 0).count() as u64,
            size_bytes: total(&|used| used.images > 0),
            reclaimable_bytes: total(&|used| used.images > 0 && !active.contains(&used.layer.id)),
        }),
        containers: Some(api::UsageClass {
            count: in_use.values().sum::<usize>() as u64,
            active_count: in_use.values().sum::<usize>() as u64,
            size_bytes: containers.size_bytes,
            reclaimable_bytes: 0,
        }),
        build_cache: Some(api::UsageClass {
            count: cache.len() as u64,
            active_count: 0,
            size_bytes: cache_bytes,
            reclaimable_bytes: cache_bytes,
        }),
        image_usages: if verbose { usages } else { Vec::new() },
        cache_usages: if verbose { cache.into_iter().map(cache_usage).collect() } else { Vec::new() },
    })
}

/// Bytes on the disk: its tree, and the blobs that are kept of it.
fn taken(used: &LayerUse) -> u64 {
    used.layer.disk_size_bytes + used.kept_bytes
}

fn cache_usage(used: &LayerUse) -> api::CacheUsage {
    api::CacheUsage {
        id: used.layer.diff_id.short(),
        description: used.layer.description.clone(),
        size_bytes: taken(used),
        created_at: Some(convert::from_nanoseconds(used.layer.created_at)),
        used_at: Some(convert::from_nanoseconds(used.used_at)),
        in_use: false,
    }
}
