//! Takes out of a step's tree what the step touched without changing it, so that it is not part of the layer.
//!
//! Overlayfs copies a directory up when a file in it is made, and leaves it there when the file is removed; a copy onto
//! an identical file leaves another identical file. BuildKit's differ passes over both.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, openat, readlinkat};

use super::entry::EntryPath;
use super::lower::{Seen, look};
use super::whiteout;
use crate::error::{IoContext, Result};

const BUFFER_BYTES: usize = 64 << 10;

/// Removes from `tree` what is the same in the trees below (top first).
pub(super) fn unchanged(tree: &Path, below: &[PathBuf]) -> Result<()> {
    if below.is_empty() {
        return Ok(());
    }
    let pruner = Pruner { tree, below };
    pruner.directory(&EntryPath::parse(b"")?).map(drop)
}

struct Pruner<'a> {
    tree: &'a Path,
    below: &'a [PathBuf],
}

impl Pruner<'_> {
    fn full(&self, path: &EntryPath) -> PathBuf {
        self.tree.join(std::ffi::OsStr::from_bytes(path.as_bytes()))
    }

    /// Prunes what is in a directory; tells whether anything is left.
    ///
    /// Recursive: a step's tree is as deep as the paths that its programs used.
    fn directory(&self, path: &EntryPath) -> Result<bool> {
        let full = self.full(path);
        let mut is_empty = true;
        for entry in std::fs::read_dir(&full).at("read", &full)? {
            let entry = entry.at("read", &full)?;
            let child = path.join(&entry.file_name().into_vec());
            let metadata = entry.metadata().at("inspect", entry.path())?;
            let is_same = if metadata.is_dir() {
                !self.directory(&child)? && self.is_same_directory(&child, &metadata)?
            } else {
                self.is_same_file(&child, &metadata)?
            };
            match (is_same, metadata.is_dir()) {
                (true, true) => std::fs::remove_dir(entry.path()).at("remove", entry.path())?,
                (true, false) => std::fs::remove_file(entry.path()).at("remove", entry.path())?,
                (false, _) => is_empty = false,
            }
        }
        Ok(!is_empty)
    }

    /// An empty directory is what it was if it has owner, mode and attributes of the one below; its time does not count.
    fn is_same_directory(&self, path: &EntryPath, metadata: &std::fs::Metadata) -> Result<bool> {
        let Some(seen) = look(self.below, path)? else { return Ok(false) };
        if !same_owner_and_mode(&seen, metadata) {
            return Ok(false);
        }
        let full = self.full(path);
        let upper = File::open(&full).at("open", &full)?;
        let lower = open(&seen).at("open", &full)?;
        let is_opaque = whiteout::is_opaque(&upper).at("read extended attributes of", &full)?;
        Ok(!is_opaque && same_attributes(&upper, &lower, &full)?)
    }

    fn is_same_file(&self, path: &EntryPath, metadata: &std::fs::Metadata) -> Result<bool> {
        let Some(seen) = look(self.below, path)? else { return Ok(false) };
        let stat = &seen.stat;
        let same_time =
            (stat.st_mtime, stat.st_mtime_nsec.cast_signed()) == (metadata.mtime(), metadata.mtime_nsec());
        let same_size = stat.st_size == metadata.len().cast_signed() && stat.st_rdev == metadata.rdev();
        if !same_owner_and_mode(&seen, metadata)
            || !same_time
            || !same_size
            || metadata.nlink() != stat.st_nlink
        {
            return Ok(false);
        }
        let full = self.full(path);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let upper = File::open(&full).at("open", &full)?;
                let lower = File::from(open(&seen).at("open", &full)?);
                Ok(same_attributes(&upper, &lower, &full)? && same_content(upper, lower).at("read", &full)?)
            }
            FileType::Symlink => {
                let target = readlinkat(&seen.parent, &seen.name, Vec::new()).at("read", &full)?;
                Ok(std::fs::read_link(&full).at("read", &full)?.as_os_str().as_bytes() == target.to_bytes())
            }
            _ => Ok(true),
        }
    }
}

fn same_owner_and_mode(seen: &Seen, metadata: &std::fs::Metadata) -> bool {
    let stat = &seen.stat;
    (stat.st_mode, stat.st_uid, stat.st_gid) == (metadata.mode(), metadata.uid(), metadata.gid())
}

fn open(seen: &Seen) -> rustix::io::Result<std::os::fd::OwnedFd> {
    openat(&seen.parent, &seen.name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn same_attributes(
    upper: impl std::os::fd::AsFd,
    lower: impl std::os::fd::AsFd,
    path: &Path,
) -> Result<bool> {
    let upper = super::pack::xattrs(upper.as_fd()).at("read extended attributes of", path)?;
    Ok(upper == super::pack::xattrs(lower.as_fd()).at("read extended attributes of", path)?)
}

fn same_content(mut one: File, mut two: File) -> std::io::Result<bool> {
    let (mut ones, mut twos) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    loop {
        let count = one.read(&mut ones)?;
        if count == 0 {
            return Ok(two.read(&mut twos[..1])? == 0);
        }
        match two.read_exact(&mut twos[..count]) {
            Ok(()) if ones[..count] == twos[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn put(path: &Path, content: &str, seconds: u64) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = File::create(path).unwrap();
        std::io::Write::write_all(&mut file, content.as_bytes()).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    }

    #[test]
    fn only_what_changed_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (upper, top, base) =
            (directory.path().join("u"), directory.path().join("2"), directory.path().join("1"));
        for tree in [&upper, &top, &base] {
            fs::create_dir(tree).unwrap();
        }
        put(&base.join("same"), "x", 5);
        put(&base.join("other-content"), "x", 5);
        put(&base.join("touched"), "x", 5);
        put(&base.join("hidden"), "x", 5);
        put(&base.join("etc/hosts"), "x", 5);
        fs::create_dir_all(base.join("mode")).unwrap();
        symlink("a", base.join("link")).unwrap();
        whiteout::create(std::os::fd::AsFd::as_fd(&File::open(&top).unwrap()), b"hidden").unwrap();

        put(&upper.join("same"), "x", 5);
        put(&upper.join("other-content"), "y", 5);
        put(&upper.join("touched"), "x", 6);
        put(&upper.join("hidden"), "x", 5);
        put(&upper.join("new/deep/file"), "x", 5);
        for path in ["etc", "empty-but-new", "mode"] {
            fs::create_dir_all(upper.join(path)).unwrap();
        }
        fs::set_permissions(upper.join("mode"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("b", upper.join("link")).unwrap();

        unchanged(&upper, &[top, base]).unwrap();
        let mut left: Vec<_> = fs::read_dir(&upper)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["empty-but-new", "hidden", "link", "mode", "new", "other-content", "touched"]);
        assert!(upper.join("new/deep/file").exists());
    }

    #[test]
    fn on_nothing_everything_is_new() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("empty")).unwrap();
        unchanged(directory.path(), &[]).unwrap();
        assert!(directory.path().join("empty").exists());
    }
}
