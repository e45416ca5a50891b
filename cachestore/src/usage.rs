//! How much of the disk the store takes, and for what.

use std::collections::{BTreeMap, BTreeSet};

use crate::Store;
use crate::digest::Digest;
use crate::error::Result;
use crate::images::Image;
use crate::kept::SIZE_OF_LAYER;
use crate::layer::record::{COLUMNS, by_id};
use crate::layer::{Layer, LayerId};
use crate::snapshots::{Kind, Usage};

/// A layer, and what needs it.
#[derive(Clone, Debug)]
pub struct LayerUse {
    /// The layer.
    pub layer: Layer,
    /// When a build or a pull last used it: nanoseconds since 1970.
    pub used_at: i64,
    /// Bytes of the blobs that are kept beside its tree.
    pub kept_bytes: u64,
    /// How many images have it.
    pub images: usize,
}

impl Store {
    /// Returns what all layers take together, with the blobs that are kept of them.
    ///
    /// # Errors
    /// Those of the database.
    pub fn layers_usage(&self) -> Result<Usage> {
        self.meta.read("add up layers", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT coalesce(sum(disk_size + {SIZE_OF_LAYER}), 0),
                         coalesce(sum(inodes), 0) + (SELECT count(*) FROM kept_blobs) FROM layers"
                ))?
                .query_row([], |row| {
                    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
                    Ok(Usage { size_bytes: number(0)?, inodes: number(1)? })
                })
        })
    }

    /// Returns what the writable layers of all containers take together; walks them.
    ///
    /// # Errors
    /// Those of the disk and the database.
    pub fn writable_usage(&self) -> Result<Usage> {
        let mut total = Usage::default();
        for snapshot in self.snapshots()?.iter().filter(|snapshot| snapshot.kind == Kind::Active) {
            match self.usage(&snapshot.name) {
                Ok(usage) => {
                    total.size_bytes += usage.size_bytes;
                    total.inodes += usage.inodes;
                }
                // Removed since they were listed.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// Returns every layer with the number of images that need it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn layer_uses(&self) -> Result<Vec<LayerUse>> {
        let mut images: BTreeMap<LayerId, usize> = BTreeMap::new();
        for image in self.images() {
            for layer in self.image_layers(&image)? {
                *images.entry(layer).or_default() += 1;
            }
        }
        self.meta.read("list layers", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS}, used_at, {SIZE_OF_LAYER} AS kept FROM layers ORDER BY id"
                ))?
                .query_map([], |row| {
                    let layer = Layer::from_row(row)?;
                    let images = images.get(&layer.id).copied().unwrap_or(0);
                    let kept_bytes = row.get::<_, i64>("kept")?.cast_unsigned();
                    Ok(LayerUse { layer, used_at: row.get("used_at")?, kept_bytes, images })
                })?
                .collect()
        })
    }

    /// Returns the bytes of content of each of an image's layers, bottom first.
    ///
    /// # Errors
    /// Those of the database.
    pub fn layer_sizes(&self, image: &Image) -> Result<Vec<u64>> {
        let Some(chain) = &image.chain else { return Ok(Vec::new()) };
        let layers = self.chain_layers(chain)?;
        self.meta.read("read layers", |connection| {
            layers.iter().map(|layer| Ok(by_id(connection, layer.0)?.content_size_bytes)).collect()
        })
    }

    /// Returns the layers of an image, each once.
    ///
    /// # Errors
    /// Those of the database.
    pub fn image_layers(&self, image: &Image) -> Result<BTreeSet<LayerId>> {
        match &image.chain {
            Some(chain) => Ok(self.chain_layers(chain)?.into_iter().collect()),
            None => Ok(BTreeSet::new()),
        }
    }

    /// Returns the chains on which containers stand, with how many there are on each.
    ///
    /// # Errors
    /// Those of the database.
    pub fn chains_in_use(&self) -> Result<BTreeMap<Digest, usize>> {
        let mut chains: BTreeMap<Digest, usize> = BTreeMap::new();
        for snapshot in self.snapshots()?.iter().filter(|snapshot| snapshot.kind != Kind::Committed) {
            if let Some(chain) = snapshot.parent.as_ref().and_then(|parent| parent.parse().ok()) {
                *chains.entry(chain).or_default() += 1;
            }
        }
        Ok(chains)
    }
}
