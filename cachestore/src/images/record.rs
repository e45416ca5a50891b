//! The rows of images, names and digests.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Image, Name, Origin};
use crate::blobs;
use crate::digest::Digest;
use crate::error::{DatabaseContext, Result};
use crate::meta::now;
use crate::oci::config::ImageConfig;
use crate::reference::Reference;

pub(super) fn insert(
    transaction: &Transaction<'_>,
    id: &Digest,
    manifest: &Digest,
    chain: Option<&Digest>,
    origin: Origin,
) -> Result<()> {
    let time = now();
    transaction
        .prepare_cached(
            "INSERT INTO images (id, manifest, chain, origin, stored_at, used_at) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET used_at = excluded.used_at",
        )
        .and_then(|mut statement| statement.execute(params![id, manifest, chain, origin.name(), time, time]))
        .doing("record image")?;
    Ok(())
}

/// Gives a name to an image; returns the image that had it before, if it is another one.
pub(super) fn put_name(transaction: &Transaction<'_>, name: &Name, image: &Digest) -> Result<Vec<Digest>> {
    let text = name.reference.to_string();
    let before = holder(transaction, "SELECT image FROM names WHERE name = ?", &text)?;
    transaction
        .prepare_cached(
            "INSERT INTO names (name, image, local, named_at) VALUES (?, ?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET image = excluded.image, local = excluded.local, named_at = excluded.named_at",
        )
        .and_then(|mut statement| statement.execute(params![text, image, name.local, now()]))
        .doing("record name")?;
    Ok(before.filter(|before| before != image).into_iter().collect())
}

/// Notes a digest of an image; returns the image that had it before, if it is another one.
pub(super) fn put_repo_digest(
    transaction: &Transaction<'_>,
    reference: &Reference,
    image: &Digest,
) -> Result<Vec<Digest>> {
    let text = reference.to_string();
    let before = holder(transaction, "SELECT image FROM repo_digests WHERE name = ?", &text)?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO repo_digests (name, image) VALUES (?, ?)")
        .and_then(|mut statement| statement.execute(params![text, image]))
        .doing("record digest")?;
    Ok(before.filter(|before| before != image).into_iter().collect())
}

fn holder(transaction: &Transaction<'_>, query: &str, name: &str) -> Result<Option<Digest>> {
    transaction
        .prepare_cached(query)
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
        .doing("find name")
}

/// Removes a name; tells whether it was there.
pub(super) fn remove_name(transaction: &Transaction<'_>, name: &Reference) -> Result<bool> {
    let count = transaction
        .prepare_cached("DELETE FROM names WHERE name = ?")
        .and_then(|mut statement| statement.execute([name.to_string()]))
        .doing("remove name")?;
    Ok(count > 0)
}

/// Removes an image, its names and its digests.
pub(super) fn remove(transaction: &Transaction<'_>, id: &Digest) -> Result<()> {
    for query in [
        "DELETE FROM names WHERE image = ?",
        "DELETE FROM repo_digests WHERE image = ?",
        "DELETE FROM images WHERE id = ?",
    ] {
        transaction
            .prepare_cached(query)
            .and_then(|mut statement| statement.execute([id]))
            .doing("remove image")?;
    }
    Ok(())
}

pub(crate) fn ids(connection: &Connection) -> rusqlite::Result<Vec<Digest>> {
    connection.prepare_cached("SELECT id FROM images")?.query_map([], |row| row.get(0))?.collect()
}

/// Reads an image; `None` if it is not recorded.
pub(crate) fn load(connection: &Connection, id: &Digest) -> rusqlite::Result<Option<Image>> {
    let row = connection
        .prepare_cached("SELECT manifest, chain, origin, stored_at FROM images WHERE id = ?")?
        .query_row([id], |row| {
            Ok((row.get(0)?, row.get::<_, Option<Digest>>(1)?, row.get::<_, String>(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((manifest, chain, origin, stored_at)) = row else { return Ok(None) };
    let bytes = blobs::get(connection, id)?.unwrap_or_default();
    // A damaged configuration must not hide the other images: `verify` reports it.
    let config = ImageConfig::parse(&bytes).unwrap_or_else(|error| {
        tracing::error!(image = %id, %error, "an image's configuration is damaged");
        ImageConfig::default()
    });
    let layers = match &chain {
        Some(chain) => content_size(connection, chain)?,
        None => 0,
    };
    Ok(Some(Image {
        id: *id,
        manifest,
        origin: origin.parse().map_err(rusqlite::types::FromSqlError::other)?,
        names: names(connection, id)?,
        repo_digests: repo_digests(connection, id)?,
        diff_ids: config.rootfs.diff_ids,
        chain,
        size_bytes: layers + bytes.len() as u64,
        created: config.created,
        user: config.config.user,
        stored_at,
    }))
}

fn content_size(connection: &Connection, chain: &Digest) -> rusqlite::Result<u64> {
    let size: i64 = connection
        .prepare_cached(
            "WITH RECURSIVE up (parent, layer) AS (
                 SELECT parent, layer FROM chains WHERE id = ?1
                 UNION ALL
                 SELECT c.parent, c.layer FROM chains c JOIN up ON c.id = up.parent)
             SELECT coalesce(sum(l.content_size), 0) FROM up JOIN layers l ON l.id = up.layer",
        )?
        .query_row([chain], |row| row.get(0))?;
    Ok(size.cast_unsigned())
}

fn names(connection: &Connection, id: &Digest) -> rusqlite::Result<Vec<Name>> {
    connection
        .prepare_cached("SELECT name, local FROM names WHERE image = ? ORDER BY name")?
        .query_map([id], |row| Ok(Name { reference: reference(row, 0)?, local: row.get(1)? }))?
        .collect()
}

fn repo_digests(connection: &Connection, id: &Digest) -> rusqlite::Result<Vec<Reference>> {
    connection
        .prepare_cached("SELECT name FROM repo_digests WHERE image = ? ORDER BY name")?
        .query_map([id], |row| reference(row, 0))?
        .collect()
}

fn reference(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Reference> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}
