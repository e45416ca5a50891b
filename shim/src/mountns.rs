//! A mount namespace of our own, for the mounts of builds.

use std::io;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves this process into a mount namespace that is a slave of the one it was in: what is mounted here is seen nowhere
/// else and goes when the process ends, and what the machine mounts later is seen here.
///
/// # Errors
/// Those of unshare(2) and mount(2): without CAP_SYS_ADMIN neither works.
pub(crate) fn enter() -> io::Result<()> {
    // SAFETY: `main` calls this before it starts any thread, and CLONE_NEWNS does not touch file descriptors.
    #[expect(unsafe_code, reason = "rustix cannot know that there is only one thread; see SAFETY")]
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNS)?;
    }
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}
