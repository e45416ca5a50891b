//! Writes the tree of a layer: every path is resolved beneath its root by the kernel (openat2), so that nothing that an
//! archive says can reach outside.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, XattrFlags, fchmod, linkat,
    makedev, mkdirat, mknodat, openat, openat2, readlink, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};

use super::entry::{ENTRY, Entry, EntryPath, Kind, MAX_PATH_BYTES, Time};
use super::noted::Noted;
use super::recipe::Places;
use super::whiteout;
use crate::disk::fault;
use crate::error::{Error, IoContext, Result};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Links to directories of the layer are followed; what they lead to is looked up beneath the root.
const LINKED_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Directories that an archive uses without containing them.
const IMPLICIT_MODE: Mode = Mode::from_raw_mode(0o755);

/// A tree that is being written.
///
/// An archive may reach a directory through a symbolic link of its own. What is remembered of an entry is always its
/// *real* path ([`Tree::locate`]), which no link is part of: the link may be another one a moment later.
pub(super) struct Tree {
    places: Places,
    root: OwnedFd,
    /// The directory of the last entry: archives keep the files of a directory together.
    last: Option<Opened>,
    has_links: bool,
    noted: Noted,
    asides: u64,
    privileged: bool,
}

/// A directory of the tree.
struct Opened {
    /// Its path as it was given, and its real one.
    given: EntryPath,
    real: EntryPath,
    fd: OwnedFd,
}

/// What stood where an entry was to be written.
pub(super) enum Replaced {
    Nothing,
    /// A directory, which a directory entry only changes.
    Directory,
    Whiteout,
    /// Anything else; it now lies in `x/N`.
    Aside(u64),
}

impl Tree {
    /// Opens the empty tree of the layer directory `layer`.
    pub(super) fn open(layer: &Path) -> Result<Self> {
        let places = Places { layer: layer.to_path_buf() };
        let path = places.tree();
        let root = openat(rustix::fs::CWD, &path, DIRECTORY, Mode::empty()).at("open", &path)?;
        let privileged = geteuid().is_root();
        Ok(Self {
            places,
            root,
            last: None,
            has_links: false,
            noted: Noted::default(),
            asides: 0,
            privileged,
        })
    }

    /// Returns the directories that were used but not contained in the archive, parents first.
    pub(super) fn into_implicit(self) -> Vec<EntryPath> {
        self.noted.into_implicit()
    }

    fn path(&self, path: &EntryPath) -> PathBuf {
        self.places.tree().join(OsStr::from_bytes(path.as_bytes()))
    }

