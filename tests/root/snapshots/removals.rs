//! What goes and what stays, when containerd collects and when we do.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use tests::containerd::Engine;

use super::World;

/// What is removed, by whom, and what stays.
fn removes(engine: &Engine) -> Result<()> {
    let world = World::new(engine)?;
    world.build("app")?;
    let (base, chain) = (world.chain("busybox")?, world.chain("app")?);
    let directories = world.directories("app")?;
    let records = world.records("app")?;
    ensure!(records.len() >= 2, "an ID and a tag: {records:?}");

    // containerd forgets all about the image; the store does not, and tells it again when it is needed.
    for name in ["app", "busybox"] {
        for record in world.records(name)? {
            world.ctr(&["images", "rm", &record])?;
        }
    }
    world.collect()?;
    let listed = world.listed()?;
    ensure!(!listed.iter().any(|line| line.contains(&chain) || line.contains(&base)), "{listed:?}");
    world.verify()?;
    let images = world.shimctl(&["images", "--format", "{{.Repository}}"])?;
    ensure!(images.lines().any(|name| name == "app"), "{images}");
    let pod = world.crictl.run_pod("pod")?;
    let container = pod.start("app", "app", &["sleep", "1000"])?;
    let said = || world.crictl.run(&["exec", &container, "cat", "/said"]);
    assert_eq!(said()?, "said by app");
    assert_eq!(world.records("app")?, records);
    ensure!(world.info(&chain)?["Parent"] == *base);

    // A collection of either side under a container takes nothing of it, though nothing names its image any more.
    let refused = world.instance.shimctl(&["rmi", "app"])?.fails_with(1)?;
    ensure!(refused.stderr.contains("in use by a container"), "{refused}");
    world.shimctl(&["rmi", "--force", "app"])?;
    world.shimctl(&["prune", "--all", "--force"])?;
    let names = world.ctr(&["images", "ls", "-q"])?;
    ensure!(!names.lines().any(|name| records.iter().any(|record| record == name)), "{names}");
    world.collect()?;
    assert_eq!(said()?, "said by app");
    world.exist(&directories, true)?;
    for part in ["shimd", "containerd"] {
        world.instance.kill(part)?;
        world.shimctl(&["prune", "--all", "--force"])?;
        world.exist(&directories, true)?;
        // What was not read before is there as well.
        assert_eq!(world.crictl.run(&["exec", &container, "/bin/busybox", "cat", "/said"])?, "said by app");
    }
    world.verify()?;

    // With the container the layers go.
    pod.remove()?;
    world.collect()?;
    world.shimctl(&["prune", "--all", "--force"])?;
    world.exist(&directories, false)?;
    world.nothing_is_left()?;
    world.verify()?;
    world.instance.down()
}

#[test]
fn removals_with_debians_containerd() -> Result<()> {
    removes(&Engine::debian()?)
}

#[test]
fn removals_with_containerd_2() -> Result<()> {
    removes(&Engine::two()?)
}

/// Builds an image, runs it and removes it, twice.
fn work(world: &World, worker: usize) -> Result<()> {
    for round in 0..2 {
        let name = format!("busy{worker}x{round}");
        world.build(&name)?;
        let pod = world.crictl.run_pod(&name)?;
        let container = pod.start(&name, &name, &["sleep", "1000"])?;
        assert_eq!(world.crictl.run(&["exec", &container, "cat", "/said"])?, format!("said by {name}"));
        let (chain, key) = (world.chain(&name)?, format!("{name} by hand"));
        world.snapshots(&["prepare", &key, &chain])?;
        world.shimctl(&["rmi", "--force", &name])?;
        assert_eq!(world.snapshots_command(&["info", &key])?.json()?["Parent"], *chain);
        pod.remove()?;
        world.snapshots(&["rm", &key])?;
    }
    Ok(())
}

#[test]
fn collections_and_work_side_by_side() -> Result<()> {
    let world = World::new(&Engine::two()?)?;
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                scope.spawn({
                    let world = &world;
                    move || work(world, worker)
                })
            })
            .collect();
        let collector = scope.spawn(|| -> Result<()> {
            while !is_done.load(Ordering::SeqCst) {
                world.shimctl(&["prune", "--force"])?;
                world.collect()?;
                world.shimctl(&["verify"])?;
            }
            Ok(())
        });
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join().expect("no panic")).collect();
        is_done.store(true, Ordering::SeqCst);
        collector.join().expect("no panic")?;
        results.into_iter().collect::<Result<()>>()
    })?;
    world.collect()?;
    world.nothing_is_left()?;
    world.verify()?;
    world.instance.down()
}
