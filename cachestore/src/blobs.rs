//! Blobs: the documents of images (manifests and configurations) by digest, as rows of the database.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::Store;
use crate::digest::Digest;
use crate::error::{DatabaseContext, Error, Result};

impl Store {
    /// Returns a blob's bytes; `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if its bytes have another digest.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let Some(bytes) = self.meta.read("read blob", |connection| get(connection, digest))? else {
            return Ok(None);
        };
        match Digest::of(&bytes) {
            found if found == *digest => Ok(Some(bytes)),
            found => {
                Err(Error::corrupt(format!("blob {digest}"), format!("its bytes have the digest {found}")))
            }
        }
    }
}

pub(crate) fn get(connection: &Connection, digest: &Digest) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT data FROM blobs WHERE digest = ?")?
        .query_row([digest], |row| row.get(0))
        .optional()
}

/// Records a blob as part of a transaction; does nothing if it is there.
pub(crate) fn insert(transaction: &Transaction<'_>, digest: &Digest, bytes: &[u8]) -> Result<()> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO blobs (digest, data) VALUES (?, ?)")
        .and_then(|mut statement| statement.execute(params![digest, bytes]))
        .doing("record blob")?;
    Ok(())
}
