//! Pulls that end early by the registry's death or the user's wish: the next one goes on.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use cachestore::Digest;
use tests::daemon::Signal;
use tests::registry::{Options, Registry};

use super::{FAST, PULL_LIMIT, SLOW, Served, World};

/// What is there of layers that are not complete, by what a pull told.
fn left(world: &World, big: &Served, told: &str) -> Result<BTreeMap<Digest, u64>> {
    let complete = big.complete(told);
    let mut left = world.partials()?;
    left.retain(|digest, _| complete.iter().all(|layer| layer.digest != *digest));
    ensure!(left.values().any(|length| *length > 0), "nothing was received: {told}");
    Ok(left)
}

fn goes_on(world: &World, big: &Served, left: &BTreeMap<Digest, u64>) -> Result<()> {
    world.host.sh(FAST)?;
    world.pull(big.name)?;
    assert_eq!(world.image_id(big.name)?, big.id()?);
    assert_eq!(world.partials()?, BTreeMap::new());
    world.wait_for_rests(big, left)?;
    world.verify()
}

#[test]
fn the_registry_dies_and_comes_back() -> Result<()> {
    let mut world = World::new()?;
    let big = Served::big(&world)?;
    world.host.sh(SLOW)?;
    let mut pull = world.start_pull("pull", big.name)?;
    big.wait_for_percent(&world, &mut pull, "", 40)?;
    world.registry.kill()?;
    let (code, told) = pull.end()?;
    let words =
        ["Error: cannot pull blob sha256:", "of docker.io/library/big", "from http://127.0.0.1:5000: "];
    ensure!(code == Some(1) && words.iter().all(|words| told.contains(words)), "{code:?} {told}");
    world.wait_until_idle()?;
    let left = left(&world, &big, &told)?;

    let failed = world.shimd.shimctl(&["pull", big.name])?.fails_with(1)?.stderr;
    assert_eq!(
        failed.trim(),
        "Error: cannot pull docker.io/library/big:latest from http://127.0.0.1:5000: connection refused"
    );
    world.shimd.shimctl(&["verify"])?.run()?;
    world.registry.restart()?;
    goes_on(&world, &big, &left)
}

#[test]
fn the_user_interrupts() -> Result<()> {
    let mut world = World::new()?;
    let big = Served::big(&world)?;
    world.host.sh(SLOW)?;
    let mut pull = world.start_pull("pull", big.name)?;
    big.wait_for_percent(&world, &mut pull, "", 40)?;
    pull.daemon.signal(Signal::INT)?;
    let (code, told) = pull.end()?;
    ensure!(code == Some(130), "{code:?} {told}");
    ensure!(told.contains("interrupted; what is complete will not be fetched again"), "{told}");
    // shimd has noticed, and has stopped.
    world.wait_until_idle()?;
    let left = left(&world, &big, &told)?;
    world.shimd.shimctl(&["verify"])?.run()?;
    ensure!(world.shimd.daemon().is_running()?, "shimd has ended");
    goes_on(&world, &big, &left)?;
    world.shimd.stop()
}

#[test]
fn shimd_that_is_told_to_stop_completes_it() -> Result<()> {
    let mut world = World::new()?;
    let big = Served::big(&world)?;
    world.host.sh(SLOW)?;
    let mut pull = world.start_pull("pull", big.name)?;
    big.wait_for_percent(&world, &mut pull, "", 40)?;
    world.shimd.daemon().signal(Signal::TERM)?;
    world.host.sh(FAST)?;
    let (code, told) = pull.end()?;
    ensure!(code == Some(0), "{code:?} {told}");
    let status = world.shimd.daemon().wait(PULL_LIMIT)?;
    ensure!(status.success(), "{status}");
    world.shimd.kill_and_restart()?;
    assert_eq!(world.image_id(big.name)?, big.id()?);
    world.verify()
}

#[test]
fn a_mirror_dies_and_the_registry_takes_over() -> Result<()> {
    let world = World::new()?;
    let big = Served::big(&world)?;
    let mut mirror = Registry::with(&world.host, &Options { port: 5002, password: false })?;
    mirror.serve(&big.set)?;
    world.mirrors(
        "docker.io",
        "http://127.0.0.1:5000",
        &[("http://127.0.0.1:5002", "\"pull\", \"resolve\"")],
    )?;
    world.host.sh(SLOW)?;
    let mut pull = world.start_pull("pull", big.name)?;
    big.wait_for_percent(&world, &mut pull, "", 40)?;
    assert_eq!(world.layer_requests(&big)?, []);
    mirror.kill()?;
    world.host.sh(FAST)?;
    let (code, told) = pull.end()?;
    ensure!(code == Some(0), "{code:?} {told}");
    assert_eq!(world.image_id(big.name)?, big.id()?);
    // What the mirror had sent was not sent again.
    let sent: u64 = world.layer_requests(&big)?.iter().map(|(_, request)| request.bytes).sum();
    ensure!(sent <= big.total_bytes() * 65 / 100, "{sent} of {} bytes", big.total_bytes());
    world.verify()
}
