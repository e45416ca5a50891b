//! Takes out of a step's tree what the step touched without changing it, so that it is not part of the layer.
//!
//! Overlayfs copies a directory up when a file in it is made, and leaves it there when the file is removed; a copy onto
//! an identical file leaves another identical file. BuildKit's differ passes over both.
//!
//! Hard links stay or go together: a file with several names is the same only if all of them are here, and are the names
//! of one file below, too.

use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, openat, readlinkat, utimensat};

use super::entry::EntryPath;
use super::lower::{Seen, look};
use super::whiteout;
use crate::disk::fault;
use crate::error::{IoContext, Result};

const BUFFER_BYTES: usize = 64 << 10;
/// What lies deeper is no copy-up worth a search; it stays in the layer. Each level takes stack and a descriptor.
const MAX_DEPTH: usize = 128;

/// Removes from `tree` what is the same in the trees below (top first).
pub(super) fn unchanged(tree: &Path, below: &[PathBuf]) -> Result<()> {
    if below.is_empty() {
        return Ok(());
    }
    let root = EntryPath::parse(b"")?;
    let mut pruner = Pruner { tree, below, names: HashMap::new(), same: HashSet::new() };
    pruner.directory(&root, 0)?;
    // What all names of a file say is known only now.
    let whole = |names: &&Names| names.same == names.links && names.lower.len() == 1;
    pruner.same = pruner.names.iter().filter(|(_, names)| whole(names)).map(|(file, _)| *file).collect();
    if !pruner.same.is_empty() {
        pruner.directory(&root, 0)?;
    }
    Ok(())
}

/// Device and inode.
type FileId = (u64, u64);

struct Pruner<'a> {
    tree: &'a Path,
    below: &'a [PathBuf],
    /// Files that have several names.
    names: HashMap<FileId, Names>,
    /// Those of them that are the same below under all of their names.
    same: HashSet<FileId>,
}

/// What was found of the names of a file.
#[derive(Default)]
struct Names {
    links: u64,
    /// How many of them are the same below.
    same: u64,
    /// The files below whose names they are.
    lower: HashSet<FileId>,
}

