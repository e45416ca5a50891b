//! Chains: stacks of layers by chain ID, and the lower directories that overlayfs gets for them.

use std::collections::HashSet;
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::Store;
use crate::digest::Digest;
use crate::error::{DatabaseContext, Error, Result};
use crate::layer::record::by_id;
use crate::layer::{Layer, LayerId};
use crate::leases::Lease;
use crate::oci::chain;

impl Store {
    /// Computes the chain ID of a stack of layers, bottom first; `None` for no layers.
    pub(crate) fn chain_of(&self, layers: &[LayerId]) -> Result<Option<Digest>> {
        self.meta.read("read layers", |connection| {
            layers.iter().try_fold(None, |top, layer| {
                Ok(Some(chain::extend(top, by_id(connection, layer.0)?.diff_id)))
            })
        })
    }

    /// Tells whether a chain ID stands for layers of this store.
    ///
    /// # Errors
    /// Those of the database.
    pub fn has_chain(&self, chain: &Digest) -> Result<bool> {
        self.meta.read("find chain", |connection| exists(connection, chain))
    }

    /// Returns the layers of a chain, bottom first.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown chain ID.
    pub fn chain_layers(&self, chain: &Digest) -> Result<Vec<LayerId>> {
        self.meta
            .read("read chain", |connection| links(connection, chain))?
            .map(|links| links.into_iter().map(|link| link.layer).collect())
            .ok_or_else(|| Error::not_found("chain", chain))
    }

    /// Returns the parent of a chain: the chain without its top layer.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown chain ID.
    pub fn chain_parent(&self, chain: &Digest) -> Result<Option<Digest>> {
        self.meta
            .read("read chain", |connection| {
                connection
                    .prepare_cached("SELECT parent FROM chains WHERE id = ?")?
                    .query_row([chain], |row| row.get(0))
                    .optional()
            })?
            .ok_or_else(|| Error::not_found("chain", chain))
    }

    /// Returns the records of a chain's layers, bottom first, and protects them by the lease.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown chain ID.
    pub fn hold_chain(&self, chain: &Digest, lease: &Lease) -> Result<Vec<Layer>> {
        let layers = self.meta.read("read chain", |connection| {
            let Some(links) = links(connection, chain)? else { return Ok(None) };
            let layers = links
                .iter()
                .map(|link| by_id(connection, link.layer.0))
                .collect::<rusqlite::Result<Vec<_>>>()?;
            layers.iter().for_each(|layer| lease.hold(layer.id.0));
            Ok(Some(layers))
        })?;
        layers.ok_or_else(|| Error::not_found("chain", chain))
    }

    /// Returns a digest that was computed before of a part of a chain; what `selector` means is the caller's business.
    ///
    /// # Errors
    /// Those of the database.
    pub fn tree_digest(&self, chain: &Digest, selector: &str) -> Result<Option<Digest>> {
        self.meta.read("find tree digest", |connection| {
            connection
                .prepare_cached("SELECT digest FROM tree_digests WHERE chain = ? AND selector = ?")?
                .query_row(params![chain, selector], |row| row.get(0))
                .optional()
        })
    }

    /// Remembers a digest of a part of a chain whose top layer is `top`.
    ///
    /// # Errors
    /// Those of the database.
    pub fn put_tree_digest(
        &self,
        top: LayerId,
        chain: &Digest,
        selector: &str,
        digest: &Digest,
    ) -> Result<()> {
        self.meta.write("record tree digest", |transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO tree_digests (chain, selector, digest, layer) VALUES (?, ?, ?, ?)")
                .and_then(|mut statement| statement.execute(params![chain, selector, digest, top.0]))
                .doing("record tree digest")?;
            Ok(())
        })
    }

    /// Returns the trees of a stack of layers (bottom first), as overlayfs wants them: top first, none twice.
    pub fn lower_dirs(&self, layers: &[LayerId]) -> Vec<PathBuf> {
        topmost(layers).into_iter().map(|layer| self.layer_tree(layer)).collect()
    }
}

/// Returns the layers top first, each only at its topmost place.
///
/// Overlayfs refuses a directory that is there twice, and the lower occurrence has no effect: every name that it
/// shows or hides, the upper one shows or hides in the same way, over whatever lies between.
pub(crate) fn topmost(bottom_first: &[LayerId]) -> Vec<LayerId> {
    let mut seen = HashSet::new();
    bottom_first.iter().rev().copied().filter(|layer| seen.insert(*layer)).collect()
}

/// One step of a chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) id: Digest,
    pub(crate) layer: LayerId,
}

/// Reads a chain, bottom first; `None` if it is not recorded.
pub(crate) fn links(connection: &Connection, chain: &Digest) -> rusqlite::Result<Option<Vec<Link>>> {
    let mut links: Vec<Link> = connection
        .prepare_cached(
            "WITH RECURSIVE up (id, parent, layer, depth) AS (
                 SELECT id, parent, layer, 0 FROM chains WHERE id = ?1
                 UNION ALL
                 SELECT c.id, c.parent, c.layer, depth + 1 FROM chains c JOIN up ON c.id = up.parent)
             SELECT id, layer FROM up ORDER BY depth DESC",
        )?
        .query_map([chain], |row| Ok(Link { id: row.get(0)?, layer: LayerId(row.get(1)?) }))?
        .collect::<rusqlite::Result<_>>()?;
    links.dedup_by_key(|link| link.id);
    Ok((!links.is_empty()).then_some(links))
}

pub(crate) fn exists(connection: &Connection, chain: &Digest) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM chains WHERE id = ?")?.exists([chain])
}

/// Records the chains of a stack of layers; returns the top one. What is recorded already stays: its layers are as good.
pub(crate) fn insert(transaction: &Transaction<'_>, layers: &[LayerId]) -> Result<Option<Digest>> {
    let mut top: Option<Digest> = None;
    for layer in layers {
        let diff_id = by_id(transaction, layer.0).doing("read layer")?.diff_id;
        let id = chain::extend(top, diff_id);
        transaction
            .prepare_cached("INSERT OR IGNORE INTO chains (id, parent, layer) VALUES (?, ?, ?)")
            .and_then(|mut statement| statement.execute(params![id, top, layer.0]))
            .doing("record chain")?;
        top = Some(id);
    }
    Ok(top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_counts_at_its_topmost_place() {
        let layers = |ids: &[i64]| ids.iter().copied().map(LayerId).collect::<Vec<_>>();
        for (bottom_first, top_first) in [
            (&[][..], &[][..]),
            (&[1, 2, 3], &[3, 2, 1]),
            (&[1, 2, 1], &[1, 2]),
            (&[1, 1, 1], &[1]),
            (&[1, 2, 1, 3, 2], &[2, 3, 1]),
        ] {
            assert_eq!(topmost(&layers(bottom_first)), layers(top_first));
        }
    }
}
