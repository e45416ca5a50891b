//! The cache: one directory for each version and recipe, whole or absent.
//!
//! An entry is made under a name that begins with a dot, and renamed when everything in it has been written, hashed and
//! synced. What was left unfinished is gone on with by the next who makes the same entry, and removed by anybody else's.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::component::Report;
use crate::component::manifest::{self, Context, Manifest};
use crate::error::{Error, IoContext, Result};
use crate::{fault, files};

/// What an unfinished entry's name ends with; it begins with a dot.
const PARTIAL: &str = ".partial";
/// The file that is locked by the one who fills the cache.
const LOCK: &str = ".lock";
/// How often it is tried to lock it.
const LOCK_POLL: Duration = Duration::from_millis(200);
/// The permissions of the cache and of what it holds: nothing in it is secret.
const MODE: u32 = 0o755;

/// The directory of all entries. Several instances may share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cache {
    directory: PathBuf,
}

/// An entry that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) directory: PathBuf,
    pub(crate) manifest: Manifest,
}

/// What there is of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    Absent,
    Whole(Entry),
    /// It was whole once. These files are not what they were; none: all of it is in doubt.
    Damaged(Vec<String>),
}

/// An entry that is being made. The cache is locked as long as it is there.
#[derive(Debug)]
pub(crate) struct Draft {
    cache: Cache,
    key: String,
    directory: PathBuf,
    /// What was removed from it because it was not what it had been.
    wrong: Vec<String>,
    /// Held, not used.
    _lock: File,
}

impl Cache {
    /// Names the cache in this directory, which need not exist.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        Ok(Self { directory: std::path::absolute(directory).at("resolve", directory)? })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Looks at an entry: at names, sizes and permissions of its files.
    pub(crate) fn look(&self, key: &str) -> Result<Look> {
        let directory = self.directory.join(key);
        let path = directory.join(manifest::FILE);
        let Some(text) = files::read_if_there(&path)? else {
            let is_there = directory.try_exists().at("examine", &directory)?;
            return Ok(if is_there { Look::Damaged(Vec::new()) } else { Look::Absent });
        };
        let manifest = match Manifest::parse(&text, key) {
            Ok(manifest) => manifest,
            Err(problem) => {
                tracing::warn!(manifest = %path.display(), problem, "an entry of the component cache is damaged");
                return Ok(Look::Damaged(Vec::new()));
            }
        };
        let differences = manifest.differences(&manifest::survey(&directory)?);
        if differences.is_empty() {
            return Ok(Look::Whole(Entry { directory, manifest }));
        }
        let shown = &differences[..differences.len().min(5)];
        tracing::warn!(entry = %directory.display(), differences = ?shown, "an entry of the component cache is damaged");
        Ok(Look::Damaged(differences))
    }

    /// Begins an entry, or goes on with one that was begun, once nobody else fills the cache.
    pub(crate) async fn draft(&self, key: &str, report: Report<'_>) -> Result<Draft> {
        files::ensure_directory(&self.directory, MODE)?;
        let lock = self.lock(report).await?;
        self.sweep(key)?;
        let directory = self.directory.join(format!(".{key}{PARTIAL}"));
        files::ensure_directory(&directory, MODE)?;
        Ok(Draft { cache: self.clone(), key: key.to_owned(), directory, wrong: Vec::new(), _lock: lock })
    }