impl Pruner<'_> {
    fn full(&self, path: &EntryPath) -> PathBuf {
        self.tree.join(std::ffi::OsStr::from_bytes(path.as_bytes()))
    }

    /// Prunes what is in a directory, `depth` levels below the root; tells whether anything is left.
    fn directory(&mut self, path: &EntryPath, depth: usize) -> Result<bool> {
        let full = self.full(path);
        // What is below does not show here, be it ever so much the same.
        if depth > MAX_DEPTH || is_opaque(&full)? {
            return Ok(true);
        }
        let before = std::fs::symlink_metadata(&full).at("inspect", &full)?;
        let (mut is_empty, mut is_changed) = (true, false);
        for entry in std::fs::read_dir(&full).at("read", &full)? {
            let entry = entry.at("read", &full)?;
            let child = path.join(&entry.file_name().into_vec());
            let metadata = entry.metadata().at("inspect", entry.path())?;
            let is_same = if metadata.is_dir() {
                !self.directory(&child, depth + 1)? && self.is_same_directory(&child, &metadata)?
            } else {
                self.is_same_file(&child, &metadata)?
            };
            match (is_same, metadata.is_dir()) {
                (true, true) => std::fs::remove_dir(entry.path()).at("remove", entry.path())?,
                (true, false) => std::fs::remove_file(entry.path()).at("remove", entry.path())?,
                (false, _) => is_empty = false,
            }
            is_changed |= is_same;
            if is_same {
                fault::point("unchanged file removed");
            }
        }
        if is_changed {
            restore_times(&full, &before).at("set times of", &full)?;
        }
        Ok(!is_empty)
    }

    /// An empty directory is what it was if it has owner, mode and attributes of the one below; its time does not count.
    fn is_same_directory(&self, path: &EntryPath, metadata: &Metadata) -> Result<bool> {
        let Some(seen) = look(self.below, path)? else { return Ok(false) };
        if !same_owner_and_mode(&seen, metadata) {
            return Ok(false);
        }
        let full = self.full(path);
        let upper = File::open(&full).at("open", &full)?;
        let lower = open(&seen).at("open", &full)?;
        same_attributes(&upper, &lower, &full)
    }

    /// Tells whether a file is to go. One with several names is noted, and goes when all of them are known.
    fn is_same_file(&mut self, path: &EntryPath, metadata: &Metadata) -> Result<bool> {
        let file = (metadata.dev(), metadata.ino());
        if self.same.contains(&file) {
            return Ok(true);
        }
        let Some(lower) = self.lower_twin(path, metadata)? else { return Ok(false) };
        if metadata.nlink() > 1 {
            let names = self.names.entry(file).or_default();
            names.links = metadata.nlink();
            names.same += 1;
            names.lower.insert(lower);
        }
        Ok(metadata.nlink() == 1)
    }

    /// Returns the file below that this one is the same as.
    fn lower_twin(&self, path: &EntryPath, metadata: &Metadata) -> Result<Option<FileId>> {
        let Some(seen) = look(self.below, path)? else { return Ok(None) };
        Ok(self.is_twin(&seen, path, metadata)?.then_some((seen.stat.st_dev, seen.stat.st_ino)))
    }

    fn is_twin(&self, seen: &Seen, path: &EntryPath, metadata: &Metadata) -> Result<bool> {
        let stat = &seen.stat;
        let same_time =
            (stat.st_mtime, stat.st_mtime_nsec.cast_signed()) == (metadata.mtime(), metadata.mtime_nsec());
        let same_size = stat.st_size == metadata.len().cast_signed() && stat.st_rdev == metadata.rdev();
        if !same_owner_and_mode(seen, metadata)
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
                let lower = File::from(open(seen).at("open", &full)?);
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

/// The time at which something was taken out of a directory is not the step's.
fn restore_times(directory: &Path, before: &Metadata) -> rustix::io::Result<()> {
    let last_access = Timespec { tv_sec: before.atime(), tv_nsec: before.atime_nsec() };
    let last_modification = Timespec { tv_sec: before.mtime(), tv_nsec: before.mtime_nsec() };
    let times = Timestamps { last_access, last_modification };
    utimensat(CWD, directory, &times, AtFlags::SYMLINK_NOFOLLOW)
}

fn is_opaque(directory: &Path) -> Result<bool> {
    let fd = File::open(directory).at("open", directory)?;
    whiteout::is_opaque(fd).at("read extended attributes of", directory)
}

fn same_owner_and_mode(seen: &Seen, metadata: &Metadata) -> bool {
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
        put(&base.join("new/same"), "x", 5);
        put(&upper.join("new/same"), "x", 5);
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(7);
        File::open(upper.join("new")).unwrap().set_modified(time).unwrap();
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
        assert!(upper.join("new/deep/file").exists() && !upper.join("new/same").exists());
        assert_eq!(fs::metadata(upper.join("new")).unwrap().modified().unwrap(), time);
    }

    /// Makes files, and more names for them.
    fn linked(tree: &Path, files: &[(&str, &[&str])]) {
        for (first, others) in files {
            put(&tree.join(first), "x", 5);
            for other in *others {
                fs::create_dir_all(tree.join(other).parent().unwrap()).unwrap();
                fs::hard_link(tree.join(first), tree.join(other)).unwrap();
            }
        }
    }

    #[test]
    fn hard_links_go_together_or_stay() {
        for (what, below, above, left) in [
            ("whole", &[("d/a", &["e/b"][..])][..], &[("d/a", &["e/b"][..])][..], &[][..]),
            ("two groups", &[("a", &["b"]), ("c", &["d"])], &[("a", &["b"]), ("c", &["d"])], &[]),
            ("one name missing above", &[("a", &["b", "c"])], &[("a", &["b"])], &["a", "b"]),
            ("one name more above", &[("a", &["b"])], &[("a", &["b", "c"])], &["a", "b", "c"]),
            ("not linked below", &[("a", &[]), ("b", &[])], &[("a", &["b"])], &["a", "b"]),
            ("not linked above", &[("a", &["b"])], &[("a", &[]), ("b", &[])], &["a", "b"]),
            (
                "crossed",
                &[("a", &["b"]), ("c", &["d"])],
                &[("a", &["c"]), ("b", &["d"])],
                &["a", "b", "c", "d"],
            ),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let (upper, lower) = (directory.path().join("u"), directory.path().join("l"));
            fs::create_dir(&lower).unwrap();
            fs::create_dir(&upper).unwrap();
            linked(&lower, below);
            linked(&upper, above);
            unchanged(&upper, &[lower]).unwrap();
            let mut names: Vec<_> =
                fs::read_dir(&upper).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, left, "{what}");
        }
    }

    #[test]
    fn what_is_too_deep_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (upper, lower) = (directory.path().join("u"), directory.path().join("l"));
        for tree in [&upper, &lower] {
            fs::create_dir_all(tree.join("d/".repeat(MAX_DEPTH - 1))).unwrap();
            fs::create_dir_all(tree.join("e/".repeat(MAX_DEPTH + 20))).unwrap();
        }
        unchanged(&upper, &[lower]).unwrap();
        assert!(!upper.join("d").exists() && upper.join("e/".repeat(MAX_DEPTH + 20)).exists());
    }

    #[test]
    fn on_nothing_everything_is_new() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("empty")).unwrap();
        unchanged(directory.path(), &[]).unwrap();
        assert!(directory.path().join("empty").exists());
    }
}
