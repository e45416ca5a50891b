//! Removal of directory trees that may hold anything a container can make.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::error::{Error, IoContext, Result};

/// Removes a tree, or a file; succeeds if it is gone already. Never follows a link.
pub(crate) fn tree(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("inspect", path, error)),
        Ok(metadata) if !metadata.is_dir() => return std::fs::remove_file(path).at("remove", path),
        Ok(_) => {}
    }
    let directory = open_directory(rustix::fs::CWD, path).at("open", path)?;
    empty(directory).at("empty", path)?;
    std::fs::remove_dir(path).at("remove", path)
}

/// Removes every entry of a directory, but not the directory.
pub(crate) fn contents(path: &Path) -> Result<()> {
    let directory = open_directory(rustix::fs::CWD, path).at("open", path)?;
    empty(directory).at("empty", path)
}

fn open_directory<P: rustix::path::Arg>(at: BorrowedFd<'_>, name: P) -> rustix::io::Result<OwnedFd> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Depth first with a stack of its own: a container can nest directories deeper than a thread's stack.
fn empty(directory: OwnedFd) -> rustix::io::Result<()> {
    let mut stack = vec![(std::ffi::CString::default(), Dir::read_from(&directory)?, directory)];
    while let Some((_, entries, fd)) = stack.last_mut() {
        match entries.next() {
            Some(entry) => {
                let entry = entry?;
                let name = entry.file_name();
                if is_dot(name) {
                    continue;
                }
                if entry.file_type() == FileType::Directory
                    || is_directory(fd.as_fd(), name, entry.file_type())?
                {
                    let child = open_directory(fd.as_fd(), name)?;
                    stack.push((name.to_owned(), Dir::read_from(&child)?, child));
                } else {
                    unlinkat(&*fd, name, AtFlags::empty())?;
                }
            }
            None => {
                let Some((name, ..)) = stack.pop() else { break };
                if let Some((.., parent)) = stack.last() {
                    unlinkat(parent, name.as_c_str(), AtFlags::REMOVEDIR)?;
                }
            }
        }
    }
    Ok(())
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn is_directory(at: BorrowedFd<'_>, name: &CStr, kind: FileType) -> rustix::io::Result<bool> {
    if kind != FileType::Unknown {
        return Ok(false);
    }
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_tree_goes_and_what_links_point_to_stays() {
        let root = tempfile::tempdir().unwrap();
        let keep = root.path().join("keep");
        std::fs::create_dir(&keep).unwrap();
        let mut path = root.path().join("gone");
        std::fs::create_dir(&path).unwrap();
        std::os::unix::fs::symlink(&keep, path.join("link")).unwrap();
        for _ in 0..400 {
            path.push("d");
            std::fs::create_dir(&path).unwrap();
        }
        tree(&root.path().join("gone")).unwrap();
        tree(&root.path().join("gone")).unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        assert!(keep.is_dir());
    }
}
