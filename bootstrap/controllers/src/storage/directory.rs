//! The directory of all volumes, and what is made and taken away in it. Every path is one name below a directory that is open; no
//! symbolic link is followed, and nothing outside is touched, whatever lies in it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::decide::{is_label, is_subdomain};
use super::record::Record;
use super::tree;
use crate::name::Name;

/// Where what is being removed lies. No namespace's name begins with a dot.
const DELETED: &str = ".deleted";
/// What the temporary names of new directories and records begin with; the volume's name follows.
const NEW: &str = ".new-";
/// Of volumes: anybody may write. Their parent's mode keeps other users of the machine out.
const OPEN_TO_ALL: Mode = Mode::from_raw_mode(0o777);
const OWN: Mode = Mode::from_raw_mode(0o700);
/// The longest record that is read; those that are written are far shorter.
const MAX_RECORD_BYTES: u64 = 64 << 10;

/// What was found of a volume's data when it was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retired {
    /// It was the volume's, and is out of the way.
    Moved,
    /// No record says that the volume owns any.
    NotOwned,
}

/// The directory of all volumes.
#[derive(Debug)]
pub(crate) struct Volumes {
    path: PathBuf,
    root: OwnedFd,
}

impl Volumes {
    /// Opens the directory, which must be there. `path` is what it is called on the node.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let root = fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| format!("cannot open {}", path.display()))?;
        // What an earlier life was about to make, and did not name.
        for name in tree::names(root.as_fd())?.into_iter().filter(|name| name.starts_with(NEW)) {
            clear(root.as_fd(), &name)?;
        }
        Ok(Self { path: path.to_owned(), root })
    }

    /// Returns the path of a claim's directory on the node.
    pub(crate) fn path_of(&self, claim: &Name) -> PathBuf {
        self.path.join(&claim.namespace).join(&claim.name)
    }

    /// Reads the record of a claim's directory. One that cannot be understood is none: then nobody is known to own the data.
    pub(crate) fn record(&self, claim: &Name) -> Result<Option<Record>> {
        match self.namespace(claim)? {
            Some(namespace) => read(namespace.as_fd(), &record_name(claim)),
            None => Ok(None),
        }
    }

    /// Makes a claim's directory, or takes over the one that is there; first writes down whose it is.
    pub(crate) fn make(&self, claim: &Name, record: &Record) -> Result<()> {
        check(claim, &record.volume)?;
        let root = self.root.as_fd();
        ensure(root, &claim.namespace)?;
        let namespace = subdirectory(root, &claim.namespace)?
            .with_context(|| format!("the directory {:?} has gone", claim.namespace))?;
        let temporary = format!("{NEW}{}", record.volume);
        self.write(namespace.as_fd(), claim, record, &temporary)?;
        if !is_there(namespace.as_fd(), &claim.name)? {
            // It appears with its mode, or not at all: the mode of one that is there is its user's business.
            clear(root, &temporary)?;
            fs::mkdirat(root, &temporary, OWN).with_context(|| format!("cannot make {temporary}"))?;
            let made = subdirectory(root, &temporary)?.with_context(|| format!("{temporary} has gone"))?;
            fs::fchmod(&made, OPEN_TO_ALL)
                .with_context(|| format!("cannot change the mode of {temporary}"))?;
            fs::renameat_with(root, &temporary, &namespace, &claim.name, RenameFlags::NOREPLACE)
                .with_context(|| format!("cannot name the directory {:?}", claim.name))?;
        }
        sync(namespace.as_fd())?;
        sync(root)
    }

    fn write(&self, namespace: BorrowedFd<'_>, claim: &Name, record: &Record, temporary: &str) -> Result<()> {
        let root = self.root.as_fd();
        clear(root, temporary)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(root, temporary, flags, Mode::from_raw_mode(0o600));
        let mut file = File::from(file.with_context(|| format!("cannot make {temporary}"))?);
        let text = serde_json::to_vec(record).context("cannot write the record")?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {temporary}"))?;
        fs::renameat(root, temporary, namespace, record_name(claim)).context("cannot name the record")?;
        sync(namespace)
    }

    /// Moves a claim's data out of the way, if the record says that it is the volume's, and removes the record.
    pub(crate) fn retire(&self, claim: &Name, volume: &str) -> Result<Retired> {
        check(claim, volume)?;
        let Some(namespace) = self.namespace(claim)? else { return Ok(Retired::NotOwned) };
        let record = record_name(claim);
        if read(namespace.as_fd(), &record)?.is_none_or(|record| record.volume != volume) {
            return Ok(Retired::NotOwned);
        }
        let deleted = self.deleted()?;
        // Something of this name is what an earlier attempt could not remove.
        self.remove_below(deleted.as_fd(), volume)?;
        match fs::renameat_with(&namespace, &claim.name, &deleted, volume, RenameFlags::NOREPLACE) {
            // An earlier attempt got as far as this.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot move {} away", self.path_of(claim).display()));
            }
        }
        // If the record were gone first and the power failed, the data would be the next claim's.
        sync(deleted.as_fd())?;
        sync(namespace.as_fd())?;
        fs::unlinkat(&namespace, &record, AtFlags::empty())
            .with_context(|| format!("cannot remove {record:?}"))?;
        sync(namespace.as_fd())?;
        match fs::unlinkat(&self.root, &claim.namespace, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY | Errno::NOENT) => Ok(Retired::Moved),
            Err(error) => Err(error).with_context(|| format!("cannot remove {:?}", claim.namespace)),
        }
    }

    /// Removes what was moved out of the way under a name.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match subdirectory(self.root.as_fd(), DELETED)? {
            Some(deleted) => self.remove_below(deleted.as_fd(), name),
            None => Ok(()),
        }
    }

    fn remove_below(&self, deleted: BorrowedFd<'_>, name: &str) -> Result<()> {
        tree::remove(deleted, name)
            .with_context(|| format!("cannot remove all of {}", self.path.join(DELETED).join(name).display()))
    }

    /// Returns the names of everything that was moved out of the way and is not removed yet.
    pub(crate) fn remains(&self) -> Result<Vec<String>> {
        match subdirectory(self.root.as_fd(), DELETED)? {
            Some(deleted) => tree::names(deleted.as_fd()).context("cannot list what is to be removed"),
            None => Ok(Vec::new()),
        }
    }

    fn namespace(&self, claim: &Name) -> Result<Option<OwnedFd>> {
        check(claim, "pvc")?;
        subdirectory(self.root.as_fd(), &claim.namespace)
    }

    fn deleted(&self) -> Result<OwnedFd> {
        ensure(self.root.as_fd(), DELETED)?;
        subdirectory(self.root.as_fd(), DELETED)?.with_context(|| format!("the directory {DELETED} has gone"))
    }
}

