//! Kept blobs: layers in the form in which a registry gave them, beside their trees, where the caller wants that. With
//! them an image goes out byte for byte as it came in.

use std::fs::File;
use std::io::{self, Write};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::Store;
use crate::digest::{Digest, Hashed};
use crate::disk::{atomic, fault, remove};
use crate::error::{DatabaseContext, Error, IoContext, Result};
use crate::layer::LayerId;
use crate::oci::manifest::BlobRef;
use crate::partial::Partial;

/// In a query of `layers`: the bytes of a layer's kept blobs.
pub(crate) const SIZE_OF_LAYER: &str =
    "(SELECT coalesce(sum(size), 0) FROM kept_blobs WHERE layer = layers.id)";

/// The record of a kept blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptBlob {
    pub(crate) id: i64,
    /// Digest and size.
    pub blob: BlobRef,
    /// The layer that was unpacked from it, and with which it goes. A blob that two layers were unpacked from (their trees
    /// depend on those below) goes with the earlier one.
    pub layer: LayerId,
}

impl Store {
    /// Keeps a blob whose bytes are all there and have been checked; the lease of the caller protects the layer. Tells
    /// whether it did: what is not the whole blob is removed, and what another user of the download has moved away or
    /// begun anew is left alone.
    ///
    /// # Durability
    /// When it returns, the blob and its record survive a power failure.
    ///
    /// # Errors
    /// Those of the disk and the database; the blob is not kept then.
    pub fn keep_blob(&self, download: Partial, blob: &BlobRef, layer: LayerId) -> Result<bool> {
        if !download.is_in_place()? {
            return Ok(false);
        }
        if download.length_bytes() != blob.size_bytes {
            download.remove()?;
            return Ok(false);
        }
        download.sync()?;
        let mut made = None;
        // The rename is part of the transaction: no collection comes between record and file.
        let recorded = self.meta.write("record kept blob", |transaction| {
            let (id, is_new) = insert(transaction, blob, layer)?;
            let place = self.paths.kept_blob(id);
            made = is_new.then(|| place.clone());
            atomic::rename(download.path(), &place)?;
            atomic::sync_parent(&place)?;
            fault::point("directory synced");
            Ok(())
        });
        if let (Err(_), Some(place)) = (&recorded, made) {
            remove::tree(&place)?;
        }
        recorded.map(|()| true)
    }

    /// Returns the records of all kept blobs.
    ///
    /// # Errors
    /// Those of the database.
    pub fn kept_blobs(&self) -> Result<Vec<KeptBlob>> {
        self.meta.read("list kept blobs", all)
    }

    /// Writes a kept blob.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if its bytes have another digest; the output is worthless then.
    pub(crate) fn write_kept(&self, kept: &KeptBlob, output: impl Write) -> Result<()> {
        let path = self.paths.kept_blob(kept.id);
        let mut file = File::open(&path).at("open", &path)?;
        let mut output = Hashed::new(output);
        io::copy(&mut file, &mut output).at("copy", &path)?;
        let (_, found, size) = output.finish();
        if (found, size) == (kept.blob.digest, kept.blob.size_bytes) {
            return Ok(());
        }
        let problem = format!("its {size} bytes have the digest {found}");
        Err(Error::corrupt(format!("kept blob {} in {}", kept.blob.digest, path.display()), problem))
    }

    /// Tells whether the file of a kept blob is there, with the size that it should have.
    pub(crate) fn is_kept_whole(&self, kept: &KeptBlob) -> bool {
        let metadata = std::fs::symlink_metadata(self.paths.kept_blob(kept.id));
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == kept.blob.size_bytes)
    }
}

/// Records a blob; returns its ID, and whether that is new. One that is there stays with its layer: whoever reads it has
/// protected that one.
fn insert(transaction: &Transaction<'_>, blob: &BlobRef, layer: LayerId) -> Result<(i64, bool)> {
    const DOING: &str = "record kept blob";
    if let Some(there) = by_digest(transaction, &blob.digest).doing(DOING)? {
        return Ok((there.id, false));
    }
    transaction
        .prepare_cached("INSERT INTO kept_blobs (digest, size, layer) VALUES (?, ?, ?)")
        .and_then(|mut s| s.insert(params![blob.digest, blob.size_bytes.cast_signed(), layer.0]))
        .doing(DOING)
        .map(|id| (id, true))
}

