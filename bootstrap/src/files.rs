//! Everything that is read and written: sizes are limited, and files that carry meaning are replaced whole.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::{Error, IoContext, Result};

/// The largest file that is read. Lists of mounts are the longest: a line for each layer of each container of everybody.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// What [`put_over`] writes is filled up to a multiple of this, so that the next version is no longer.
const ROOM_BYTES: usize = 16 << 10;

/// Replaces a file: temporary file, sync, rename, sync of the directory.
pub(crate) fn put(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let temporary = beside(path, ".new")?;
    remove(&temporary)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .at("create", &temporary)?;
    file.write_all(content).and_then(|()| file.sync_all()).at("write", &temporary)?;
    rename(&temporary, path)
}

/// Replaces a file of text on a disk that may be full: the version before is kept under another name, and what is written next takes
/// its room. The text ends with empty lines.
pub(crate) fn put_over(path: &Path, text: &str, mode: u32) -> Result<()> {
    let kept = beside(path, ".kept")?;
    let mut content = text.as_bytes().to_vec();
    content.resize(content.len().next_multiple_of(ROOM_BYTES), b'\n');
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(false).mode(mode).open(&kept).at("open", &kept)?;
    let written = file.write_all(&content).and_then(|()| file.set_len(content.len() as u64));
    written.and_then(|()| file.sync_all()).at("write", &kept)?;
    match renameat_with(CWD, &kept, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => sync_directory(directory_of(path)?),
        // There is no version before, or the filesystem cannot do it: then the next one needs room of its own.
        Err(_) => rename(&kept, path),
    }
}

/// Replaces a file, unless it has this content: then nothing is written, for which there may be no room.
pub(crate) fn put_changed(path: &Path, content: &str, mode: u32) -> Result<()> {
    if is(path, content)? { Ok(()) } else { put(path, content.as_bytes(), mode) }
}

/// Gives a file or directory, which is on disk, another name in the same directory; the name is on disk when this returns.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    let directory = directory_of(to)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place in this crate that decides about durability"
    )]
    std::fs::rename(from, to).at("rename", from)?;
    sync_directory(directory)
}

/// Returns the hidden name beside a file under which another version of it is.
fn beside(path: &Path, ending: &str) -> Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or_else(|| no_path_of_a_file(path))?);
    name.push(ending);
    Ok(directory_of(path)?.join(name))
}

fn directory_of(path: &Path) -> Result<&Path> {
    path.parent().ok_or_else(|| no_path_of_a_file(path))
}

fn no_path_of_a_file(path: &Path) -> Error {
    Error::invalid(path.display().to_string(), "is not a file's path")
}

fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|directory| directory.sync_all()).at("sync", directory)
}

/// Reads a file of text; `None` if there is none. What is not UTF-8 is replaced: the kernel's lists have names of programs and
/// directories in them, which are of any bytes.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => text(opened.at("open", path)?, path).map(Some),
    }
}

/// Tells whether a file is there and has this content.
pub(crate) fn is(path: &Path, content: &str) -> Result<bool> {
    Ok(read_if_there(path)?.as_deref() == Some(content))
}

/// Reads a file of text. What is not UTF-8 is replaced.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    text(File::open(path).at("open", path)?, path)
}

fn text(file: File, path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::invalid(
            path.display().to_string(),
            format!("is larger than {MAX_FILE_BYTES} bytes"),
        ));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes to a file that is the kernel's: no temporary file, one write.
pub(crate) fn set(path: &Path, value: &str) -> Result<()> {
    let mut file = OpenOptions::new().write(true).open(path).at("open", path)?;
    file.write_all(value.as_bytes()).at("write", path)
}

/// Makes a directory and what is missing above it. One that is there keeps its mode.
pub(crate) fn ensure_directory(path: &Path, mode: u32) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).at("create", path)
}

/// Removes a file that may be missing.
pub(crate) fn remove(path: &Path) -> Result<()> {
    gone(std::fs::remove_file(path)).at("remove", path)
}

/// Removes a directory and all below it, which may be missing.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    gone(std::fs::remove_dir_all(path)).at("remove", path)
}

/// Removes a directory if it is empty; tells whether it is gone.
pub(crate) fn remove_if_empty(path: &Path) -> Result<bool> {
    match gone(std::fs::remove_dir(path)) {
        Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy) => {
            Ok(false)
        }
        removed => removed.at("remove", path).map(|()| true),
    }
}

fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        assert_eq!(read_if_there(&path).unwrap(), None);
        // What a killed process left does not stand in the way.
        File::create(directory.path().join(".state.new")).unwrap();
        for content in ["one", "two, and longer"] {
            put(&path, content.as_bytes(), 0o600).unwrap();
            assert_eq!(read_if_there(&path).unwrap().as_deref(), Some(content));
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_version_takes_the_room_of_the_one_before_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let long = "x".repeat(ROOM_BYTES + 1);
        for content in ["one", "two", &long, "four", ""] {
            put_over(&path, content, 0o600).unwrap();
            assert_eq!(read(&path).unwrap().trim_end(), content);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let kept = directory.path().join(".state.kept");
        assert_eq!(read(&kept).unwrap().trim_end(), "four");
        let inode = std::os::unix::fs::MetadataExt::ino(&kept.metadata().unwrap());
        put_over(&path, "six", 0o600).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap()), inode);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_there_already_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        put_changed(&path, "one", 0o600).unwrap();
        let written = path.metadata().unwrap().modified().unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
        put_changed(&path, "one", 0o600).unwrap();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), written);
        put_changed(&path, "two", 0o600).unwrap();
        assert_eq!(read(&path).unwrap(), "two");
        assert_ne!(std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap()), inode);
    }

    #[test]
    fn a_link_is_replaced_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        put(&target, b"kept", 0o644).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        put(&link, b"new", 0o644).unwrap();
        assert_eq!((read(&target).unwrap(), read(&link).unwrap()), ("kept".into(), "new".into()));
    }

    #[test]
    fn removal_takes_missing_things_for_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        ensure_directory(&path, 0o700).unwrap();
        assert!(!remove_if_empty(&directory.path().join("a")).unwrap());
        assert!(remove_if_empty(&path).unwrap());
        assert!(remove_if_empty(&path).unwrap());
        remove_tree(&directory.path().join("a")).unwrap();
        remove_tree(&directory.path().join("a")).unwrap();
        remove(&path).unwrap();
    }
}
