//! One entry of a layer.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::CREATED;

/// What a file contains.
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What this file of the machine contains when the layer is written.
    File(PathBuf),
    /// That many bytes of a reader.
    Stream(u64, Box<dyn Read>),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stream(length, _) => write!(f, "{length} bytes of a stream"),
        }
    }
}

/// What an entry is.
#[derive(Debug)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link to this target.
    Symlink(OsString),
    /// A hard link to an earlier entry.
    Hardlink(OsString),
    /// A character device.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// One entry of a layer: mode 0755 for directories, 0644 for others, owner root, the factory's time, unless said.
#[derive(Debug)]
pub struct Entry {
    pub(super) path: OsString,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) owner: (u64, u64),
    pub(super) seconds: u64,
    pub(super) nanoseconds: u32,
    pub(super) xattrs: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// An entry of any kind at any path, written as it is: absolute, with `..`, or not UTF-8.
    pub fn new(path: impl Into<OsString>, kind: Kind) -> Self {
        let mode = if matches!(kind, Kind::Directory) { 0o755 } else { 0o644 };
        let (path, xattrs) = (path.into(), Vec::new());
        Self { path, kind, mode, owner: (0, 0), seconds: CREATED, nanoseconds: 0, xattrs }
    }

    /// A directory.
    pub fn dir(path: impl Into<OsString>) -> Self {
        Self::new(path, Kind::Directory)
    }

    /// A file with these bytes.
    pub fn file(path: impl Into<OsString>, content: impl Into<Vec<u8>>) -> Self {
        Self::new(path, Kind::File(Content::Bytes(content.into())))
    }

    /// An executable file with these bytes.
    pub fn program(path: impl Into<OsString>, content: impl Into<Vec<u8>>) -> Self {
        Self::file(path, content).mode(0o755)
    }

    /// A file with the content of a file of this machine.
    pub fn copy(path: impl Into<OsString>, from: impl Into<PathBuf>) -> Self {
        Self::new(path, Kind::File(Content::File(from.into())))
    }

    /// A symbolic link.
    pub fn symlink(path: impl Into<OsString>, target: impl Into<OsString>) -> Self {
        Self::new(path, Kind::Symlink(target.into())).mode(0o777)
    }

    /// A hard link to an earlier entry.
    pub fn hardlink(path: impl Into<OsString>, target: impl Into<OsString>) -> Self {
        Self::new(path, Kind::Hardlink(target.into()))
    }

    /// The mark that removes this path of the layers below.
    pub fn whiteout(path: &str) -> Self {
        let (parent, name) = path.rsplit_once('/').map_or(("", path), |(parent, name)| (parent, name));
        let slash = if parent.is_empty() { "" } else { "/" };
        Self::file(format!("{parent}{slash}.wh.{name}"), "").mode(0)
    }

    /// The mark that removes everything in this directory of the layers below.
    pub fn opaque(dir: &str) -> Self {
        Self::file(format!("{dir}/.wh..wh..opq"), "").mode(0)
    }

    /// Sets the permission bits, with set-id and sticky bits.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Sets user and group.
    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// Sets the time of modification; nanoseconds other than 0 need a PAX record, which is written then.
    #[must_use]
    pub fn time(mut self, seconds: u64, nanoseconds: u32) -> Self {
        (self.seconds, self.nanoseconds) = (seconds, nanoseconds);
        self
    }

    /// Adds an extended attribute, as a PAX record.
    #[must_use]
    pub fn xattr(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.xattrs.push((name.to_owned(), value.into()));
        self
    }
}

/// Returns a path that may be anything but UTF-8.
pub fn raw_path(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