/// Refuses every name that could mean anything but one entry of a directory. It was decided so before; here it is seen to.
fn check(claim: &Name, volume: &str) -> Result<()> {
    if is_label(&claim.namespace) && is_subdomain(&claim.name) && is_subdomain(volume) {
        return Ok(());
    }
    bail!("{:?}, {:?} and {volume:?} are not all names", claim.namespace, claim.name)
}

/// The record is hidden beside the directory. No claim's name begins with a dot, and the longest has 253 bytes.
fn record_name(claim: &Name) -> String {
    format!(".{}", claim.name)
}

/// Opens a directory that must not be a symbolic link; `None` if there is nothing.
fn subdirectory(parent: BorrowedFd<'_>, name: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(parent, name, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => bail!("{name:?} is there and is not a directory"),
        Err(error) => Err(error).with_context(|| format!("cannot open the directory {name:?}")),
    }
}

fn ensure(parent: BorrowedFd<'_>, name: &str) -> Result<()> {
    match fs::mkdirat(parent, name, OWN) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot make the directory {name:?}")),
    }
}

/// Tells whether there is a directory.
fn is_there(parent: BorrowedFd<'_>, name: &str) -> Result<bool> {
    match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => Ok(true),
        Ok(_) => bail!("{name:?} is there and is not a directory"),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot look at {name:?}")),
    }
}

/// Removes what an earlier attempt left under a temporary name.
fn clear(root: BorrowedFd<'_>, temporary: &str) -> Result<()> {
    tree::remove(root, temporary).with_context(|| format!("cannot remove {temporary}"))
}

fn read(namespace: BorrowedFd<'_>, name: &str) -> Result<Option<Record>> {
    // Opening must neither wait (for a pipe) nor follow.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match fs::openat(namespace, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot open the record {name:?}")),
    };
    if !file.metadata().context("cannot look at a record")?.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(MAX_RECORD_BYTES)
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read the record {name:?}"))?;
    Ok(serde_json::from_slice(&text).ok())
}

fn sync(directory: BorrowedFd<'_>) -> Result<()> {
    fs::fsync(directory).context("cannot sync a directory")
}

#[cfg(test)]
mod tests;
