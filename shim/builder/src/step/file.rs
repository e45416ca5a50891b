//! Copies one entry of a tree, with everything that makes it what it is.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cachestore::error::is_no_space;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, chownat, mknodat, symlinkat, utimensat,
};
use rustix::process::{Gid, Uid};

use crate::error::{BuildError, IoDoing, Result};
use crate::plan::Chmod;
use crate::tree::{Entry, Identity};

/// What a copy changes of what it copies.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    pub(super) owner: Option<(u32, u32)>,
    pub(super) chmod: Option<Chmod>,
}

impl Changes {
    fn owner_of(&self, entry: &Entry) -> (u32, u32) {
        self.owner.unwrap_or(entry.owner)
    }

    fn mode_of(&self, entry: &Entry) -> u32 {
        match &self.chmod {
            None => entry.mode & 0o7777,
            Some(Chmod::Octal(mode)) => *mode,
            Some(Chmod::Symbolic(mode)) => mode.apply(entry.mode, entry.is_directory()),
        }
    }
}

/// Copies the content of a file to a new file; tells whether the file was still what it had been.
pub(super) fn content(from: &Path, to: &Path, expected: &Identity) -> Result<bool> {
    let mut source = File::open(from).doing("open", from)?;
    let mut target = File::options().write(true).create_new(true).open(to).doing("create", to)?;
    // The standard library lets the kernel copy where it can.
    io::copy(&mut source, &mut target).map_err(|error| {
        let blamed = if is_no_space(&error) { to } else { from };
        BuildError::io("copy", blamed, error)
    })?;
    let after = Identity::of(&rustix::fs::fstat(&source).doing("inspect", from)?);
    Ok(after == *expected)
}

/// Makes a link, a device or a fifo.
pub(super) fn special(to: &Path, entry: &Entry) -> Result<()> {
    match entry.kind() {
        FileType::Symlink => symlinkat(OsStr::from_bytes(&entry.link), CWD, to),
        kind => mknodat(CWD, to, kind, Mode::from_raw_mode(0o600), entry.device),
    }
    .doing("create", to)
}

/// Sets owner, attributes, mode and times, in this order: a change of owner clears capabilities and set-id bits.
pub(super) fn metadata(to: &Path, entry: &Entry, changes: &Changes) -> Result<()> {
    let (uid, gid) = changes.owner_of(entry);
    if rustix::process::geteuid().is_root() {
        chownat(CWD, to, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)
            .doing("change owner of", to)?;
    }
    for (name, value) in &entry.xattrs {
        if let Err(error) = rustix::fs::lsetxattr(to, OsStr::from_bytes(name), value, XattrFlags::empty()) {
            tracing::warn!(path = %to.display(), %error, "an extended attribute was not copied");
        }
    }
    if entry.kind() != FileType::Symlink {
        rustix::fs::chmod(to, Mode::from_raw_mode(changes.mode_of(entry))).doing("change mode of", to)?;
    }
    times(to, entry)
}

pub(super) fn times(to: &Path, entry: &Entry) -> Result<()> {
    let (tv_sec, nanoseconds) = entry.stat.modified;
    let time = Timespec { tv_sec, tv_nsec: nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW).doing("set times of", to)
}
