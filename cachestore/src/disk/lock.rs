//! The lock that makes one process the store's only user.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::disk::fault;
use crate::error::{Error, IoContext, Result};

/// Enough for a holder's description; the rest of a longer file is not shown.
const MAX_HOLDER_BYTES: u64 = 512;

/// The lock, held until dropped or until the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "open for as long as the lock is held")] File);

impl Lock {
    /// Takes the lock and writes down who has it.
    ///
    /// # Errors
    /// [`Error::Busy`] with the holder's own description if another process has it; this never waits.
    pub(crate) fn acquire(store: &Path, path: &Path, holder: &str) -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .at("open", path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::Busy { path: store.to_path_buf(), holder: read_holder(&file, path)? });
            }
            Err(error) => return Err(Error::io("lock", path, error)),
        }
        // Written over, and cut off only then: on a disk that is full, nobody gives back the block of a file that was emptied.
        file.write_all(holder.as_bytes()).at("write", path)?;
        fault::point("lock written over");
        file.set_len(holder.len() as u64).at("truncate", path)?;
        Ok(Self(file))
    }
}

/// Whoever has the lock writes its description a moment later.
fn read_holder(file: &File, path: &Path) -> Result<String> {
    let mut holder = Vec::new();
    file.take(MAX_HOLDER_BYTES).read_to_end(&mut holder).at("read", path)?;
    match String::from_utf8_lossy(&holder).trim() {
        "" => Ok("another process".to_owned()),
        holder => Ok(holder.to_owned()),
    }
}
