//! Opening a store: lock, format, recovery from whatever ended the last process.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::disk::lock::Lock;
use crate::disk::paths::{Paths, from_base36};
use crate::disk::{atomic, fault, remove};
use crate::error::{Error, IoContext, Result};
use crate::meta::Meta;

/// The version of everything that is not the database: file names, the form of trees and recipes.
const FORMAT_VERSION: u32 = 1;
/// How long what builds remember of a context is kept after the last build in which a file of it was new.
const KEEP_CONTEXTS: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MAX_FORMAT_BYTES: u64 = 64 << 10;

/// What a store is written in. Feature lists as in ext4: a program that does not know a *compatible* feature may go
/// on, one that does not know a *read-only* feature must not write, and an *incompatible* one must not be opened.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Format {
    pub(crate) version: u32,
    #[serde(default)]
    pub(crate) compatible: Vec<String>,
    #[serde(default)]
    pub(crate) read_only: Vec<String>,
    #[serde(default)]
    pub(crate) incompatible: Vec<String>,
}

impl Format {
    fn current() -> Self {
        Self { version: FORMAT_VERSION, compatible: vec![], read_only: vec![], incompatible: vec![] }
    }

    /// This program writes and has no features beyond version 1, so both strict lists must be empty.
    pub(crate) fn check(&self, path: &Path) -> Result<()> {
        let refuse = |problem: String| {
            Err(Error::Unsupported { subject: format!("the store's format ({})", path.display()), problem })
        };
        if self.version != FORMAT_VERSION {
            return refuse(format!("version {}, this program knows {FORMAT_VERSION}", self.version));
        }
        match self.incompatible.iter().chain(&self.read_only).next() {
            Some(feature) => {
                refuse(format!("it needs the feature {feature:?}, which this program does not have"))
            }
            None => Ok(()),
        }
    }
}

impl Store {
    /// Opens a store, creating it where there is none, and removes what a crash left half done.
    ///
    /// `holder` describes this process to a second one that tries to open the store.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process has it open; [`Error::Unsupported`] if a newer program wrote it.
    pub fn open(dir: &Path, holder: &str) -> Result<Self> {
        fs::create_dir_all(dir).at("create", dir)?;
        make_private(dir)?;
        let paths = Paths::new(dir);
        let lock = Lock::acquire(dir, &paths.lock(), holder)?;
        fault::point("lock taken");
        check_format(&paths)?;
        paths.create_folders()?;
        remove::contents(&paths.temporaries())?;
        let meta = Meta::open(&paths.database())?;
        meta.quick_check()?;
        let mut store = Self {
            paths,
            meta,
            images: Default::default(),
            held: Default::default(),
            registered: Default::default(),
            discarded: Default::default(),
            boot: boot_id()?,
            next_layer: 1.into(),
            _lock: lock,
        };
        store.remove_orphans()?;
        store.recover_unsettled()?;
        store.load_images()?;
        Ok(store)
    }
}

impl Store {
    /// Removes trees and blobs whose record was never written, or is removed already, partial downloads that nobody
    /// resumed, and what is remembered of contexts that nobody builds any more.
    fn remove_orphans(&mut self) -> Result<()> {
        let ids = |table: &str| {
            self.meta.read("list records", |connection| {
                let mut statement = connection.prepare(&format!("SELECT id FROM {table}"))?;
                statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<BTreeSet<i64>>>()
            })
        };
        remove_unrecorded(&self.paths.layers(), &ids("layers")?)?;
        remove_unrecorded(&self.paths.snapshots(), &ids("snapshots")?)?;
        remove_unrecorded(&self.paths.kept_blobs(), &ids("kept_blobs")?)?;
        self.remove_work_directories()?;
        remove_old(&self.paths.partials(), crate::leases::KEEP)?;
        remove_old(&self.paths.contexts(), KEEP_CONTEXTS)?;
        let last: Option<i64> = self.meta.read("read the last layer", |connection| {
            connection
                .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'layers'", [], |row| row.get(0))
                .optional()
        })?;
        self.next_layer = AtomicI64::new(last.unwrap_or(0) + 1);
        Ok(())
    }
}

fn remove_unrecorded(directory: &Path, recorded: &BTreeSet<i64>) -> Result<()> {
    for entry in fs::read_dir(directory).at("read", directory)? {
        let entry = entry.at("read", directory)?;
        let id = entry.file_name().to_str().and_then(from_base36);
        if !id.is_some_and(|id| recorded.contains(&id)) {
            tracing::info!(path = %entry.path().display(), "removing what an interrupted operation left");
            remove::tree(&entry.path())?;
            fault::point("orphan removed");
        }
    }
    Ok(())
}

fn remove_old(directory: &Path, keep: Duration) -> Result<()> {
    for entry in fs::read_dir(directory).at("read", directory)? {
        let entry = entry.at("read", directory)?;
        let modified =
            entry.metadata().and_then(|metadata| metadata.modified()).at("inspect", entry.path())?;
        if modified.elapsed().unwrap_or_default() > keep {
            remove::tree(&entry.path())?;
            fault::point("old file removed");
        }
    }
    Ok(())
}

/// Trees hold set-id programs of every image that was ever pulled: nobody but root may reach them.
fn make_private(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).at("protect", dir)
}

pub(crate) fn read_format(path: &Path) -> Result<Option<Format>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("inspect", path, error)),
        Ok(metadata) if metadata.len() > MAX_FORMAT_BYTES => {
            return Err(Error::corrupt(path.display(), "it is too large"));
        }
        Ok(_) => {}
    }
    let text = fs::read(path).at("read", path)?;
    serde_json::from_slice(&text).map(Some).map_err(|error| Error::corrupt(path.display(), error))
}

fn check_format(paths: &Paths) -> Result<()> {
    let path = paths.format();
    match read_format(&path)? {
        Some(format) => format.check(&path),
        None if paths.database().exists() => {
            Err(Error::corrupt(path.display(), "the store has records but no format; restore the file"))
        }
        None => {
            let text =
                serde_json::to_vec(&Format::current()).map_err(|e| Error::corrupt(path.display(), e))?;
            atomic::write(&path, &text)
        }
    }
}

/// Names the boot of this machine: what was written in an earlier one and not synced may be lost.
fn boot_id() -> Result<String> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    Ok(fs::read_to_string(path).at("read", path)?.trim().to_owned())
}
