//! A file that is not whole yet.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::digest;

use crate::component::manifest::hex;
use crate::error::{IoContext, Result};
use crate::{fault, files};

/// How much is read at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// The bytes that were received, and their digest so far.
pub(super) struct Partial {
    path: PathBuf,
    validator_path: PathBuf,
    file: File,
    length: u64,
    hash: digest::Context,
    validator: Option<String>,
}

impl Partial {
    /// Opens what there is of a file, or begins it.
    pub(super) fn open(whole: &Path) -> Result<Self> {
        let name = whole.file_name().unwrap_or_default().to_string_lossy();
        let path = whole.with_file_name(format!(".{name}.partial"));
        let validator_path = whole.with_file_name(format!(".{name}.validator"));
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(&path).at("open", &path)?;
        let (mut hash, mut length) = (digest::Context::new(&digest::SHA256), 0);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut chunk).at("read", &path)? {
                0 => break,
                count => {
                    hash.update(&chunk[..count]);
                    length += count as u64;
                }
            }
        }
        let validator = files::read_if_there(&validator_path)?.filter(|_| length > 0);
        Ok(Self { path, validator_path, file, length, hash, validator })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// Says which version of the file this is.
    pub(super) fn set_validator(&mut self, validator: Option<String>) -> Result<()> {
        match &validator {
            Some(text) => files::put(&self.validator_path, text.as_bytes(), 0o600)?,
            None => files::remove(&self.validator_path)?,
        }
        self.validator = validator;
        Ok(())
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).at("write", &self.path)?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Forgets everything.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.set_validator(None)?;
        self.file.set_len(0).at("truncate", &self.path)?;
        (self.length, self.hash) = (0, digest::Context::new(&digest::SHA256));
        Ok(())
    }

    /// Returns the SHA-256 of what is there.
    pub(super) fn digest(&self) -> String {
        hex(self.hash.clone().finish().as_ref())
    }

    pub(super) fn remove(self) -> Result<()> {
        files::remove(&self.validator_path)?;
        files::remove(&self.path)
    }

    /// Gives the file its name, once it is on disk; returns its length.
    pub(super) fn finish(self, whole: &Path, mode: u32) -> Result<u64> {
        let permissions = std::fs::Permissions::from_mode(mode);
        self.file.set_permissions(permissions).and_then(|()| self.file.sync_all()).at("write", &self.path)?;
        files::remove(&self.validator_path)?;
        fault::point("a download is whole and not named");
        files::rename(&self.path, whole)?;
        Ok(self.length)
    }
}
