//! Downloads that stopped half-way: the next attempt goes on from what is there.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Store;
use crate::digest::Digest;
use crate::disk::fault;
use crate::error::{Error, IoContext, Result};

/// The bytes of a blob that were received so far. One user at a time: see [`Store::partial`].
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
    length_bytes: u64,
}

impl Store {
    /// Opens what is there of a blob's download, or starts one. The caller makes sure that only one download of a blob
    /// runs at a time.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn partial(&self, digest: &Digest) -> Result<Partial> {
        let path = self.paths.partials().join(digest.hex());
        let file = OpenOptions::new().create(true).append(true).open(&path).at("open", &path)?;
        fault::point("download opened");
        let length_bytes = file.metadata().at("inspect", &path)?.len();
        Ok(Partial { path, file, length_bytes })
    }
}

impl Partial {
    /// Returns how many bytes are there.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// Opens what is there for reading.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn reader(&self) -> Result<File> {
        File::open(&self.path).at("open", &self.path)
    }

    /// Adds bytes at the end.
    ///
    /// # Durability
    /// None: what a power failure damages is found by the digest, and the download starts again.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).at("write", &self.path)?;
        fault::point("download grew");
        self.length_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Throws away what is there.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn restart(mut self) -> Result<Self> {
        self.file.set_len(0).at("truncate", &self.path)?;
        fault::point("download emptied");
        self.length_bytes = 0;
        Ok(self)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether the file that was opened is still the one under its name.
    pub(crate) fn is_in_place(&self) -> Result<bool> {
        let opened = self.file.metadata().at("inspect", &self.path)?;
        match std::fs::symlink_metadata(&self.path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (opened.dev(), opened.ino())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("inspect", &self.path, error)),
        }
    }

    /// Writes what is there to the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().at("sync", &self.path)?;
        fault::point("download synced");
        Ok(())
    }

    /// Removes it: the blob has been unpacked, or what was received is wrong.
    ///
    /// # Errors
    /// Those of the disk; one that is gone already is removed.
    pub fn remove(self) -> Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.path, error))
            }
            _ => {
                fault::point("download removed");
                Ok(())
            }
        }
    }
}
