//! What is found in a layer's tree, and in what it differs from what a tar says.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, makedev, openat, openat2, readlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::audit::What;
use super::entry::{Entry, EntryPath, Kind, Time};
use super::{pack, whiteout};
use crate::error::{Error, IoContext, Result};

/// Every filesystem can keep times between these; others it may round.
const TIMES: std::ops::RangeInclusive<i64> = 0..=i32::MAX as i64;

/// The tree of a layer, opened.
pub(super) struct Tree {
    root: std::os::fd::OwnedFd,
    path: PathBuf,
}

/// A file of it.
pub(super) struct Found {
    stat: Stat,
    /// Open, if it is a file or a directory.
    open: Option<File>,
    target: Option<Vec<u8>>,
    path: PathBuf,
}

impl Tree {
    pub(super) fn open(layer: &Path) -> Result<Self> {
        let path = layer.join("d");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = openat(CWD, &path, flags, Mode::empty()).at("open", &path)?;
        Ok(Self { root, path })
    }

    fn full(&self, path: &EntryPath) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.path.join(std::ffi::OsStr::from_bytes(path.as_bytes()))
    }

    fn beneath(&self, path: &EntryPath, flags: OFlags) -> rustix::io::Result<File> {
        let name = if path.is_root() { &b"."[..] } else { path.as_bytes() };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(&self.root, name, flags, Mode::empty(), resolve).map(File::from)
    }

    /// Looks for a file; `None` if it is not there.
    pub(super) fn find(&self, path: &EntryPath) -> Result<Option<Found>> {
        let full = self.full(path);
        let handle = match self.beneath(path, OFlags::PATH) {
            // A link where a directory should be has been reported as such.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            handle => handle.at("open", &full)?,
        };
        let stat = fstat(&handle).at("inspect", &full)?;
        let (mut open, mut target) = (None, None);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Directory => {
                open = Some(self.beneath(path, OFlags::RDONLY | OFlags::NONBLOCK).at("open", &full)?);
            }
            FileType::Symlink => {
                target = Some(readlinkat(&handle, "", Vec::new()).at("read", &full)?.into_bytes());
            }
            _ => {}
        }
        Ok(Some(Found { stat, open, target, path: full }))
    }

    /// Returns the names in a directory; none, if it is not there.
    pub(super) fn names(&self, path: &EntryPath) -> Result<Vec<Vec<u8>>> {
        let full = self.full(path);
        let directory = match self.beneath(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
            directory => directory.at("open", &full)?,
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).at("read", &full)? {
            let name = entry.at("read", &full)?.file_name().to_bytes().to_vec();
            if !matches!(&name[..], b"." | b"..") {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl Found {
    pub(super) fn inode(&self) -> u64 {
        self.stat.st_ino
    }

    /// Says in what it is not what was expected.
    pub(super) fn problems(found: Option<Self>, expected: &What) -> Result<Vec<&'static str>> {
        let Some(found) = found else { return Ok(vec!["is missing"]) };
        match expected {
            What::Whiteout if whiteout::is_whiteout(&found.stat) => Ok(Vec::new()),
            What::Whiteout => Ok(vec!["is no whiteout"]),
            What::Other(entry) => found.other(entry),
            What::Directory { entry, opaque } => found.directory(entry.as_ref(), *opaque),
        }
    }

    fn directory(&self, entry: Option<&Entry>, opaque: bool) -> Result<Vec<&'static str>> {
        let Some(open) = self.open.as_ref().filter(|_| self.kind() == FileType::Directory) else {
            return Ok(vec!["is no directory"]);
        };
        let mut problems = Vec::new();
        let is_opaque = whiteout::is_opaque(open).at("read extended attributes of", &self.path)?;
        add(&mut problems, is_opaque != opaque, "hides what lies below it, or should");
        if let Some(entry) = entry {
            problems.extend(self.metadata(entry)?);
        }
        Ok(problems)
    }

    fn other(&self, entry: &Entry) -> Result<Vec<&'static str>> {
        let (kind, device) = match &entry.kind {
            Kind::File => (FileType::RegularFile, 0),
            Kind::Symlink(_) => (FileType::Symlink, 0),
            Kind::CharDevice(major, minor) => (FileType::CharacterDevice, makedev(*major, *minor)),
            Kind::BlockDevice(major, minor) => (FileType::BlockDevice, makedev(*major, *minor)),
            Kind::Fifo => (FileType::Fifo, 0),
            Kind::Directory | Kind::Hardlink(_) => {
                return Err(Error::corrupt(self.path.display(), "it is expected to be two things at once"));
            }
        };
        if self.kind() != kind {
            return Ok(vec!["is another kind of file"]);
        }
        let mut problems = self.metadata(entry)?;
        if let Kind::Symlink(target) = &entry.kind {
            add(&mut problems, self.target.as_ref() != Some(target), "leads elsewhere");
        }
        let size = entry.sparse.as_ref().map_or(entry.stored_size, |map| map.real_size);
        let other_size = kind == FileType::RegularFile && self.stat.st_size.cast_unsigned() != size;
        add(&mut problems, other_size, "has another size");
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        add(&mut problems, is_device && self.stat.st_rdev != device, "is another device");
        Ok(problems)
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Without privileges nobody can give files away, or set every bit of their modes.
    fn metadata(&self, entry: &Entry) -> Result<Vec<&'static str>> {
        let privileged = geteuid().is_root();
        let mut problems = Vec::new();
        let owner = (self.stat.st_uid, self.stat.st_gid);
        add(&mut problems, privileged && owner != (entry.uid, entry.gid), "has another owner");
        let bits = if privileged { 0o7777 } else { 0o777 };
        let has_mode = !matches!(entry.kind, Kind::Symlink(_));
        add(&mut problems, has_mode && (self.stat.st_mode ^ entry.mode) & bits != 0, "has another mode");
        let mtime = (self.stat.st_mtime, self.stat.st_mtime_nsec.cast_signed());
        add(&mut problems, !is_time(mtime, entry.mtime), "has another time");
        if let Some(open) = &self.open {
            use std::os::fd::AsFd;
            let found = pack::xattrs(open.as_fd()).at("read extended attributes of", &self.path)?;
            add(&mut problems, found != entry.xattrs, "has other extended attributes");
        }
        Ok(problems)
    }
}

/// Some filesystems keep whole seconds only.
fn is_time((seconds, nanoseconds): (i64, i64), expected: Time) -> bool {
    let exact =
        seconds == expected.seconds && (nanoseconds == 0 || nanoseconds == i64::from(expected.nanoseconds));
    exact || !TIMES.contains(&expected.seconds)
}

fn add(problems: &mut Vec<&'static str>, is_one: bool, problem: &'static str) {
    if is_one {
        problems.push(problem);
    }
}
