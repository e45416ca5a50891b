//! Paths inside a root directory: links mean what they mean to a process that has this directory as its root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Stat, readlinkat, statat};
use rustix::io::Errno;

use crate::error::{BuildError, IoDoing, Result};

/// Linux's own limit.
const MAX_LINKS: usize = 40;

/// A directory that is some process's root. Nobody else changes it meanwhile: it is a mount of our own, a finished
/// layer, or the user's context, whose user could read what we read.
#[derive(Clone, Debug)]
pub(crate) struct Root(PathBuf);

/// A path below a root, resolved: no component of it is a link, and it need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inside(Vec<u8>);

impl Root {
    pub(crate) fn new(directory: &Path) -> Self {
        Self(directory.to_path_buf())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path on the machine.
    pub(crate) fn full(&self, inside: &Inside) -> PathBuf {
        self.0.join(OsStr::from_bytes(&inside.0))
    }

    /// Inspects a resolved path; nothing if it is not there.
    pub(crate) fn stat(&self, inside: &Inside) -> Result<Option<Stat>> {
        match statat(CWD, self.full(inside), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error).doing("inspect", self.full(inside)),
        }
    }

    /// Resolves a path, following every link; what is missing of it is taken as it is.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Inside> {
        let mut resolved = Inside(Vec::new());
        let mut rest: Vec<Vec<u8>> = components(path).rev().collect();
        let mut links = 0;
        while let Some(component) = rest.pop() {
            if component == b".." {
                resolved = resolved.parent();
                continue;
            }
            let next = resolved.join(&component);
            let is_link = self.stat(&next)?.is_some_and(|stat| kind(&stat) == FileType::Symlink);
            if !is_link {
                resolved = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                let path = String::from_utf8_lossy(path);
                return Err(BuildError::failed(format!(
                    "{path}: too many symbolic links, or a circle of them"
                )));
            }
            let full = self.full(&next);
            let target = readlinkat(CWD, &full, Vec::new()).doing("read", &full)?.into_bytes();
            if target.starts_with(b"/") {
                resolved = Inside(Vec::new());
            }
            rest.extend(components(&target).rev());
        }
        Ok(resolved)
    }
}

impl Inside {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn join(&self, name: &[u8]) -> Self {
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path)
    }

    pub(crate) fn parent(&self) -> Self {
        let slash = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Self(self.0[..slash].to_vec())
    }

    pub(crate) fn name(&self) -> &[u8] {
        self.0.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
    }
}

/// Splits a path into its components, without the empty ones and `.`.
fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> + '_ {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_inside() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        for (link, target) in [
            ("lib", "usr/lib"),
            ("abs", "/usr/lib"),
            ("out", "../../../../etc"),
            ("absout", "/../../etc"),
            ("dangling", "missing/x"),
            ("loop", "loop"),
            ("usr/up", ".."),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let root = Root::new(&root);
        for (path, expected) in [
            ("/", ""),
            ("lib/x", "usr/lib/x"),
            ("abs", "usr/lib"),
            ("out/passwd", "etc/passwd"),
            ("absout", "etc"),
            ("dangling/y", "missing/x/y"),
            ("usr/up/lib", "usr/lib"),
            ("a/../../b", "b"),
            ("./usr//lib/.", "usr/lib"),
        ] {
            assert_eq!(root.resolve(path.as_bytes()).unwrap().as_bytes(), expected.as_bytes(), "{path}");
        }
        assert!(root.resolve(b"loop").is_err());
    }
}
