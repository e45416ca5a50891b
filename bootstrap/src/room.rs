//! Room on the disk: whether a first cluster has a chance, what is said of a full disk, and what is kept for one.
//!
//! An instance that was taken down on a full disk could not come up again, not even to remove images. So there is a reserve: a file
//! that is removed for that.

use std::fs::OpenOptions;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tokio::time::{Instant, sleep};

use crate::error::{Error, IoContext, Result};
use crate::files;
use crate::paths::Paths;

/// What the images and programs of Kubernetes take, with the data of a new cluster.
const FIRST_CLUSTER_MB: u64 = 1_500;
/// Bytes in a megabyte, as disks are sold.
const MB: u64 = 1_000_000;
/// What a disk that counts as full has left at most. A database that grows takes as much at once.
const FULL_BYTES: u64 = 16 << 20;
/// How long a part that comes up on a full disk is waited for: etcd, for one, ends again and again, and no part fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the disk is looked at meanwhile.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How large the reserve is: enough for box, shimd and containerd, whose logs and databases grow a little.
const RESERVE_BYTES: u64 = 32 << 20;
/// The reserve is made where there is this much: who has less needs it for other things.
const AMPLE_BYTES: u64 = 10 * RESERVE_BYTES;

/// Checks that there is room for a first cluster. Once its components are being put in place there is no telling what they still take:
/// then whoever writes says that the disk is full.
///
/// # Errors
/// There is not; with how much is missing, and where.
pub(crate) fn check(paths: &Paths) -> Result<()> {
    if paths.bin().exists() {
        return Ok(());
    }
    let free_mb = free(paths)? / MB;
    let Some(missing_mb) = FIRST_CLUSTER_MB.checked_sub(free_mb).filter(|missing| *missing > 0) else {
        return Ok(());
    };
    let place = paths.root().display();
    Err(Error::Lacking {
        missing: vec![format!(
            "{missing_mb} MB on the disk of {place}: a first cluster needs {FIRST_CLUSTER_MB} MB, {free_mb} MB are free"
        )],
        remedy: "free some space there, or use a directory on another disk: shimctl --root DIR up".into(),
    })
}

/// Says that the disk is full, if it is.
pub(crate) fn remark(paths: &Paths) -> Option<String> {
    let is_full = free(paths).is_ok_and(|free| free < FULL_BYTES);
    is_full.then(|| Error::NoSpace { path: paths.root().to_path_buf() }.to_string())
}

/// Waits until the disk has been full for a while, and says so. What is started meanwhile may do with what it has.
pub(crate) async fn stays_full(paths: &Paths) -> String {
    let mut since = Instant::now();
    loop {
        match remark(paths) {
            Some(remark) if since.elapsed() >= PATIENCE => return remark,
            Some(_) => {}
            None => since = Instant::now(),
        }
        sleep(LOOK_PERIOD).await;
    }
}

/// Gives the reserve away if the disk is full, before anything is started.
pub(crate) fn open_reserve(paths: &Paths) -> Result<()> {
    let path = paths.reserve();
    if free(paths)? >= RESERVE_BYTES || !path.exists() {
        return Ok(());
    }
    tracing::warn!(reserve = %path.display(), "the disk is full; the reserve is used");
    files::remove(&path)
}

/// Makes the reserve where there is none and room for it.
pub(crate) fn keep_reserve(paths: &Paths) -> Result<()> {
    let path = paths.reserve();
    if path.exists() || free(paths)? < AMPLE_BYTES {
        return Ok(());
    }
    // Half a reserve, of one who was killed, is one too.
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).at("create", &path)?;
    fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES).at("reserve room in", &path)
}

/// Returns how many bytes are free for everybody: what only root may fill, the machine needs.
fn free(paths: &Paths) -> Result<u64> {
    let disk = statvfs(paths.root()).at("examine", paths.root())?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_made_once_and_kept_while_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(directory.path()).unwrap();
        files::ensure_directory(&paths.box_dir(), 0o700).unwrap();
        if free(&paths).unwrap() < AMPLE_BYTES {
            keep_reserve(&paths).unwrap();
            assert!(!paths.reserve().exists());
            return;
        }
        for _ in 0..2 {
            keep_reserve(&paths).unwrap();
            open_reserve(&paths).unwrap();
            assert_eq!(paths.reserve().metadata().unwrap().len(), RESERVE_BYTES);
        }
        assert_eq!(remark(&paths), None);
    }
}
