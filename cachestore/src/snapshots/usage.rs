//! What a tree takes on the disk.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Error, IoContext, Result};

/// What a snapshot takes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of blocks.
    pub size_bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

/// Adds up a tree that may be changing: what disappears meanwhile is not counted, nor what lies deeper than paths reach.
pub(super) fn of_tree(root: &Path) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let metadata = std::fs::symlink_metadata(&directory);
        let entries =
            match metadata.and_then(|metadata| Ok((metadata.blocks(), std::fs::read_dir(&directory)?))) {
                Ok((blocks, entries)) => {
                    usage.size_bytes += blocks * 512;
                    usage.inodes += 1;
                    entries
                }
                Err(error) if is_out_of_reach(&error) && directory != root => continue,
                Err(error) => return Err(Error::io("read", directory, error)),
            };
        for entry in entries {
            let entry = entry.at("read", &directory)?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => directories.push(entry.path()),
                Ok(metadata) if metadata.nlink() > 1 && !seen.insert((metadata.dev(), metadata.ino())) => {}
                Ok(metadata) => {
                    usage.size_bytes += metadata.blocks() * 512;
                    usage.inodes += 1;
                }
                Err(error) if is_out_of_reach(&error) => {}
                Err(error) => return Err(Error::io("inspect", entry.path(), error)),
            }
        }
    }
    Ok(usage)
}

/// A container must not be able to spoil the sum by removing a file, or by making one that no path can name.
fn is_out_of_reach(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NAMETOOLONG.raw_os_error())
}
