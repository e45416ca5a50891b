//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::disk::fault;
use crate::error::{IoContext, Result};

/// Writes a file: temporary name beside it, sync, rename, sync of the directory.
///
/// # Durability
/// When it returns, the file survives a power failure.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary).at("create", &temporary)?;
    fault::point("file created");
    file.write_all(bytes).at("write", &temporary)?;
    file.sync_all().at("sync", &temporary)?;
    fault::point("file synced");
    rename(&temporary, path)?;
    sync_parent(path)
}

/// Renames; both names are on one filesystem.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that renames")]
    fs::rename(from, to).at("rename", from)?;
    fault::point("renamed");
    Ok(())
}

/// Syncs the directory that holds the file, so that its name survives a power failure.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|directory| directory.sync_all()).at("sync", parent)
}
