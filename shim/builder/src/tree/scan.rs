//! Walks a tree: one stat for each file, in the order of names.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use super::{Entry, Identity};
use crate::error::{BuildError, IoDoing, Result};
use crate::ignore::{Ignore, Verdict};
use crate::rooted::{Inside, Root, kind};

/// More files than this are a mistake, such as a home directory as context.
const MAX_ENTRIES: usize = 10_000_000;
const XATTR_LIST_BYTES: usize = 64 << 10;
const XATTR_BYTES: usize = 64 << 10;

/// What of a tree is seen, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Filter<'a> {
    /// A context: without what is ignored, and everything is root's, without extended attributes.
    Context(&'a Ignore),
    /// The root filesystem of a stage or an image: everything, as it is.
    Everything,
}

/// Walks trees below one root.
pub(crate) struct Scanner<'a> {
    pub(crate) root: &'a Root,
    pub(crate) filter: Filter<'a>,
}

/// A directory that is being walked.
struct Level {
    fd: OwnedFd,
    /// The names that are left, in reverse order.
    names: Vec<CString>,
    /// Its path relative to the selection, and to the root.
    path: Vec<u8>,
    inside: Inside,
    verdict: Verdict,
    /// Where it is among the entries.
    index: usize,
    /// Whether it is itself left out, and only there if something in it is not.
    is_shadow: bool,
}

impl Scanner<'_> {
    /// Tells whether a path is left out, and what that means for what is below it.
    pub(crate) fn verdict(&self, path: &Inside) -> Verdict {
        let Filter::Context(ignore) = self.filter else { return Verdict::ROOT };
        let bytes = path.as_bytes();
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
        let ends = ends.chain((!bytes.is_empty()).then_some(bytes.len()));
        ends.fold(Verdict::ROOT, |above, end| ignore.matches(&bytes[..end], &above))
    }

    fn may_include_below(&self, directory: &Inside) -> bool {
        match self.filter {
            Filter::Context(ignore) => ignore.may_include_below(directory.as_bytes()),
            Filter::Everything => true,
        }
    }

    /// Walks the tree at a path; nothing if there is none, or if it is left out.
    pub(crate) fn scan(&self, path: &Inside) -> Result<Option<Vec<Entry>>> {
        let Some(stat) = self.root.stat(path)? else { return Ok(None) };
        let verdict = self.verdict(path);
        let is_directory = kind(&stat) == FileType::Directory;
        if verdict.is_excluded() && !(is_directory && self.may_include_below(path)) {
            return Ok(None);
        }
        let mut walk = Walk { scanner: self, entries: Vec::new(), links: HashMap::new() };
        let full = self.root.full(path);
        if !is_directory {
            let parent = self.root.full(&path.parent());
            let parent = open_directory(CWD, parent.as_os_str()).doing("open", &parent)?;
            let name = CString::new(path.name()).map_err(BuildError::failed)?;
            walk.push(Vec::new(), &stat, parent.as_fd(), &name, &full)?;
            return Ok(Some(walk.entries));
        }
        let fd = open_directory(CWD, full.as_os_str()).doing("open", &full)?;
        walk.push(Vec::new(), &stat, fd.as_fd(), c".", &full)?;
        let level = walk.level(fd, Vec::new(), path.clone(), verdict, 0)?;
        walk.run(level)?;
        Ok((!walk.entries.is_empty()).then_some(walk.entries))
    }
}

struct Walk<'a> {
    scanner: &'a Scanner<'a>,
    entries: Vec<Entry>,
    links: HashMap<(u64, u64), usize>,
}

