//! Directories: the instance's own, and those of the machine that the box covers with others.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, lgetxattr, setxattr};
use rustix::io::Errno;

use crate::error::{IoContext, Result};
use crate::fault;
use crate::files;
use crate::mounts;
use crate::node::Node;
use crate::paths::Paths;
use crate::step::link::NetworkLock;

/// Marks a directory of the machine that an instance made. Every instance uses it, and the last one removes it.
const MARK: &str = "trusted.shim.made";

pub(crate) fn check(node: &Node) -> Result<bool> {
    Ok(own(&node.paths).iter().all(|(path, _)| path.is_dir())
        && mounts::mount_points(node.state.get().kubernetes).all(Path::is_dir))
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    for (path, mode) in own(&node.paths) {
        files::ensure_directory(&path, mode)?;
    }
    fault::point("own directories are there");
    let _lock = NetworkLock::take().await?;
    mounts::mount_points(node.state.get().kubernetes).try_for_each(ensure_mount_point)
}

/// Returns the instance's directories and their modes. Others may pass through where sockets or containers are reached.
fn own(paths: &Paths) -> [(PathBuf, u32); 5] {
    [
        (paths.root().to_path_buf(), 0o711),
        (paths.box_dir(), 0o700),
        (paths.log_dir(), 0o700),
        (paths.run(), 0o755),
        (paths.containerd_run(), 0o711),
    ]
}

pub(crate) async fn undo(node: &Node) -> Result<()> {
    {
        let _lock = NetworkLock::take().await?;
        let used = mounted_elsewhere();
        let points: Vec<&Path> =
            mounts::mount_points(true).filter(|point| !used.contains(&point.to_path_buf())).collect();
        points.into_iter().try_for_each(remove_mount_point)?;
    }
    fault::point("mount points are gone");
    let paths = &node.paths;
    // What was made for the box is worth nothing without it; logs of pods are kept.
    files::remove_tree(&paths.networks())?;
    files::remove_tree(&paths.box_dir().join("overlay"))?;
    fault::point("what was made for the box is gone");
    // The socket of this service goes last: until everything else is undone it can be asked again.
    let entries = std::fs::read_dir(paths.run()).into_iter().flatten().filter_map(std::result::Result::ok);
    for entry in entries.filter(|entry| entry.path() != paths.lifecycle_socket()) {
        match entry.file_type().at("examine", entry.path())?.is_dir() {
            true => files::remove_tree(&entry.path())?,
            false => files::remove(&entry.path())?,
        }
    }
    Ok(())
}

/// Removes what this service needs to be reached: the very last of everything.
pub(crate) fn remove_run(paths: &Paths) -> Result<()> {
    files::remove_tree(&paths.run())
}

fn ensure_mount_point(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let (Some(parent), Some(temporary)) = (path.parent(), temporary(path)) else { return Ok(()) };
    if !parent.is_dir() {
        ensure_mount_point(parent)?;
    }
    // It appears with its mark, so that no moment exists at which somebody could be killed and leave it without.
    files::remove_if_empty(&temporary)?;
    std::fs::DirBuilder::new().mode(mounts::MOUNT_POINT_MODE).create(&temporary).at("create", &temporary)?;
    fault::point("a mount point has no mark yet");
    setxattr(&temporary, MARK, b"1", XattrFlags::empty()).at("mark", &temporary)?;
    fault::point("a mount point has no name yet");
    #[expect(clippy::disallowed_methods, reason = "an empty directory need not survive a power failure")]
    std::fs::rename(&temporary, path).at("rename", &temporary)
}

/// Returns the name of a mount point while it has no mark.
fn temporary(path: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".shim-");
    name.push(path.file_name()?);
    Some(path.with_file_name(name))
}

/// Removes a directory that an instance made, and what it made above it, if nothing is in it.
fn remove_mount_point(path: &Path) -> Result<()> {
    let (Some(parent), Some(temporary)) = (path.parent(), temporary(path)) else { return Ok(()) };
    files::remove_if_empty(&temporary)?;
    let is_gone = match lgetxattr(path, MARK, &mut [0; 1][..]) {
        Ok(_) => files::remove_if_empty(path)?,
        Err(error) => error == Errno::NOENT,
    };
    if is_gone { remove_mount_point(parent) } else { Ok(()) }
}

/// Lists what is mounted on in other mount namespaces: removing such a directory would take the mount away there.
fn mounted_elsewhere() -> BTreeSet<PathBuf> {
    let namespace =
        |process: &str| std::fs::metadata(format!("/proc/{process}/ns/mnt")).map(|m| m.ino()).ok();
    let mut seen = BTreeSet::new();
    let mut found = BTreeSet::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(std::result::Result::ok);
    for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
        if !name.bytes().all(|byte| byte.is_ascii_digit())
            || !namespace(&name).is_some_and(|ns| seen.insert(ns))
        {
            continue;
        }
        let mounts = files::read(format!("/proc/{name}/mountinfo")).unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
        found.extend(points.filter(|point| mounts::covering(point).is_some()).map(Path::to_path_buf));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As root, marks can be set; otherwise nothing is made, and nothing is to be removed.
    #[test]
    fn what_was_made_halfway_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let parent = directory.path().join("run");
        let point = parent.join("netns");
        std::fs::create_dir(&parent).unwrap();
        // Somebody was killed before the mark was set.
        std::fs::create_dir(temporary(&point).unwrap()).unwrap();
        remove_mount_point(&point).unwrap();
        assert_eq!(std::fs::read_dir(&parent).unwrap().count(), 0);
        // It is somebody else's, empty or not.
        std::fs::create_dir(&point).unwrap();
        remove_mount_point(&point).unwrap();
        assert!(point.is_dir());
    }
}
