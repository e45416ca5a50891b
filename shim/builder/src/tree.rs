//! Directory trees that a `COPY` copies: what is there, and a digest of it.

mod digest;
mod scan;
mod select;

pub(crate) use digest::digest;
pub(crate) use scan::{Filter, Scanner};
pub(crate) use select::select;

use crate::rooted::Inside;

/// What a source of a `COPY` matched: a file, or a directory with all that is in it.
#[derive(Debug)]
pub(crate) struct Selection {
    /// The name that it has where it is copied into a directory.
    pub(crate) name: Vec<u8>,
    /// Where it really is: links are followed.
    pub(crate) path: Inside,
    /// It and what is below it, each directory before its content, in the order of names.
    pub(crate) entries: Vec<Entry>,
}

/// A file, a directory, a link, a device, a fifo.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Relative to the selection; empty for the selection itself.
    pub(crate) path: Vec<u8>,
    pub(crate) stat: Identity,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) device: u64,
    /// The target of a symbolic link.
    pub(crate) link: Vec<u8>,
    /// Extended attributes that are copied.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The entry before this one that is the same file.
    pub(crate) same_as: Option<usize>,
}

/// What tells whether a file is still what it was: the kernel changes one of these with every change of content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) modified: (i64, u32),
    pub(crate) changed: (i64, u32),
}

impl Identity {
    pub(crate) fn of(stat: &rustix::fs::Stat) -> Self {
        let time = |seconds: i64, nanoseconds: u64| (seconds, u32::try_from(nanoseconds).unwrap_or(0));
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size.cast_unsigned(),
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl Entry {
    pub(crate) fn kind(&self) -> rustix::fs::FileType {
        rustix::fs::FileType::from_raw_mode(self.mode)
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind() == rustix::fs::FileType::RegularFile
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == rustix::fs::FileType::Directory
    }
}

impl Selection {
    /// Returns where an entry is, below the root.
    pub(crate) fn inside(&self, entry: &Entry) -> Inside {
        if entry.path.is_empty() { self.path.clone() } else { self.path.join(&entry.path) }
    }
}
