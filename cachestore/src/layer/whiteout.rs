//! The two ways to say that something below is gone: overlayfs's in trees, and the image specification's in tars.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, Mode, XattrFlags, makedev, mknodat};

/// The prefix of a whiteout's name in a tar (OCI image specification, layer.md, "Whiteouts").
pub(super) const PREFIX: &[u8] = b".wh.";
/// In a tar, says that nothing of the lower layers shows in this directory.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";
/// What else starts so is AUFS's own.
const METADATA: &[u8] = b".wh..wh.";
/// In a tree, says the same, with the value `y`.
pub(super) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// What the name of a tar's member means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// It is a file's name.
    Plain,
    /// The file of this name is gone.
    Removed(&'a [u8]),
    /// The lower layers' content of the directory is gone.
    Opaque,
}

/// Reads a member's name.
pub(super) fn meaning(name: &[u8]) -> Meaning<'_> {
    match name.strip_prefix(PREFIX) {
        None => Meaning::Plain,
        Some(_) if name == OPAQUE => Meaning::Opaque,
        Some(removed) => Meaning::Removed(removed),
    }
}

/// Tells whether a member is metadata of AUFS, which means nothing here: `.wh..wh.plnk/1.2` and the like.
pub(super) fn is_ignored(path: &[u8]) -> bool {
    let is_metadata = |name: &[u8]| name.starts_with(METADATA) && name != OPAQUE;
    path.split(|&byte| byte == b'/').any(is_metadata)
}

/// Tells whether a file of a tree is overlayfs's whiteout.
pub(super) fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Makes a whiteout in a directory of a tree.
pub(super) fn create(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
}

/// Makes a directory of a tree opaque.
pub(super) fn make_opaque(directory: impl AsFd) -> rustix::io::Result<()> {
    rustix::fs::fsetxattr(directory, OPAQUE_XATTR, b"y", XattrFlags::empty())
}

/// Tells whether a directory of a tree is opaque.
pub(super) fn is_opaque(directory: impl AsFd) -> rustix::io::Result<bool> {
    let mut value = [0; 2];
    match rustix::fs::fgetxattr(directory, OPAQUE_XATTR, &mut value) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::RANGE) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_specifications_meaning() {
        for (name, expected) in [
            (&b"a"[..], Meaning::Plain),
            (b".wh", Meaning::Plain),
            (b".wh.a", Meaning::Removed(b"a")),
            (b".wh..wh..opq", Meaning::Opaque),
            (b".wh.", Meaning::Removed(b"")),
        ] {
            assert_eq!(meaning(name), expected);
        }
    }

    #[test]
    fn what_aufs_left_is_ignored() {
        for (path, expected) in [
            (&b"a/.wh..wh.plnk"[..], true),
            (b".wh..wh.plnk/12.3", true),
            (b".wh..wh.orph/a/b", true),
            (b"a/.wh..wh..opq", false),
            (b"a/.wh..wh", false),
            (b"a/.wh.b/c", false),
            (b"a/b", false),
        ] {
            assert_eq!(is_ignored(path), expected, "{}", String::from_utf8_lossy(path));
        }
    }
}
