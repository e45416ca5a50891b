//! The networks that tests go into: a host's, and that of an instance's box.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace. Sockets that are made in it stay in it, whoever uses them.
#[derive(Debug)]
pub struct Network(File);

impl Network {
    /// Opens the network of a process, by its `/proc/PID/ns/net`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self(File::open(path).with_context(|| format!("open {}", path.display()))?))
    }

    /// Does something in it, on a thread of its own.
    ///
    /// # Errors
    /// It cannot be entered; what was done fails.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let enter_and_work = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.0.as_fd(), kind).context("enter a network namespace")?;
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter_and_work).join())
            .map_err(|_| anyhow!("a panic in a network namespace"))?
    }
}
