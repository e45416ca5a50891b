//! Directories that steps make: `WORKDIR`, and what is missing above a copied file.

use rustix::fs::{CWD, FileType, Mode, chownat};
use rustix::process::{Gid, Uid};

use crate::error::{BuildError, IoDoing, Result};
use crate::plan::MkdirStep;
use crate::rooted::{Inside, Root, kind};

/// What new directories look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewDirectory {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

impl NewDirectory {
    pub(crate) const DEFAULT: Self = Self { mode: 0o755, owner: (0, 0) };
}

/// Does a `WORKDIR`: makes the directory and what is missing above it, for the user of the stage. What is there stays
/// as it is.
pub(crate) fn workdir(root: &Root, step: &MkdirStep, owner: (u32, u32)) -> Result<()> {
    let path = root.resolve(step.path.as_bytes())?;
    make_all(root, &path, NewDirectory { owner, ..NewDirectory::DEFAULT })
}

/// Makes a resolved directory and what is missing above it.
pub(crate) fn make_all(root: &Root, path: &Inside, new: NewDirectory) -> Result<()> {
    match root.stat(path)? {
        Some(stat) if kind(&stat) == FileType::Directory => return Ok(()),
        Some(_) => {
            let path = String::from_utf8_lossy(path.as_bytes());
            return Err(BuildError::failed(format!(
                "/{path} cannot be a directory: there is a file of this name"
            )));
        }
        None if path.is_root() => return Err(BuildError::failed("the root directory is missing")),
        None => make_all(root, &path.parent(), new)?,
    }
    let full = root.full(path);
    rustix::fs::mkdir(&full, Mode::from_raw_mode(0o700)).doing("create", &full)?;
    let (uid, gid) = (Uid::from_raw(new.owner.0), Gid::from_raw(new.owner.1));
    if rustix::process::geteuid().is_root() {
        chownat(CWD, &full, Some(uid), Some(gid), rustix::fs::AtFlags::empty())
            .doing("change owner of", &full)?;
    }
    rustix::fs::chmod(&full, Mode::from_raw_mode(new.mode)).doing("change mode of", &full)
}
