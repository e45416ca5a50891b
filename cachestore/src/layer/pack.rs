//! Packs the tree of a layer into its tar: sorted, complete, and the same bytes each time.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, major, minor, openat, readlinkat, statat};

use super::entry::{Entry, EntryPath, Kind, Time, is_portable_xattr};
use super::unpack::TreeSize;
use super::{header, whiteout};
use crate::error::{Error, IoContext, Result};

const BUFFER_BYTES: usize = 256 << 10;
/// The longest list of attribute names that Linux returns.
const XATTR_LIST_BYTES: usize = 64 << 10;
const DEFAULT_ROOT_MODE: u32 = 0o755;

/// Writes the tar of a tree; returns what the tree holds.
///
/// Sockets are left out, as no tar can hold them.
///
/// # Errors
/// [`Error::Invalid`] for a file whose name starts with `.wh.`, which would mean a removal in a tar.
pub(super) fn pack(tree: &Path, output: &mut impl Write) -> Result<TreeSize> {
    let root = openat(rustix::fs::CWD, tree, DIRECTORY, Mode::empty()).at("open", tree)?;
    let mut packer = Packer {
        tree: tree.to_path_buf(),
        output,
        links: HashMap::new(),
        size: TreeSize::default(),
        buffer: vec![0; BUFFER_BYTES],
    };
    packer.root(&root)?;
    packer.walk(root)?;
    header::end(packer.output)?;
    Ok(packer.size)
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

struct Packer<'a, W> {
    tree: PathBuf,
    output: &'a mut W,
    /// The first path of each file that has several.
    links: HashMap<(u64, u64), EntryPath>,
    size: TreeSize,
    buffer: Vec<u8>,
}

/// A directory that is being walked: its entries in reverse order.
struct Level {
    path: EntryPath,
    fd: OwnedFd,
    names: Vec<CString>,
}

