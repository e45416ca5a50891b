//! The lifecycle service dies at each of its failpoints in turn: `up` goes on from there, and `down` leaves nothing.

use anyhow::{Result, ensure};
use tests::command::Output;
use tests::containerd::Engine;
use tests::host::Host;
use tests::instance::{DEFAULT_ROOT, Instance};

use super::is_as_before;

/// Fewer failpoints than this are a walk that ended too early.
const LEAST: u64 = 20;

/// An instance that is not up, in a host where packets are not forwarded.
struct Walk {
    host: Host,
    instance: Instance,
}

impl Walk {
    fn new() -> Result<Self> {
        let host = Host::new()?;
        let instance = Instance::new(&host, &Engine::debian()?, DEFAULT_ROOT.as_ref());
        Ok(Self { host, instance })
    }

    /// Types `up`; the lifecycle service, if this starts it, is to die at a failpoint.
    fn up(&self, failpoint: &str) -> Result<Output> {
        self.instance.shimctl(&["up", "--no-kubernetes"])?.env("SHIM_FAILPOINT", failpoint).output()
    }

    /// Tells whether the service died of its failpoint, and where; whatever else made a command fail is an error.
    fn died(&self, output: &Output, number: u64) -> Result<bool> {
        if output.status.success() {
            return Ok(false);
        }
        let log = self.host.sh("grep -c 'failpoint=' /var/lib/shim/log/lifecycle.log || true")?;
        ensure!(log.parse::<u64>()? == number, "not at a failpoint: {output}\n{}", self.instance.logs());
        Ok(true)
    }
}

/// Lets the service die at each moment of `up`; then `up` goes on, or `down` takes away what there is.
fn every_moment_of_up(goes_on: bool) -> Result<()> {
    let walk = Walk::new()?;
    let before = walk.host.traces()?;
    for nth in 1.. {
        let up = walk.up(&format!("up {nth}"))?;
        let died = walk.died(&up, nth)?;
        ensure!(died || nth > LEAST, "only {nth} failpoints");
        if died && goes_on {
            walk.instance.start()?;
        }
        walk.instance.down()?;
        is_as_before(&walk.host, &before)?;
        if !died {
            break;
        }
    }
    Ok(())
}

#[test]
fn up_goes_on_from_every_moment_of_up() -> Result<()> {
    every_moment_of_up(true)
}

#[test]
fn down_undoes_every_moment_of_up() -> Result<()> {
    every_moment_of_up(false)
}

#[test]
fn both_go_on_from_every_moment_of_down() -> Result<()> {
    let walk = Walk::new()?;
    let before = walk.host.traces()?;
    for nth in 1.. {
        let up = walk.up(&format!("down {nth}"))?;
        ensure!(up.status.success(), "{up}\n{}", walk.instance.logs());
        let died = walk.instance.shimctl(&["down"])?.output()?;
        if !walk.died(&died, nth)? {
            ensure!(nth > LEAST, "only {nth} failpoints");
            break;
        }
        if nth % 2 == 0 {
            walk.instance.start()?;
        }
        walk.instance.down()?;
        is_as_before(&walk.host, &before)?;
    }
    is_as_before(&walk.host, &before)
}
