//! The box: what an instance makes of a machine, what lives through what, and that nothing of it is left.

mod commands;
mod crash;
mod daemons;
mod install;
mod interrupted;
mod network;

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::eventually;
use tests::host::{Host, Traces};

const SOON: Duration = Duration::from_secs(30);

/// What remains of an instance when it is down: what the user may want to see or to use again, and nothing else.
fn is_as_before(host: &Host, before: &Traces) -> Result<()> {
    let mut traces = host.traces()?.since(before);
    // The first process of a host takes a moment to reap what has ended.
    traces.retain(|trace| !trace.ends_with("<defunct>"));
    assert_eq!(traces, Vec::<String>::new());
    // Directories that were made to be mounted upon. Those with logs of a test's pods were made by the test.
    let points = "find /var/log/pods /var/log/containers /var/lib/cni -maxdepth 0 -empty 2>/dev/null || true";
    assert_eq!(host.sh(points)?, "");
    Ok(())
}

/// Kills processes as `kill -9` does, and waits for their end.
fn kill(host: &Host, pids: &[u64]) -> Result<()> {
    let pids: Vec<String> = pids.iter().map(u64::to_string).collect();
    host.command("kill").arg("-9").args(&pids).run()?;
    eventually(SOON, "the end of what was killed", || {
        let left = host.command("ps").args(["-o", "pid=,stat=,args=", "-p", &pids.join(",")]).output()?;
        let left: Vec<&str> = left.stdout.lines().filter(|line| !line.contains(" Z")).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}