impl<W: Write> Packer<'_, W> {
    fn full(&self, path: &EntryPath) -> PathBuf {
        self.tree.join(OsStr::from_bytes(path.as_bytes()))
    }

    /// The root is an entry only if it is not what every root is.
    fn root(&mut self, fd: &OwnedFd) -> Result<()> {
        let stat = rustix::fs::fstat(fd).at("inspect", &self.tree)?;
        let path = EntryPath::parse(b"")?;
        let mut entry = self.entry(path.clone(), &stat, Kind::Directory);
        entry.xattrs = xattrs(fd.as_fd()).at("read extended attributes of", &self.tree)?;
        self.size.add(0, blocks(&stat));
        if entry.mode != DEFAULT_ROOT_MODE || entry.uid != 0 || entry.gid != 0 || !entry.xattrs.is_empty() {
            entry.mtime = Time::default();
            header::write(self.output, b"./", &entry)?;
        }
        self.opaque_marker(&path, fd)
    }

    fn walk(&mut self, root: OwnedFd) -> Result<()> {
        let path = EntryPath::parse(b"")?;
        let mut stack = vec![self.level(path, root)?];
        while let Some(level) = stack.last_mut() {
            let Some(name) = level.names.pop() else {
                stack.pop();
                continue;
            };
            let path = level.path.join(name.to_bytes());
            if let Some(directory) = self.member(level.fd.as_fd(), &name, &path)? {
                let level = self.level(path, directory)?;
                stack.push(level);
            }
        }
        Ok(())
    }

    fn level(&self, path: EntryPath, fd: OwnedFd) -> Result<Level> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd).at("read", self.full(&path))? {
            let name = entry.at("read", self.full(&path))?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Level { path, fd, names })
    }

    /// Writes one member; returns the directory if it is one.
    fn member(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &EntryPath) -> Result<Option<OwnedFd>> {
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).at("inspect", self.full(path))?;
        if whiteout::is_whiteout(&stat) {
            return self.whiteout(path, &stat).map(|()| None);
        }
        if name.to_bytes().starts_with(whiteout::PREFIX) {
            let problem = "names that start with .wh. mean removed files in image layers; rename it";
            return Err(Error::invalid("file name", path.display(), problem));
        }
        let Some(kind) = self.kind(parent, name, path, &stat)? else { return Ok(None) };
        let mut entry = self.entry(path.clone(), &stat, kind);
        match entry.kind {
            Kind::Directory => self.directory(parent, name, &mut entry, &stat).map(Some),
            Kind::File => self.file(parent, name, &mut entry, &stat).map(|()| None),
            Kind::Hardlink(_) => header::write(self.output, path.as_bytes(), &entry).map(|()| None),
            _ => {
                self.size.add(0, 0);
                header::write(self.output, path.as_bytes(), &entry).map(|()| None)
            }
        }
    }

    fn kind(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: &EntryPath,
        stat: &Stat,
    ) -> Result<Option<Kind>> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return Ok(Some(Kind::Directory));
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                return Ok(Some(Kind::Hardlink(first.clone())));
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        Ok(Some(match kind {
            FileType::RegularFile => Kind::File,
            FileType::Symlink => {
                Kind::Symlink(readlinkat(parent, name, Vec::new()).at("read", self.full(path))?.into_bytes())
            }
            FileType::CharacterDevice => Kind::CharDevice(major(stat.st_rdev), minor(stat.st_rdev)),
            FileType::BlockDevice => Kind::BlockDevice(major(stat.st_rdev), minor(stat.st_rdev)),
            FileType::Fifo => Kind::Fifo,
            _ => return Ok(None),
        }))
    }

    fn entry(&self, path: EntryPath, stat: &Stat, kind: Kind) -> Entry {
        Entry {
            path,
            stored_size: if kind == Kind::File { stat.st_size.cast_unsigned() } else { 0 },
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Time {
                seconds: stat.st_mtime,
                nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
            xattrs: Default::default(),
            sparse: None,
        }
    }

    /// A whiteout is stamped 1970, so that the same removal always is the same layer.
    fn whiteout(&mut self, path: &EntryPath, stat: &Stat) -> Result<()> {
        let (directory, name) = path.split();
        let marker = directory.join(&[whiteout::PREFIX, name].concat());
        self.size.add(0, 0);
        self.marker(&marker, stat)
    }

    fn opaque_marker(&mut self, path: &EntryPath, fd: &OwnedFd) -> Result<()> {
        if whiteout::is_opaque(fd).at("read extended attributes of", self.full(path))? {
            let stat = rustix::fs::fstat(fd).at("inspect", self.full(path))?;
            self.marker(&path.join(whiteout::OPAQUE), &stat)?;
        }
        Ok(())
    }

    fn marker(&mut self, path: &EntryPath, stat: &Stat) -> Result<()> {
        let mut entry = self.entry(path.clone(), stat, Kind::File);
        (entry.mode, entry.uid, entry.gid) = (0, 0, 0);
        (entry.stored_size, entry.mtime) = (0, Time::default());
        header::write(self.output, path.as_bytes(), &entry)
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        entry: &mut Entry,
        stat: &Stat,
    ) -> Result<OwnedFd> {
        let full = self.full(&entry.path);
        let fd = openat(parent, name, DIRECTORY, Mode::empty()).at("open", &full)?;
        entry.xattrs = xattrs(fd.as_fd()).at("read extended attributes of", &full)?;
        self.size.add(0, blocks(stat));
        let mut name = entry.path.as_bytes().to_vec();
        name.push(b'/');
        header::write(self.output, &name, entry)?;
        self.opaque_marker(&entry.path, &fd)?;
        Ok(fd)
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &CStr, entry: &mut Entry, stat: &Stat) -> Result<()> {
        let full = self.full(&entry.path);
        let file = openat(parent, name, FILE, Mode::empty()).at("open", &full)?;
        entry.xattrs = xattrs(file.as_fd()).at("read extended attributes of", &full)?;
        self.size.add(entry.stored_size, blocks(stat));
        header::write(self.output, entry.path.as_bytes(), entry)?;
        let mut file = File::from(file);
        let mut left = entry.stored_size;
        while left > 0 {
            let limit = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            let count = file.read(&mut self.buffer[..limit]).at("read", &full)?;
            if count == 0 {
                return Err(Error::corrupt(full.display(), "it became shorter while it was read"));
            }
            self.output.write_all(&self.buffer[..count]).at("write", "tar")?;
            left -= count as u64;
        }
        header::pad(self.output, entry.stored_size)
    }
}

fn blocks(stat: &Stat) -> u64 {
    stat.st_blocks.cast_unsigned() * 512
}

/// Reads the attributes that travel in layers.
pub(super) fn xattrs(
    file: BorrowedFd<'_>,
) -> rustix::io::Result<std::collections::BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut found = std::collections::BTreeMap::new();
    let mut names = [0; 256];
    let list = match rustix::fs::flistxattr(file, &mut names) {
        Ok(length) => names[..length].to_vec(),
        Err(rustix::io::Errno::RANGE) => {
            let mut names = vec![0; XATTR_LIST_BYTES];
            let length = rustix::fs::flistxattr(file, &mut names)?;
            names.truncate(length);
            names
        }
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(found),
        Err(error) => return Err(error),
    };
    for name in list.split(|&byte| byte == 0).filter(|name| is_portable_xattr(name)) {
        let mut value = vec![0; super::entry::MAX_XATTR_BYTES];
        let length = rustix::fs::fgetxattr(file, OsStr::from_bytes(name), &mut value)?;
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}
