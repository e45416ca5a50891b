//! shimd by itself, without box and containerd: enough for images and builds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::command::Command;
use crate::daemon::{Daemon, Signal};
use crate::files;
use crate::host::Host;
use crate::product;

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A running shimd, and the command line that talks to it. It is killed when dropped.
#[derive(Debug)]
pub struct Shimd {
    host: Host,
    root: PathBuf,
    daemon: Daemon,
}

impl Shimd {
    /// Starts shimd with a store of its own and waits until it serves. Registries are those of `/etc/shim/certs.d` of the
    /// host, see [`Registry::mirror`](crate::registry::Registry::mirror).
    ///
    /// # Errors
    /// It is not built, or does not serve; with its log.
    pub fn start(host: &Host) -> Result<Self> {
        let root = host.dir().join("shim");
        let mut shimd = Self { host: host.clone(), daemon: launch(host, &root)?, root };
        shimd.wait_until_ready()?;
        Ok(shimd)
    }

    /// Returns the root directory of the instance: `store`, `run`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns its process.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Prepares a call of shimctl.
    ///
    /// # Errors
    /// It is not built.
    pub fn shimctl(&self, args: &[&str]) -> Result<Command> {
        self.shimctl_in(&self.root, args)
    }

    /// Prepares a call of shimctl in this directory.
    ///
    /// # Errors
    /// It is not built.
    pub fn shimctl_in(&self, dir: &Path, args: &[&str]) -> Result<Command> {
        let command = self.host.command_in(dir, product::program("shimctl")?);
        Ok(command.arg("--root").arg(&self.root).args(args))
    }

    /// Kills it as `kill -9` does, if it runs, and starts it again.
    ///
    /// # Errors
    /// It does not serve again; with its log.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.daemon.kill()?;
        self.daemon = launch(&self.host, &self.root)?;
        self.wait_until_ready()
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// It does not end, or not with success.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.signal(Signal::TERM)?;
        let status = self.daemon.wait(STOP_LIMIT)?;
        anyhow::ensure!(status.success(), "shimd ended with {status}");
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let shimctl = product::program("shimctl")?;
        let (host, root) = (&self.host, &self.root);
        self.daemon.ready(START_LIMIT, "shimd", || {
            host.command(&shimctl).arg("--root").arg(root).args(["images", "-q"]).run().map(|_| ())
        })
    }
}

fn launch(host: &Host, root: &Path) -> Result<Daemon> {
    files::dir(root.join("run"))?;
    let command = host.command(product::program("shimd")?).arg("--store").arg(root.join("store"));
    let command = command.arg("--run").arg(root.join("run"));
    // No containerd is there; images do not need it.
    host.daemon("shimd", command.arg("--containerd").arg(root.join("run/containerd.sock")))
}