    /// Opens the directory of an entry, making what is missing of it.
    fn parent(&mut self, directory: &EntryPath) -> Result<BorrowedFd<'_>> {
        self.enter(directory).map(|opened| opened.fd.as_fd())
    }

    fn enter(&mut self, directory: &EntryPath) -> Result<&Opened> {
        if self.last.as_ref().is_none_or(|last| last.given != *directory) {
            let opened = self.open_or_make(directory)?;
            self.last = Some(opened);
        }
        Ok(self.last.as_ref().expect("set above"))
    }

    /// Returns the real path of an entry, making what is missing of its directory.
    pub(super) fn locate(&mut self, path: &EntryPath) -> Result<EntryPath> {
        let (directory, name) = path.split();
        named(self.enter(&directory)?, name)
    }

    /// Returns the real path of what a hard link points to.
    pub(super) fn locate_target(&self, link: &EntryPath, target: &EntryPath) -> Result<EntryPath> {
        let (directory, name) = target.split();
        match self.beneath(&directory) {
            Ok(fd) => {
                let real = self.real(&directory, &fd)?;
                named(&Opened { given: directory, real, fd }, name)
            }
            Err(Errno::NOENT) => Err(link_to_nothing(link)),
            Err(error) => Err(self.refused(target, error)),
        }
    }

    /// Finds the real path of a directory that is open.
    fn real(&self, directory: &EntryPath, fd: &OwnedFd) -> Result<EntryPath> {
        if !self.has_links || self.resolve(directory, ResolveFlags::NO_SYMLINKS).is_ok() {
            return Ok(directory.clone());
        }
        let name = |fd: &OwnedFd| {
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            readlink(&link, Vec::new()).map_err(|error| self.refused(directory, error))
        };
        let (root, path) = (name(&self.root)?, name(fd)?);
        let beneath = path.as_bytes().strip_prefix(root.as_bytes());
        EntryPath::parse(beneath.ok_or_else(|| self.refused(directory, Errno::XDEV))?)
    }

    /// Not recursive: a path of 4 KB can name two thousand directories.
    fn open_or_make(&mut self, directory: &EntryPath) -> Result<Opened> {
        let (mut missing, mut there) = (Vec::new(), directory.clone());
        let mut opened = loop {
            match self.beneath(&there) {
                Ok(fd) => break Opened { real: self.real(&there, &fd)?, given: there, fd },
                Err(Errno::NOENT | Errno::NOTDIR) if !there.is_root() => {
                    let above = there.split().0;
                    missing.push(std::mem::replace(&mut there, above));
                }
                Err(error) => return Err(self.refused(&there, error)),
            }
        };
        while let Some(given) = missing.pop() {
            opened = self.make(&opened, given)?;
        }
        Ok(opened)
    }

    /// Makes a directory that an archive uses without containing it.
    fn make(&mut self, above: &Opened, given: EntryPath) -> Result<Opened> {
        let name = given.split().1;
        let real = named(above, name)?;
        let opaque = match statat(&above.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => false,
            Ok(stat) if whiteout::is_whiteout(&stat) => {
                unlinkat(&above.fd, name, AtFlags::empty()).at("remove", self.path(&real))?;
                true
            }
            // A file stands where the archive wants a directory: the archive contradicts itself.
            Ok(_) => return Err(self.refused(&given, Errno::NOTDIR)),
            Err(error) => return Err(self.refused(&given, error)),
        };
        mkdirat(&above.fd, name, IMPLICIT_MODE).at("create", self.path(&real))?;
        let fd = openat(&above.fd, name, DIRECTORY, Mode::empty()).at("open", self.path(&real))?;
        fchmod(&fd, IMPLICIT_MODE).at("change mode of", self.path(&real))?;
        if opaque {
            whiteout::make_opaque(&fd).at("mark as opaque", self.path(&real))?;
        }
        self.noted.implicit(real.clone())?;
        Ok(Opened { given, real, fd })
    }

    fn beneath(&self, path: &EntryPath) -> rustix::io::Result<OwnedFd> {
        self.resolve(path, ResolveFlags::empty())
    }

    fn resolve(&self, path: &EntryPath, more: ResolveFlags) -> rustix::io::Result<OwnedFd> {
        let name = if path.is_root() { &b"."[..] } else { path.as_bytes() };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
        loop {
            match openat2(&self.root, name, LINKED_DIRECTORY, Mode::empty(), resolve) {
                // The kernel could not rule out a race with a rename elsewhere; nothing here is renamed for ever.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// Names the entry in the error of a resolution that failed or would have left the layer.
    fn refused(&self, path: &EntryPath, error: Errno) -> Error {
        match error {
            Errno::XDEV | Errno::LOOP => {
                Error::invalid(ENTRY, path.display(), "it leads out of the layer through a link")
            }
            Errno::NAMETOOLONG => too_long(path),
            Errno::NOTDIR => Error::invalid(ENTRY, path.display(), "it is used as a directory, but is none"),
            error => Error::io("open", self.path(path), error),
        }
    }

    /// Makes room for an entry: what is there is moved aside, because the recipe may need its content.
    pub(super) fn make_room(&mut self, path: &EntryPath, for_directory: bool) -> Result<Replaced> {
        let (directory, name) = path.split();
        let parent = self.parent(&directory)?;
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Replaced::Nothing),
            Err(error) => return Err(self.refused(path, error)),
            Ok(stat) => stat,
        };
        if whiteout::is_whiteout(&stat) {
            unlinkat(parent, name, AtFlags::empty()).at("remove", self.path(path))?;
            return Ok(Replaced::Whiteout);
        }
        if for_directory && FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Ok(Replaced::Directory);
        }
        let number = self.asides;
        self.asides += 1;
        let aside = self.places.aside(number);
        let folder = aside.parent().unwrap_or(&aside);
        std::fs::create_dir_all(folder).at("create", folder)?;
        let (from, name) = (self.parent(&directory)?, name);
        rustix::fs::renameat(from, name, rustix::fs::CWD, &aside).at("move", &aside)?;
        fault::point("moved aside");
        // The directory that was open may be what moved, or lie in it.
        self.last = None;
        self.noted.forget(path);
        Ok(Replaced::Aside(number))
    }

    /// Marks what the lower layers have of a directory as gone.
    pub(super) fn make_opaque(&mut self, directory: &EntryPath) -> Result<()> {
        let path = self.path(directory);
        let fd = self.parent(directory)?;
        whiteout::make_opaque(fd).at("mark as opaque", path)
    }

    /// Marks a file of the lower layers as gone. Files of this layer stay: a whiteout means lower layers only.
    pub(super) fn remove_lower(&mut self, path: &EntryPath) -> Result<()> {
        let (directory, name) = path.split();
        let parent = self.parent(&directory)?;
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => whiteout::create(parent, name).at("create a whiteout for", self.path(path)),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.make_opaque(path)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(self.refused(path, error)),
        }
    }

    /// Makes or changes a directory.
    pub(super) fn directory(&mut self, entry: &Entry) -> Result<()> {
        if !entry.path.is_root() {
            let replaced = self.make_room(&entry.path, true)?;
            if !matches!(replaced, Replaced::Directory) {
                let (directory, name) = entry.path.split();
                let parent = self.parent(&directory)?;
                mkdirat(parent, name, IMPLICIT_MODE).at("create", self.path(&entry.path))?;
            }
            if matches!(replaced, Replaced::Whiteout) {
                self.make_opaque(&entry.path)?;
            }
        }
        let fd = self.beneath(&entry.path).map_err(|error| self.refused(&entry.path, error))?;
        self.apply(&fd, entry)?;
        self.noted.contained(entry.path.clone(), entry.mtime)
    }

    /// Makes an empty file and opens it; its metadata is set by [`Tree::finish_file`] when it has its content.
    pub(super) fn file(&mut self, path: &EntryPath) -> Result<std::fs::File> {
        let (directory, name) = path.split();
        let parent = self.parent(&directory)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(parent, name, flags, Mode::from_raw_mode(0o600)).at("create", self.path(path))?;
        Ok(fd.into())
    }

    pub(super) fn finish_file(&self, file: impl AsFd, entry: &Entry) -> Result<()> {
        self.apply(&file, entry)?;
        rustix::fs::futimens(file, &timestamps(entry.mtime)).at("set times of", self.path(&entry.path))
    }

    /// Makes a symbolic link, a device or a fifo.
    pub(super) fn special(&mut self, entry: &Entry) -> Result<()> {
        let path = self.path(&entry.path);
        let privileged = self.privileged;
        self.has_links |= matches!(entry.kind, Kind::Symlink(_));
        let (directory, name) = entry.path.split();
        let parent = self.parent(&directory)?;
        let node = |kind, device| mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device);
        match &entry.kind {
            Kind::Symlink(target) => symlinkat(OsStr::from_bytes(target), parent, name),
            Kind::CharDevice(major, minor) => node(FileType::CharacterDevice, makedev(*major, *minor)),
            Kind::BlockDevice(major, minor) => node(FileType::BlockDevice, makedev(*major, *minor)),
            _ => node(FileType::Fifo, 0),
        }
        .at("create", &path)?;
        if privileged {
            rustix::fs::chownat(parent, name, Some(uid(entry)), Some(gid(entry)), AtFlags::SYMLINK_NOFOLLOW)
                .at("change owner of", &path)?;
        }
        if !matches!(entry.kind, Kind::Symlink(_)) {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
                .at("change mode of", &path)?;
        }
        utimensat(parent, name, &timestamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).at("set times of", &path)
    }

    /// Makes a hard link to a file of this layer.
    pub(super) fn hardlink(&mut self, path: &EntryPath, target: &EntryPath) -> Result<()> {
        let (directory, target_name) = target.split();
        let from = self.beneath(&directory).map_err(|error| self.refused(target, error))?;
        match statat(&from, target_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_linkable(&stat) => {}
            Ok(_) => {
                let problem = "it is a hard link to something that is not a file";
                return Err(Error::invalid(ENTRY, path.display(), problem));
            }
            Err(_) => return Err(link_to_nothing(path)),
        }
        let full = self.path(path);
        let (directory, name) = path.split();
        let parent = self.parent(&directory)?;
        linkat(&from, target_name, parent, name, AtFlags::empty()).at("link", full)
    }

    /// Sets owner, attributes and mode, in this order: a change of owner clears set-id bits and capabilities.
    fn apply(&self, file: impl AsFd, entry: &Entry) -> Result<()> {
        let path = self.path(&entry.path);
        if self.privileged {
            rustix::fs::fchown(&file, Some(uid(entry)), Some(gid(entry))).at("change owner of", &path)?;
        }
        for (name, value) in &entry.xattrs {
            rustix::fs::fsetxattr(&file, OsStr::from_bytes(name), value, XattrFlags::empty())
                .at("set an extended attribute of", &path)?;
        }
        fchmod(&file, Mode::from_raw_mode(entry.mode)).at("change mode of", &path)
    }

    /// Sets the times of directories, the deepest first.
    pub(super) fn settle_times(&mut self) -> Result<()> {
        for (path, time) in self.noted.take_times().into_iter().rev() {
            let fd = self.beneath(&path).map_err(|error| self.refused(&path, error))?;
            rustix::fs::futimens(fd, &timestamps(time)).at("set times of", self.path(&path))?;
        }
        Ok(())
    }
}

/// Returns the real path of a name in a directory. Links can lead deeper than any path.
fn named(directory: &Opened, name: &[u8]) -> Result<EntryPath> {
    let real = directory.real.join(name);
    if real.as_bytes().len() < MAX_PATH_BYTES {
        return Ok(real);
    }
    Err(too_long(&directory.given.join(name)))
}

fn too_long(path: &EntryPath) -> Error {
    Error::invalid(ENTRY, path.display(), "it lies deeper than a path can lead")
}

fn link_to_nothing(link: &EntryPath) -> Error {
    let problem = "it is a hard link to a file that the layer does not contain";
    Error::invalid(ENTRY, link.display(), problem)
}

fn is_linkable(stat: &Stat) -> bool {
    !whiteout::is_whiteout(stat) && FileType::from_raw_mode(stat.st_mode) != FileType::Directory
}

fn uid(entry: &Entry) -> Uid {
    Uid::from_raw(entry.uid)
}

fn gid(entry: &Entry) -> Gid {
    Gid::from_raw(entry.gid)
}

fn timestamps(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
