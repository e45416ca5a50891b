//! Durability of trees: one sync for many layers, and what happens to layers that a power failure overtook.

use std::fs::File;

use rusqlite::{Transaction, params};

use crate::Store;
use crate::digest::Digest;
use crate::disk::{fault, remove};
use crate::error::{DatabaseContext, Error, IoContext, Result};
use crate::kept;
use crate::layer::Layer;
use crate::layer::record::{COLUMNS, by_id};

impl Store {
    /// Tells whether any layer's tree may still be lost by a power failure.
    ///
    /// # Errors
    /// Those of the database.
    pub fn is_settled(&self) -> Result<bool> {
        let open = self.meta.read("find unsettled layers", |connection| {
            connection.prepare_cached("SELECT 1 FROM layers WHERE unsettled_boot IS NOT NULL")?.exists([])
        })?;
        Ok(!open)
    }

    /// Writes every tree that was committed until now to the disk, and notes so. Takes as long as the disk needs.
    ///
    /// # Errors
    /// Those of the disk and the database.
    pub fn settle(&self) -> Result<()> {
        let written: Vec<i64> = self.meta.read("find unsettled layers", |connection| {
            connection
                .prepare_cached("SELECT id FROM layers WHERE unsettled_boot IS NOT NULL")?
                .query_map([], |row| row.get(0))?
                .collect()
        })?;
        if written.is_empty() {
            return Ok(());
        }
        let root = File::open(self.dir()).at("open", self.dir())?;
        rustix::fs::syncfs(&root).at("sync", self.dir())?;
        fault::point("trees synced");
        self.meta
            .write("settle layers", |transaction| written.iter().try_for_each(|id| settle(transaction, *id)))
    }

    /// Checks the layers that were not settled when the machine last went down; drops those that lost bytes, with the
    /// images that need them.
    pub(crate) fn recover_unsettled(&self) -> Result<()> {
        let suspects: Vec<Layer> = self.meta.read("find unsettled layers", |connection| {
            connection
                .prepare(&format!(
                    "SELECT {COLUMNS} FROM layers WHERE unsettled_boot IS NOT NULL AND unsettled_boot <> ?"
                ))?
                .query_map([&self.boot], Layer::from_row)?
                .collect()
        })?;
        for layer in suspects {
            match self.write_tar(&layer, std::io::sink()) {
                Ok(()) => self.meta.write("settle layer", |transaction| settle(transaction, layer.id.0))?,
                Err(error @ Error::Database { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!(diff_id = %layer.diff_id, %error, "a layer lost bytes in a power failure; dropping it");
                    self.drop_layer(layer.id.0)?;
                }
            }
        }
        Ok(())
    }

    /// Removes a layer and everything that stands on it: images, snapshots, chains.
    fn drop_layer(&self, id: i64) -> Result<()> {
        let (images, snapshots, blobs) = self.meta.write("drop layer", |transaction| {
            by_id(transaction, id).doing("read layer")?;
            transaction
                .execute_batch(
                    "CREATE TEMP TABLE IF NOT EXISTS doomed (name TEXT PRIMARY KEY); DELETE FROM doomed;",
                )
                .doing("drop layer")?;
            transaction
                .execute(
                    "INSERT INTO doomed WITH RECURSIVE on_top (id) AS (
                         SELECT id FROM chains WHERE layer = ?1
                         UNION SELECT c.id FROM chains c JOIN on_top ON c.parent = on_top.id
                         UNION SELECT s.name FROM snapshots s JOIN on_top ON s.parent = on_top.id)
                     SELECT id FROM on_top",
                    params![id],
                )
                .doing("find what stands on the layer")?;
            let images = column::<Digest>(transaction, "SELECT id FROM images WHERE chain IN doomed")?;
            let snapshots = column::<i64>(transaction, "SELECT id FROM snapshots WHERE parent IN doomed")?;
            transaction
                .execute_batch(
                    "PRAGMA defer_foreign_keys = ON;
                     DELETE FROM names WHERE image IN (SELECT id FROM images WHERE chain IN doomed);
                     DELETE FROM repo_digests WHERE image IN (SELECT id FROM images WHERE chain IN doomed);
                     DELETE FROM images WHERE chain IN doomed;
                     DELETE FROM snapshots WHERE parent IN doomed;
                     DELETE FROM chains WHERE id IN doomed;",
                )
                .doing("drop what needs the layer")?;
            let blobs = kept::of_layer(transaction, id).doing("drop layer")?;
            transaction.execute("DELETE FROM layers WHERE id = ?", [id]).doing("drop layer")?;
            Ok((images, snapshots, blobs))
        })?;
        for image in images {
            tracing::warn!(%image, "an image needed the lost layer; build or pull it again");
        }
        for snapshot in snapshots {
            remove::tree(&self.paths.snapshot(snapshot))?;
        }
        for blob in blobs {
            remove::tree(&self.paths.kept_blob(blob))?;
            fault::point("kept blob removed");
        }
        remove::tree(&self.paths.layer(id))
    }
}

fn settle(transaction: &Transaction<'_>, id: i64) -> Result<()> {
    transaction
        .prepare_cached("UPDATE layers SET unsettled_boot = NULL WHERE id = ?")
        .and_then(|mut statement| statement.execute([id]))
        .doing("settle layer")?;
    Ok(())
}

fn column<T: rusqlite::types::FromSql>(connection: &rusqlite::Connection, query: &str) -> Result<Vec<T>> {
    let mut statement = connection.prepare(query).doing("find what needs the layer")?;
    let rows = statement.query_map([], |row| row.get(0)).doing("find what needs the layer")?;
    rows.collect::<rusqlite::Result<_>>().doing("find what needs the layer")
}
