//! Removal of what mark found, in an order that is safe to interrupt: records in one transaction, then bytes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rusqlite::{Connection, Transaction};

use super::mark::{Garbage, Graph, LayerNode};
use super::{CachePolicy, Collected, Mode};
use crate::Store;
use crate::digest::Digest;
use crate::disk::fault;
use crate::error::{DatabaseContext, Result};
use crate::kept;
use crate::leases;
use crate::meta::now;

impl Store {
    /// Removes layers and documents that no image, snapshot, lease or registration needs, and what the policy does not
    /// keep of the build cache.
    ///
    /// # Locking
    /// Mark and the removal of records are one transaction: nothing can begin to need what is being removed.
    ///
    /// # Errors
    /// Those of the disk and the database; repeating it goes on.
    pub fn collect(&self, policy: CachePolicy, mode: Mode) -> Result<Collected> {
        self.collect_without(&BTreeSet::new(), policy, mode)
    }

    /// What [`Store::collect`] would find if these images were removed before.
    ///
    /// # Errors
    /// As for [`Store::collect`].
    pub fn collect_without(
        &self,
        images: &BTreeSet<Digest>,
        policy: CachePolicy,
        mode: Mode,
    ) -> Result<Collected> {
        let (collected, places) = self.meta.write("collect", |transaction| {
            leases::expire(transaction)?;
            let graph = self.graph(transaction, images).doing("read references")?;
            let garbage = graph.garbage(policy, now());
            let collected = describe(transaction, &graph, &garbage).doing("read garbage")?;
            if mode == Mode::DryRun {
                return Ok((collected, Vec::new()));
            }
            let places = self.places(transaction, &garbage).doing("read garbage")?;
            delete(transaction, &garbage)?;
            places.iter().for_each(|place| self.discarded.announce(place.clone()));
            Ok((collected, places))
        })?;
        for place in &places {
            fault::point("record removed");
            self.discard(place)?;
        }
        if mode == Mode::Remove {
            self.cleanup()?;
        }
        Ok(collected)
    }

    /// Returns where the bytes of garbage are: directories of layers, and blobs that are kept of them.
    fn places(&self, connection: &Connection, garbage: &Garbage) -> rusqlite::Result<Vec<PathBuf>> {
        let mut places = Vec::new();
        for layer in &garbage.layers {
            places.push(self.paths.layer(*layer));
            let blobs = kept::of_layer(connection, *layer)?;
            places.extend(blobs.into_iter().map(|blob| self.paths.kept_blob(blob)));
        }
        Ok(places)
    }

    fn graph(&self, connection: &Connection, without: &BTreeSet<Digest>) -> rusqlite::Result<Graph> {
        let mut graph = Graph { leased_layers: self.held.layers().into_iter().collect(), ..Graph::default() };
        graph.leased_layers.extend(leases::recorded_layers(connection)?);
        graph.needed_chains.extend(self.registered.chains());
        let query = format!("SELECT id, key, used_at, disk_size + {} FROM layers", kept::SIZE_OF_LAYER);
        for layer in rows(connection, &query, |row| {
            let key: Option<String> = row.get(1)?;
            let is_cache = key.is_some_and(|key| !key.starts_with("tar:"));
            let disk_size = row.get::<_, i64>(3)?.cast_unsigned();
            Ok((row.get(0)?, LayerNode { is_cache, used_at: row.get(2)?, disk_size }))
        })? {
            graph.layers.insert(layer.0, layer.1);
        }
        graph.chains = rows(connection, "SELECT id, parent, layer FROM chains", |row| {
            Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))
        })?
        .into_iter()
        .collect();
        for (id, manifest, chain) in rows(connection, "SELECT id, manifest, chain FROM images", |row| {
            Ok((row.get::<_, Digest>(0)?, row.get::<_, Digest>(1)?, row.get::<_, Option<Digest>>(2)?))
        })? {
            if !without.contains(&id) {
                graph.needed_blobs.extend([id, manifest]);
                graph.needed_chains.extend(chain);
            }
        }
        // A parent is a chain ID or the name of a snapshot, which is none.
        let parents =
            rows(connection, "SELECT DISTINCT parent FROM snapshots WHERE parent IS NOT NULL", |row| {
                row.get::<_, String>(0)
            })?;
        graph.needed_chains.extend(parents.iter().filter_map(|parent| parent.parse::<Digest>().ok()));
        graph.blobs = rows(connection, "SELECT digest FROM blobs", |row| row.get(0))?.into_iter().collect();
        Ok(graph)
    }
}

fn rows<T>(
    connection: &Connection,
    query: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(query)?.query_map([], read)?.collect()
}

fn describe(connection: &Connection, graph: &Graph, garbage: &Garbage) -> rusqlite::Result<Collected> {
    let mut diff_id = connection.prepare_cached("SELECT diff_id FROM layers WHERE id = ?")?;
    let mut collected = Collected { blobs: garbage.blobs.iter().copied().collect(), ..Collected::default() };
    for id in &garbage.layers {
        collected.layers.push(diff_id.query_row([id], |row| row.get(0))?);
        collected.freed_bytes += graph.layers.get(id).map_or(0, |layer| layer.disk_size);
    }
    Ok(collected)
}

fn delete(transaction: &Transaction<'_>, garbage: &Garbage) -> Result<()> {
    // Children and parents may both be garbage: the order of rows must not matter until all are gone.
    transaction.execute_batch("PRAGMA defer_foreign_keys = ON").doing("collect")?;
    let mut chain = transaction.prepare_cached("DELETE FROM chains WHERE id = ?").doing("collect")?;
    for id in &garbage.chains {
        chain.execute([id]).doing("remove chain")?;
    }
    let mut layer = transaction.prepare_cached("DELETE FROM layers WHERE id = ?").doing("collect")?;
    for id in &garbage.layers {
        layer.execute([id]).doing("remove layer")?;
    }
    let mut blob = transaction.prepare_cached("DELETE FROM blobs WHERE digest = ?").doing("collect")?;
    for digest in &garbage.blobs {
        blob.execute([digest]).doing("remove blob")?;
    }
    Ok(())
}
