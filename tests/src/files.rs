//! Small files of the harness: nothing here is durable, and every error names its path.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Writes a file and the directories above it.
///
/// # Errors
/// The path and the system's answer.
pub fn put(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<()> {
    let path = path.as_ref();
    if let Some(parent) = path.parent() {
        dir(parent)?;
    }
    File::create(path)
        .and_then(|mut file| file.write_all(content.as_ref()))
        .with_context(|| format!("write {}", path.display()))
}

/// Writes an executable file.
///
/// # Errors
/// As [`put`].
pub fn put_program(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<()> {
    put(path.as_ref(), content)?;
    fs::set_permissions(path.as_ref(), fs::Permissions::from_mode(0o755))
        .with_context(|| format!("chmod {}", path.as_ref().display()))
}

/// Reads a file.
///
/// # Errors
/// The path and the system's answer.
pub fn get(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    fs::read(path.as_ref()).with_context(|| format!("read {}", path.as_ref().display()))
}

/// Reads a file as text; what is not UTF-8 is replaced.
///
/// # Errors
/// As [`get`].
pub fn text(path: impl AsRef<Path>) -> Result<String> {
    Ok(String::from_utf8_lossy(&get(path)?).into_owned())
}

/// Makes a directory and those above it.
///
/// # Errors
/// The path and the system's answer.
pub fn dir(path: impl AsRef<Path>) -> Result<()> {
    fs::create_dir_all(path.as_ref()).with_context(|| format!("mkdir {}", path.as_ref().display()))
}

/// Gives a file a second name, or copies it where the filesystem refuses a link. A name that exists already is left.
///
/// # Errors
/// Both paths and the system's answer.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() || fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Returns every file below a directory, sorted, relative to it. Symbolic links are files here.
///
/// # Errors
/// The path that cannot be read.
pub fn tree(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let entry = entry.with_context(|| format!("list {}", dir.display()))?;
            let kind = entry.file_type().with_context(|| format!("stat {}", entry.path().display()))?;
            if kind.is_dir() {
                waiting.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root).map(Path::to_path_buf)?);
            }
        }
    }
    found.sort();
    Ok(found)
}
