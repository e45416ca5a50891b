//! What is expensive to make is kept outside the checkout, under the hash of what it is made from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cachestore::Digest;

use crate::command::Command;
use crate::files;

/// Returns the cache directory: `$SHIM_TEST_CACHE`, or `~/.cache/shim-tests`.
///
/// # Errors
/// Neither that variable nor HOME is set.
pub fn dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("SHIM_TEST_CACHE").filter(|dir| !dir.is_empty()) {
        return Ok(dir.into());
    }
    let home = std::env::var_os("HOME").context("neither SHIM_TEST_CACHE nor HOME is set")?;
    Ok(Path::new(&home).join(".cache/shim-tests"))
}

/// Returns the directory of the Go tools, which `tests/run` puts into `$SHIM_TEST_TOOLS`; without that they are
/// looked for, and built if need be, by `tests/tools/build`.
///
/// # Errors
/// They cannot be built.
pub fn tools() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("SHIM_TEST_TOOLS") {
        return Ok(dir.into());
    }
    let build = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/build");
    Ok(Command::new(build).limit(std::time::Duration::from_secs(1800)).stdout()?.into())
}

/// Returns the directory where the product keeps components of Kubernetes that it has built; `tests/run` fills it.
///
/// # Errors
/// As [`dir`].
pub fn components() -> Result<PathBuf> {
    Ok(dir()?.join("components"))
}

/// Returns the directory `NAME-KEY` of the cache, where KEY is a hash of the recipe; `make` fills it the first time.
///
/// It is filled under another name and renamed when it is whole, so a directory that exists is complete. Two
/// processes may make the same thing at once: the first rename wins.
///
/// # Errors
/// Those of `make`, and of the filesystem.
pub fn directory(name: &str, recipe: &[&[u8]], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let parts: Vec<String> = recipe.iter().map(|part| Digest::of(part).hex()).collect();
    let key = Digest::of(parts.join(" ").as_bytes()).short();
    let cache = dir()?;
    let place = cache.join(format!("{name}-{key}"));
    if place.is_dir() {
        return Ok(place);
    }
    files::dir(&cache)?;
    let fresh = tempfile::Builder::new().prefix(&format!("{name}-making.")).tempdir_in(&cache)?;
    make(fresh.path()).with_context(|| format!("make {}", place.display()))?;
    publish(fresh, &place)?;
    Ok(place)
}

#[expect(clippy::disallowed_methods, reason = "a cache: lost on a crash is made again")]
fn publish(fresh: tempfile::TempDir, place: &Path) -> Result<()> {
    let renamed = fs::rename(fresh.path(), place);
    if renamed.is_ok() {
        let _gone = fresh.keep();
        return Ok(());
    }
    // Somebody else was faster; then this copy goes.
    ensure!(place.is_dir(), "rename to {}: {renamed:?}", place.display());
    Ok(())
}