/// Reads the record of a blob, if it is kept.
pub(crate) fn by_digest(connection: &Connection, digest: &Digest) -> rusqlite::Result<Option<KeptBlob>> {
    connection
        .prepare_cached("SELECT id, digest, size, layer FROM kept_blobs WHERE digest = ?")?
        .query_row([digest], from_row)
        .optional()
}

pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<KeptBlob>> {
    connection
        .prepare_cached("SELECT id, digest, size, layer FROM kept_blobs ORDER BY id")?
        .query_map([], from_row)?
        .collect()
}

/// Returns the IDs of the blobs that go with a layer.
pub(crate) fn of_layer(connection: &Connection, layer: i64) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare_cached("SELECT id FROM kept_blobs WHERE layer = ?")?
        .query_map([layer], |row| row.get(0))?
        .collect()
}

fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeptBlob> {
    let blob = BlobRef { digest: row.get(1)?, size_bytes: row.get::<_, i64>(2)?.cast_unsigned() };
    Ok(KeptBlob { id: row.get(0)?, blob, layer: LayerId(row.get(3)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::manifest::Compression;
    use crate::testing::store;

    /// The end of a tar is an empty one.
    const TAR: [u8; 1024] = [0; 1024];

    fn blob() -> BlobRef {
        BlobRef { digest: Digest::of(&TAR), size_bytes: 1024 }
    }

    fn download(store: &Store, bytes: &[u8]) -> Partial {
        let mut download = store.partial(&blob().digest).unwrap();
        download.append(bytes).unwrap();
        download
    }

    fn layer(store: &Store) -> LayerId {
        let unpacked = store.unpack(&TAR[..], Compression::None, Digest::of(&TAR)).unwrap();
        store.commit_unpacked(unpacked, &[], &store.lease()).unwrap().id
    }

    fn files(store: &Store) -> [usize; 2] {
        [store.paths.kept_blobs(), store.paths.partials()]
            .map(|path| std::fs::read_dir(path).unwrap().count())
    }

    #[test]
    fn a_blob_is_kept_once() {
        let (_directory, store) = store();
        let layer = layer(&store);
        for _ in 0..2 {
            // The second time it replaces what is there.
            assert!(store.keep_blob(download(&store, &TAR), &blob(), layer).unwrap());
            let [kept] = store.kept_blobs().unwrap()[..] else { panic!("one is kept") };
            assert_eq!((kept.blob, kept.layer), (blob(), layer));
            assert_eq!(files(&store), [1, 0]);
            let mut written = Vec::new();
            store.write_kept(&kept, &mut written).unwrap();
            assert_eq!(written, TAR);
            std::fs::File::create(store.paths.kept_blob(kept.id)).unwrap();
        }
    }

    #[test]
    fn only_the_whole_blob_is_kept_and_only_with_a_layer() {
        let (_directory, store) = store();
        let layer = layer(&store);
        assert!(!store.keep_blob(download(&store, &TAR[1..]), &blob(), layer).unwrap());
        assert_eq!(files(&store), [0, 0], "half of it is removed");

        let earlier = download(&store, &TAR);
        std::fs::remove_file(earlier.path()).unwrap();
        drop(download(&store, b"another user's"));
        assert!(!store.keep_blob(earlier, &blob(), layer).unwrap());
        assert_eq!(files(&store), [0, 1], "what another user has begun stays");

        let again = store.partial(&blob().digest).unwrap().restart().unwrap();
        drop(again);
        assert!(store.keep_blob(download(&store, &TAR), &blob(), LayerId(4711)).is_err());
        assert_eq!(files(&store)[0], 0, "nothing is there without a record");
        assert_eq!(store.kept_blobs().unwrap(), []);
    }
}
