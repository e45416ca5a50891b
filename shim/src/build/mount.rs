//! Overlay mounts for builds, in shimd's own mount namespace.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use builder::{HostError, Mounted, Stack};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, move_mount, unmount,
};

/// Options that make an upper directory a layer that is valid in any stack, and without which a build would wait for the
/// disk: nothing that is lost by a power failure during a step is ever committed.
const PLAIN: [(&str, &str); 3] = [("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow")];

/// A mount, and the directory that was made for it.
#[derive(Debug)]
pub(super) struct OverlayMount {
    path: PathBuf,
    is_mounted: bool,
}

impl OverlayMount {
    /// Mounts a stack at a directory that is made for it.
    pub(super) fn new(stack: &Stack, path: PathBuf) -> io::Result<Self> {
        std::fs::create_dir(&path)?;
        let mut made = Self { path, is_mounted: false };
        match mount_step_by_step(stack, &made.path) {
            // Kernels before 6.7 take the lower directories only in one string.
            Err(Errno::INVAL | Errno::NOSYS) => mount_at_once(stack, &made.path)?,
            result => result?,
        }
        made.is_mounted = true;
        Ok(made)
    }

    fn end(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_mounted) {
            unmount(&self.path, UnmountFlags::empty())?;
        }
        std::fs::remove_dir(&self.path)
    }
}

impl Mounted for OverlayMount {
    fn path(&self) -> &Path {
        &self.path
    }

    fn unmount(mut self: Box<Self>) -> Result<(), HostError> {
        Ok(self.end()?)
    }
}

impl Drop for OverlayMount {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(error) = self.end()
        {
            // It goes with the namespace at the latest.
            tracing::warn!(path = %self.path.display(), %error, "cannot unmount a build's filesystem");
        }
    }
}

/// One directory after the other: there is no limit to the length of their names together.
fn mount_step_by_step(stack: &Stack, path: &Path) -> Result<(), Errno> {
    let filesystem = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let filesystem = filesystem.as_fd();
    for lower in &stack.lower {
        fsconfig_set_string(filesystem, "lowerdir+", lower.as_path())?;
    }
    for (name, value) in PLAIN {
        fsconfig_set_string(filesystem, name, value)?;
    }
    let mut attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    if let Some(upper) = &stack.upper {
        fsconfig_set_string(filesystem, "upperdir", upper.directory.as_path())?;
        fsconfig_set_string(filesystem, "workdir", upper.work.as_path())?;
        fsconfig_set_flag(filesystem, "volatile")?;
        attributes = MountAttrFlags::empty();
    }
    fsconfig_create(filesystem)?;
    let mounted = fsmount(filesystem, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(mounted.as_fd(), "", rustix::fs::CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// The options of mount(2), which have to fit a page.
fn mount_at_once(stack: &Stack, path: &Path) -> io::Result<()> {
    let mut options: Vec<u8> = PLAIN
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(",")
        .into_bytes();
    let mut flags = MountFlags::RDONLY;
    if let Some(upper) = &stack.upper {
        options.extend_from_slice(b",volatile,upperdir=");
        options.extend_from_slice(upper.directory.as_os_str().as_bytes());
        options.extend_from_slice(b",workdir=");
        options.extend_from_slice(upper.work.as_os_str().as_bytes());
        flags = MountFlags::empty();
    }
    options.extend_from_slice(b",lowerdir=");
    let lower: Vec<&[u8]> = stack.lower.iter().map(|path| path.as_os_str().as_bytes()).collect();
    options.extend_from_slice(&lower.join(&b':'));
    let options = CString::new(options).map_err(io::Error::other)?;
    Ok(mount("overlay", path, "overlay", flags, Some(options.as_c_str()))?)
}
