//! What shows through from the layers below at a path, as overlayfs would show it.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, openat, openat2, statat,
};
use rustix::io::Errno;

use super::entry::EntryPath;
use super::record::LayerId;
use super::unpack::Unpacked;
use super::whiteout;
use crate::Store;
use crate::disk::fault;
use crate::error::{IoContext, Result};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A file or directory of a lower layer.
pub(super) struct Seen {
    /// The directory that holds it.
    pub(super) parent: OwnedFd,
    /// Its name there.
    pub(super) name: Vec<u8>,
    pub(super) stat: Stat,
}

/// What one layer says about a path.
enum Sight {
    /// Here it is.
    Here(Seen),
    /// Not here, but layers further down may show it.
    Absent,
    /// Not here, and whatever is further down is hidden.
    Hidden,
}

/// Finds what shows at a path, in trees given top first; the root itself shows nowhere.
pub(super) fn look(trees: &[PathBuf], path: &EntryPath) -> Result<Option<Seen>> {
    for tree in trees {
        match sight(tree, path).at("inspect", tree)? {
            Sight::Absent => {}
            Sight::Hidden => return Ok(None),
            Sight::Here(seen) => return Ok(Some(seen)),
        }
    }
    Ok(None)
}

fn sight(tree: &Path, path: &EntryPath) -> rustix::io::Result<Sight> {
    let mut directory = openat(rustix::fs::CWD, tree, DIRECTORY, Mode::empty())?;
    let mut hidden = whiteout::is_opaque(&directory)?;
    let mut components = path.as_bytes().split(|&byte| byte == b'/').peekable();
    while let Some(name) = components.next() {
        let stat = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(if hidden { Sight::Hidden } else { Sight::Absent }),
            Err(error) => return Err(error),
        };
        if whiteout::is_whiteout(&stat) {
            return Ok(Sight::Hidden);
        }
        if components.peek().is_none() {
            return Ok(Sight::Here(Seen { parent: directory, name: name.to_vec(), stat }));
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Sight::Hidden);
        }
        directory = openat(&directory, name, DIRECTORY, Mode::empty())?;
        hidden |= whiteout::is_opaque(&directory)?;
    }
    Ok(Sight::Hidden)
}

impl Store {
    /// Gives each implicit directory the owner, mode and times of the directory that shows through from below.
    pub(super) fn copy_lower_metadata(&self, unpacked: &Unpacked, below: &[LayerId]) -> Result<()> {
        let (tree, trees) = (unpacked.workspace.tree(), self.lower_dirs(below));
        for path in unpacked.implicit.iter().rev() {
            let Some(seen) = look(&trees, path)? else { continue };
            if FileType::from_raw_mode(seen.stat.st_mode) == FileType::Directory {
                copy(&seen.stat, &tree, path)
                    .at("copy metadata to", tree.join(OsStr::from_bytes(path.as_bytes())))?;
                fault::point("metadata copied");
            }
        }
        Ok(())
    }
}

/// The path is a real one; should it lead through a link after all, that is an error and not a way out.
fn copy(stat: &Stat, tree: &Path, path: &EntryPath) -> rustix::io::Result<()> {
    let tree = openat(rustix::fs::CWD, tree, DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let to = openat2(&tree, path.as_bytes(), DIRECTORY, Mode::empty(), resolve)?;
    let (uid, gid) =
        (rustix::process::Uid::from_raw(stat.st_uid), rustix::process::Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&to, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.cast_signed() };
    rustix::fs::futimens(&to, &Timestamps { last_access: time, last_modification: time })
}
