//! What the layers below say about a directory that an archive used without containing it.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, openat, statat};
use rustix::io::Errno;

use super::entry::EntryPath;
use super::record::LayerId;
use super::unpack::Unpacked;
use super::whiteout;
use crate::Store;
use crate::error::{IoContext, Result};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What one layer says about a directory.
enum Sight {
    /// Here it is.
    Directory(OwnedFd),
    /// Not here, but layers further down may show it.
    Absent,
    /// Not here, and whatever is further down is hidden.
    Hidden,
}

impl Store {
    /// Gives each implicit directory the owner, mode and times of the directory that shows through from below.
    pub(super) fn copy_lower_metadata(&self, unpacked: &Unpacked, below: &[LayerId]) -> Result<()> {
        for path in unpacked.implicit.iter().rev() {
            for layer in below.iter().rev() {
                let tree = self.layer_tree(*layer);
                match sight(&tree, path).at("inspect", &tree)? {
                    Sight::Absent => {}
                    Sight::Hidden => break,
                    Sight::Directory(from) => {
                        let to = unpacked.workspace.tree().join(std::ffi::OsStr::from_bytes(path.as_bytes()));
                        copy(&from, &to).at("copy metadata to", &to)?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

fn sight(tree: &Path, path: &EntryPath) -> rustix::io::Result<Sight> {
    let mut directory = openat(rustix::fs::CWD, tree, DIRECTORY, Mode::empty())?;
    let mut hidden = whiteout::is_opaque(&directory)?;
    for name in path.as_bytes().split(|&byte| byte == b'/') {
        let stat = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(if hidden { Sight::Hidden } else { Sight::Absent }),
            Err(error) => return Err(error),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Sight::Hidden);
        }
        directory = openat(&directory, name, DIRECTORY, Mode::empty())?;
        hidden |= whiteout::is_opaque(&directory)?;
    }
    Ok(Sight::Directory(directory))
}

fn copy(from: &OwnedFd, to: &Path) -> rustix::io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    let to = openat(rustix::fs::CWD, to, DIRECTORY, Mode::empty())?;
    let (uid, gid) =
        (rustix::process::Uid::from_raw(stat.st_uid), rustix::process::Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&to, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.cast_signed() };
    rustix::fs::futimens(&to, &Timestamps { last_access: time, last_modification: time })
}
