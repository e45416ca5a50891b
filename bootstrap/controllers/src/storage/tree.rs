//! Removal of a whole tree that somebody else made: links are not followed, mounts are not entered, and no depth is too much.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Result, bail};
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

/// How deep a directory is worked on in its place: each level takes two descriptors and some stack. What lies deeper is moved up.
const MAX_DEPTH: usize = 64;
/// How often a directory is gone through in the hope that it is empty then: entries may be missed while others go.
const MAX_PASSES: usize = 8;
/// What stands between a name and the number of something that was moved up. It is in no name of a volume.
const MOVED: char = '~';

/// Removes `name` in a directory and all that is below it; it may be missing. What lies very deep becomes `name~1`, `name~2` … in the
/// same directory first; if this is interrupted, it is removed the next time.
///
/// # Errors
/// Something could not be removed: a mount point is never entered. Everything else is gone then.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &str) -> Result<()> {
    let mut removal = Removal { top: parent, name, moved: 0, problems: 0, first_problem: None };
    removal.entry(parent, &CString::new(name)?, 0);
    let prefix = format!("{name}{MOVED}");
    while removal.problems == 0 {
        let mut moved = names(parent)?;
        moved.retain(|name| name.starts_with(&prefix));
        if moved.is_empty() {
            break;
        }
        for name in moved {
            removal.entry(parent, &CString::new(name)?, 0);
        }
    }
    removal.first_problem.map_or(Ok(()), Err)
}

/// Returns the names in a directory. Those that are not UTF-8 are left out: they are not ours.
pub(crate) fn names(directory: BorrowedFd<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    name: &'a str,
    /// The number of the directory that was moved up last.
    moved: u64,
    problems: u64,
    first_problem: Option<anyhow::Error>,
}

impl Removal<'_> {
    /// Removes an entry of a directory, whatever it is. Problems are kept for the end.
    fn entry(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: usize) {
        if let Err(problem) = self.try_entry(parent, name, depth) {
            self.problems += 1;
            self.first_problem.get_or_insert_with(|| problem.context(format!("{name:?}")));
        }
    }

    fn try_entry(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
        match fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Directories are answered with one or the other, depending on who asks.
            Err(error @ (Errno::ISDIR | Errno::PERM)) => {
                if !is_directory(parent, name)? {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        if rmdir(parent, name)? {
            return Ok(());
        }
        if depth == MAX_DEPTH {
            return self.move_up(parent, name);
        }
        let directory = open(parent, name)?;
        let problems = self.problems;
        for _ in 0..MAX_PASSES {
            self.contents(directory.as_fd(), depth)?;
            // What has a problem below stays, and its problem has been noted.
            if self.problems > problems || rmdir(parent, name)? {
                return Ok(());
            }
        }
        bail!("is still not empty")
    }

    fn contents(&mut self, directory: BorrowedFd<'_>, depth: usize) -> Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                self.entry(directory, entry.file_name(), depth + 1);
            }
        }
        Ok(())
    }

    fn move_up(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        loop {
            self.moved += 1;
            let moved = format!("{}{MOVED}{}", self.name, self.moved);
            match fs::renameat_with(parent, name, self.top, moved, RenameFlags::NOREPLACE) {
                // An earlier attempt moved something there.
                Err(Errno::EXIST) => {}
                result => return Ok(result?),
            }
        }
    }
}

/// Opens a directory, unless it is a mount point or has become a link.
fn open(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match fs::openat2(parent, name, flags, Mode::empty(), resolve) {
        Err(Errno::XDEV) => bail!("something is mounted there"),
        opened => Ok(opened?),
    }
}

/// Removes a directory if it is empty; tells whether it is gone.
fn rmdir(parent: BorrowedFd<'_>, name: &CStr) -> Result<bool> {
    match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(Errno::BUSY) => bail!("something is mounted there"),
        Err(error) => Err(error.into()),
    }
}

fn is_directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<bool> {
    let found = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode) == FileType::Directory)
}
