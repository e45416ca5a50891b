//! One member of a tar archive, as every dialect says it (POSIX ustar and PAX, GNU, old V7).

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Linux's PATH_MAX: nothing longer can be opened.
pub(super) const MAX_PATH_BYTES: usize = 4096;
/// Linux's XATTR_SIZE_MAX.
pub(super) const MAX_XATTR_BYTES: usize = 64 << 10;

/// What errors call a member.
pub(super) const ENTRY: &str = "archive entry";
/// So much of a name is shown in an error.
const MAX_SHOWN_BYTES: usize = 512;

/// What kind of file a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// Target, byte for byte.
    Symlink(Vec<u8>),
    /// Path of the file in the same archive.
    Hardlink(EntryPath),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// A member's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: EntryPath,
    pub(super) kind: Kind,
    /// Permissions and set-id bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes of content that follow the header.
    pub(crate) stored_size: u64,
    /// Where those bytes belong, if they are not the whole file.
    pub(super) sparse: Option<super::sparse::Map>,
}

impl Entry {
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// Tells whether it is a file whose content is stored in one piece.
    pub(crate) fn is_plain_file(&self) -> bool {
        self.kind == Kind::File && self.sparse.is_none()
    }
}

/// Seconds and nanoseconds since 1970; before it, the nanoseconds still count forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

/// A path inside a layer: components only, none of them empty, `.` or `..`; the root has no components.
///
/// The one constructor is what keeps an archive from naming anything outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryPath(Vec<u8>);

impl EntryPath {
    /// Parses a name of an archive; leading `/` and `./` are dropped, as every tar does.
    pub(super) fn parse(name: &[u8]) -> Result<Self> {
        let refuse = |problem: &str| Err(Error::invalid(ENTRY, shown(name), problem));
        if name.len() > MAX_PATH_BYTES {
            return refuse("its name is longer than a path may be");
        }
        if name.contains(&0) {
            return refuse("its name contains a NUL byte");
        }
        let mut path = Vec::with_capacity(name.len());
        for component in name.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return refuse("its name leads out of the layer"),
                component => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(component);
                }
            }
        }
        Ok(Self(path))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the directory that holds it, and its name there; the root has neither.
    pub(super) fn split(&self) -> (Self, &[u8]) {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (Self(self.0[..slash].to_vec()), &self.0[slash + 1..]),
            None => (Self(Vec::new()), &self.0),
        }
    }

    /// Returns the path of an entry in this directory.
    pub(super) fn join(&self, name: &[u8]) -> Self {
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path)
    }

    /// Returns the part below `directory`, with its leading slash, or nothing for the directory itself.
    pub(super) fn below(&self, directory: &[u8]) -> Option<&[u8]> {
        let rest = self.0.strip_prefix(directory)?;
        (rest.is_empty() || rest[0] == b'/').then_some(rest)
    }

    pub(super) fn display(&self) -> String {
        shown(&self.0)
    }
}

/// Returns a name of an archive as errors show it: they travel in headers, which are short.
pub(super) fn shown(name: &[u8]) -> String {
    match name.get(..MAX_SHOWN_BYTES) {
        Some(start) if start.len() < name.len() => format!("{}…", String::from_utf8_lossy(start)),
        _ => String::from_utf8_lossy(name).into_owned(),
    }
}

/// Tells which extended attributes travel in layers: see the crate's decisions.
pub(super) fn is_portable_xattr(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (name, expected) in [
            (&b"a/b"[..], Some(&b"a/b"[..])),
            (b"./a//b/", Some(b"a/b")),
            (b"/etc/passwd", Some(b"etc/passwd")),
            (b"./", Some(b"")),
            (b"", Some(b"")),
            (b"\xff\xfe", Some(b"\xff\xfe")),
            (b"..a/b..", Some(b"..a/b..")),
            (b"../a", None),
            (b"a/../../b", None),
            (b"a/..", None),
            (b"a\0b", None),
            (&[b'a'; 5000], None),
        ] {
            let parsed = EntryPath::parse(name).ok();
            assert_eq!(
                parsed.as_ref().map(EntryPath::as_bytes),
                expected,
                "{:?}",
                String::from_utf8_lossy(name)
            );
        }
    }

    #[test]
    fn paths_split_and_join() {
        let path = EntryPath::parse(b"a/b/c").unwrap();
        let (parent, name) = path.split();
        assert_eq!((parent.as_bytes(), name), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(parent.join(name), path);
        assert_eq!(path.below(b"a/b"), Some(&b"/c"[..]));
        assert_eq!(path.below(b"a/b/c"), Some(&b""[..]));
        assert_eq!(path.below(b"a/bb"), None);
        assert_eq!(path.below(b"a/"), None);
    }
}