impl Walk<'_> {
    fn run(&mut self, top: Level) -> Result<()> {
        let mut stack = vec![top];
        while let Some(level) = stack.last_mut() {
            match level.names.pop() {
                Some(name) => {
                    let child = self.child(level, &name)?;
                    stack.extend(child);
                }
                None => {
                    let Some(ended) = stack.pop() else { break };
                    if ended.is_shadow && self.entries.len() == ended.index + 1 {
                        self.entries.pop();
                    }
                }
            }
        }
        Ok(())
    }

    fn level(
        &self,
        fd: OwnedFd,
        path: Vec<u8>,
        inside: Inside,
        verdict: Verdict,
        index: usize,
    ) -> Result<Level> {
        let full = self.scanner.root.full(&inside);
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd).doing("read", &full)? {
            let entry = entry.doing("read", &full)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        let is_shadow = verdict.is_excluded();
        Ok(Level { fd, names, path, inside, verdict, index, is_shadow })
    }

    /// Adds one entry of a directory; returns it if it is a directory to walk.
    fn child(&mut self, level: &Level, name: &CStr) -> Result<Option<Level>> {
        let inside = level.inside.join(name.to_bytes());
        let full = || self.scanner.root.full(&inside);
        let stat = match statat(&level.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed since the directory was read.
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error).doing("inspect", full()),
        };
        let is_directory = kind(&stat) == FileType::Directory;
        let verdict = match self.scanner.filter {
            Filter::Everything => Verdict::ROOT,
            Filter::Context(ignore) if is_directory => ignore.matches(inside.as_bytes(), &level.verdict),
            Filter::Context(ignore) if ignore.excludes(inside.as_bytes(), &level.verdict) => return Ok(None),
            Filter::Context(_) => Verdict::ROOT,
        };
        if kind(&stat) == FileType::Socket
            || (verdict.is_excluded() && !self.scanner.may_include_below(&inside))
        {
            return Ok(None);
        }
        let mut path = level.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let index = self.entries.len();
        if !is_directory {
            return self.push(path, &stat, level.fd.as_fd(), name, &full()).map(|()| None);
        }
        let fd =
            open_directory(level.fd.as_fd(), OsStr::from_bytes(name.to_bytes())).doing("open", full())?;
        self.push(path.clone(), &stat, fd.as_fd(), c".", &full())?;
        self.level(fd, path, inside, verdict, index).map(Some)
    }

    fn push(
        &mut self,
        path: Vec<u8>,
        stat: &Stat,
        parent: BorrowedFd<'_>,
        name: &CStr,
        full: &std::path::Path,
    ) -> Result<()> {
        if self.entries.len() >= MAX_ENTRIES {
            let problem = format!("{} has more than {MAX_ENTRIES} files", self.scanner.root.path().display());
            return Err(
                BuildError::invalid(problem).with_hint("leave out what is not needed with a .dockerignore")
            );
        }
        let link = match kind(stat) {
            FileType::Symlink => readlinkat(parent, name, Vec::new()).doing("read", full)?.into_bytes(),
            _ => Vec::new(),
        };
        let (owner, xattrs) = match self.scanner.filter {
            Filter::Context(_) => ((0, 0), Vec::new()),
            Filter::Everything => ((stat.st_uid, stat.st_gid), xattrs(kind(stat), full)?),
        };
        let mut same_as = None;
        if stat.st_nlink > 1 && kind(stat) == FileType::RegularFile {
            let index = self.entries.len();
            let first = *self.links.entry((stat.st_dev, stat.st_ino)).or_insert(index);
            same_as = (first != index).then_some(first);
        }
        let (mode, device) = (stat.st_mode, stat.st_rdev);
        self.entries.push(Entry {
            path,
            stat: Identity::of(stat),
            mode,
            owner,
            device,
            link,
            xattrs,
            same_as,
        });
        Ok(())
    }
}

fn open_directory(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Reads what a copy keeps: everything but overlayfs's own attributes and those that belong to the machine.
fn xattrs(kind: FileType, path: &std::path::Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return Ok(Vec::new());
    }
    let mut names = vec![0; XATTR_LIST_BYTES];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error).doing("read extended attributes of", path),
    };
    let wanted = |name: &&[u8]| *name == b"security.capability" || name.starts_with(b"user.");
    let mut found = Vec::new();
    for name in names[..length].split(|&byte| byte == 0).filter(wanted) {
        let mut value = vec![0; XATTR_BYTES];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value)
            .doing("read extended attributes of", path)?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(files: &[&str], ignore: &str, at: &str) -> Option<Vec<String>> {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            if file.ends_with('/') {
                std::fs::create_dir_all(&path).unwrap();
            } else {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::File::create(&path).unwrap();
            }
        }
        let root = Root::new(directory.path());
        let ignore = Ignore::parse(ignore.as_bytes()).unwrap();
        let scanner = Scanner { root: &root, filter: Filter::Context(&ignore) };
        let entries = scanner.scan(&root.resolve(at.as_bytes()).unwrap()).unwrap();
        entries.map(|entries| {
            entries.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
        })
    }

    #[test]
    fn what_is_ignored_is_not_there() {
        let files = ["a", "b/c", "b/d/e", "node_modules/x/y", "empty/", "b.txt"];
        let all = [
            "",
            "a",
            "b",
            "b/c",
            "b/d",
            "b/d/e",
            "b.txt",
            "empty",
            "node_modules",
            "node_modules/x",
            "node_modules/x/y",
        ];
        for (ignore, at, expected) in [
            ("", ".", Some(&all[..])),
            ("node_modules\nempty", ".", Some(&["", "a", "b", "b/c", "b/d", "b/d/e", "b.txt"])),
            (
                "b\n!b/d",
                ".",
                Some(&[
                    "",
                    "a",
                    "b",
                    "b/d",
                    "b/d/e",
                    "b.txt",
                    "empty",
                    "node_modules",
                    "node_modules/x",
                    "node_modules/x/y",
                ]),
            ),
            ("*\n!a", ".", Some(&["", "a"])),
            ("b\n!b/zzz", "b", None),
            ("b", "b/c", None),
            ("**/e", "b", Some(&["", "c", "d"])),
            ("", "b/d/e", Some(&[""])),
            ("", "missing", None),
        ] {
            let found = scan(&files, ignore, at);
            let found = found.as_ref().map(|paths| paths.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{ignore:?} {at}");
        }
    }

    #[test]
    fn names_of_one_file_are_one_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::File::create(directory.path().join("a")).unwrap();
        std::fs::hard_link(directory.path().join("a"), directory.path().join("b")).unwrap();
        let root = Root::new(directory.path());
        let scanner = Scanner { root: &root, filter: Filter::Everything };
        let entries = scanner.scan(&root.resolve(b"/").unwrap()).unwrap().unwrap();
        assert_eq!(entries.iter().map(|entry| entry.same_as).collect::<Vec<_>>(), [None, None, Some(1)]);
    }
}
