//! Removal of directory trees that may hold anything a container can make.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::disk::fault;
use crate::error::{Error, IoContext, Result};

/// So many directories are open at once, twice each. A container can nest them deeper than any limit on open files.
const MAX_DEPTH: usize = 64;

/// Removes a tree, or a file; succeeds if it is gone already. Never follows a link.
pub(crate) fn tree(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("inspect", path, error)),
        Ok(metadata) if !metadata.is_dir() => return std::fs::remove_file(path).at("remove", path),
        Ok(_) => {}
    }
    contents(path)?;
    std::fs::remove_dir(path).at("remove", path)?;
    fault::point("tree removed");
    Ok(())
}

/// Removes every entry of a directory, but not the directory.
pub(crate) fn contents(path: &Path) -> Result<()> {
    let top = open_directory(rustix::fs::CWD, path).at("open", path)?;
    let mut emptying = Emptying { top, moved: 0 };
    loop {
        let before = emptying.moved;
        emptying.pass().at("empty", path)?;
        // What a pass moved up may have come too late to be seen by it.
        if emptying.moved == before {
            return Ok(());
        }
    }
}

fn open_directory<P: rustix::path::Arg>(at: BorrowedFd<'_>, name: P) -> rustix::io::Result<OwnedFd> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// A directory that is being emptied.
struct Emptying {
    top: OwnedFd,
    /// How many directories were too deep and have been moved up.
    moved: u64,
}

/// A directory on the way down.
struct Level {
    name: CString,
    entries: Dir,
    fd: OwnedFd,
}

impl Level {
    fn open(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Self> {
        let fd = open_directory(parent, name)?;
        Ok(Self { name: name.to_owned(), entries: Dir::read_from(&fd)?, fd })
    }
}

impl Emptying {
    /// Removes what is there, depth first.
    fn pass(&mut self) -> rustix::io::Result<()> {
        let mut stack = vec![Level::open(self.top.as_fd(), c".")?];
        loop {
            let depth = stack.len();
            let Some(level) = stack.last_mut() else { return Ok(()) };
            match level.entries.next() {
                Some(entry) => {
                    let entry = entry?;
                    let name = entry.file_name();
                    if is_dot(name) {
                        continue;
                    }
                    if !is_directory(level.fd.as_fd(), name, entry.file_type())? {
                        unlinkat(&level.fd, name, AtFlags::empty())?;
                        fault::point("entry removed");
                    } else if depth < MAX_DEPTH {
                        let child = Level::open(level.fd.as_fd(), name)?;
                        stack.push(child);
                    } else {
                        move_up(level.fd.as_fd(), name, self.top.as_fd(), &mut self.moved)?;
                    }
                }
                None => {
                    let name = std::mem::take(&mut level.name);
                    stack.pop();
                    if let Some(parent) = stack.last() {
                        unlinkat(&parent.fd, name.as_c_str(), AtFlags::REMOVEDIR)?;
                        fault::point("entry removed");
                    }
                }
            }
        }
    }
}

/// Moves a directory to where it is not deep, under a name that is free or is an empty directory's.
fn move_up(
    from: BorrowedFd<'_>,
    name: &CStr,
    top: BorrowedFd<'_>,
    moved: &mut u64,
) -> rustix::io::Result<()> {
    loop {
        *moved += 1;
        match renameat(from, name, top, format!(".moved-{moved}")) {
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            result => return result,
        }
    }
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn is_directory(at: BorrowedFd<'_>, name: &CStr, kind: FileType) -> rustix::io::Result<bool> {
    if kind != FileType::Unknown {
        return Ok(kind == FileType::Directory);
    }
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::mkdirat;

    use super::*;

    /// Makes directories in one another, deeper than a path can name.
    fn nest(top: &Path, depth: usize) {
        let mut fd = open_directory(rustix::fs::CWD, top).unwrap();
        for _ in 0..depth {
            mkdirat(&fd, "d", Mode::from_raw_mode(0o755)).unwrap();
            rustix::fs::symlinkat("../..", &fd, "up").unwrap();
            fd = open_directory(fd.as_fd(), "d").unwrap();
        }
    }

    #[test]
    fn a_deep_tree_goes_and_what_links_point_to_stays() {
        let root = tempfile::tempdir().unwrap();
        let keep = root.path().join("keep");
        std::fs::create_dir_all(keep.join("inner")).unwrap();
        let gone = root.path().join("gone");
        // The names that are used while it is removed are taken, in every way.
        std::fs::create_dir_all(gone.join(".moved-1/full")).unwrap();
        std::fs::create_dir(gone.join(".moved-2")).unwrap();
        std::os::unix::fs::symlink(&keep, gone.join(".moved-3")).unwrap();
        nest(&gone, 6000);
        tree(&gone).unwrap();
        tree(&gone).unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        assert!(keep.join("inner").is_dir());
    }

    #[test]
    fn a_link_is_removed_and_not_followed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("keep/inner")).unwrap();
        std::os::unix::fs::symlink("keep", root.path().join("link")).unwrap();
        tree(&root.path().join("link")).unwrap();
        assert!(root.path().join("keep/inner").is_dir());
        assert!(contents(&root.path().join("link")).is_err());
    }
}