    /// Begins as [`Self::draft`] does, and takes an entry that is damaged back to where it was unfinished, without the files that are
    /// not what they were: those that can be seen, and these. One that is whole stays as it is.
    pub(crate) async fn reopen(&self, key: &str, altered: &[String], report: Report<'_>) -> Result<Draft> {
        let mut draft = self.draft(key, report).await?;
        let wrong: Vec<String> = match self.look(key)? {
            Look::Absent => return Ok(draft),
            Look::Whole(_) if altered.is_empty() => return Ok(draft),
            Look::Whole(_) => altered.to_vec(),
            Look::Damaged(wrong) if wrong.is_empty() => {
                files::remove_tree(&self.directory.join(key))?;
                return Ok(draft);
            }
            Look::Damaged(wrong) => wrong.into_iter().chain(altered.iter().cloned()).collect(),
        };
        files::remove_tree(&draft.directory)?;
        files::rename(&self.directory.join(key), &draft.directory)?;
        fault::point("a damaged entry is a draft again");
        for path in wrong.iter().map(String::as_str).chain([manifest::FILE]) {
            files::remove(&draft.path(path))?;
        }
        draft.wrong = wrong;
        Ok(draft)
    }

    async fn lock(&self, report: Report<'_>) -> Result<File> {
        let path = self.directory.join(LOCK);
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(&path).at("open", &path)?;
        let mut is_said = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error).at("lock", &path),
                Err(TryLockError::WouldBlock) => {
                    if !is_said {
                        report(format!(
                            "waiting for another instance that fills {}",
                            self.directory.display()
                        ));
                        is_said = true;
                    }
                    tokio::time::sleep(LOCK_POLL).await;
                }
            }
        }
    }

    /// Removes what others left unfinished. The lock is held.
    fn sweep(&self, key: &str) -> Result<()> {
        for entry in std::fs::read_dir(&self.directory).at("read", &self.directory)? {
            let path = entry.at("read", &self.directory)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let unfinished = name.strip_prefix('.').and_then(|name| name.strip_suffix(PARTIAL));
            if unfinished.is_some_and(|other| other != key) {
                files::remove_tree(&path)?;
            }
        }
        Ok(())
    }
}

impl Entry {
    /// Returns the key of what it was made from.
    pub(crate) fn key(&self) -> &str {
        &self.manifest.key
    }

    /// Reads all files.
    ///
    /// # Errors
    /// A file is not what it was, or cannot be read; the files are named.
    pub(crate) fn altered(&self) -> Result<Vec<String>> {
        self.manifest.altered(&self.directory)
    }
}

impl Draft {
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Returns the paths that were removed from it because they were not what they had been.
    pub(crate) fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// Removes what was made.
    pub(crate) fn abandon(self) -> Result<()> {
        files::remove_tree(&self.directory)
    }

    /// Returns where a file of the entry is written. Its name shall be given to it when it is whole.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.join(relative)
    }

    /// Makes a directory of the entry.
    pub(crate) fn directory(&self, relative: &str) -> Result<PathBuf> {
        let path = self.path(relative);
        files::ensure_directory(&path, MODE)?;
        Ok(path)
    }

    /// Makes the draft an entry: everything that is in it now belongs to it.
    pub(crate) fn finish(self, version: &str, images: Vec<Context>) -> Result<Entry> {
        files::remove(&self.path(manifest::FILE))?;
        let manifest = Manifest::of(&self.directory, &self.key, version, images)?;
        // The commit point is the rename; all that was written before has to be on disk by then.
        let opened = File::open(&self.directory).at("open", &self.directory)?;
        rustix::fs::syncfs(&opened).at("sync", &self.directory)?;
        files::put(&self.path(manifest::FILE), manifest.text()?.as_bytes(), 0o644)?;
        fault::point("a cache entry is whole and not named");
        let directory = self.cache.directory.join(&self.key);
        // One that lost its manifest may stand in the way.
        files::remove_tree(&directory)?;
        files::rename(&self.directory, &directory)?;
        Ok(Entry { directory, manifest })
    }
}

/// Says that files of an entry are not what they were.
pub(crate) fn damaged(directory: &Path, wrong: &[String]) -> Error {
    let shown: Vec<&str> = wrong.iter().take(5).map(String::as_str).collect();
    Error::invalid(
        format!("component cache {}", directory.display()),
        format!("{} of its files are not what they were: {}", wrong.len(), shown.join(", ")),
    )
}

#[cfg(test)]
#[path = "cache/tests.rs"]
mod tests;
