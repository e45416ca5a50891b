//! The lifecycle service dies at one moment after the other of getting the components: each `up` goes on from there.

use anyhow::{Context as _, Result, ensure};
use tests::containerd::Engine;
use tests::eventually;
use tests::host::Host;
use tests::instance::{DEFAULT_ROOT, Instance};

use super::{UP_LIMIT, World, has_all, serve, up};

/// No bring-up has so many moments.
const MOST: usize = 100;
/// The moments that are the components' own.
const LEAST: usize = 7;
/// Each step that is looked at is a moment; the first of the components comes after so many at least.
const FIRST: usize = 5;

/// Types `up` until the components are there; returns the moments of theirs at which the service died: the first one that it
/// comes to or, where it has died there before, the next. All that comes before the components is there already.
fn die_and_go_on(
    host: &Host,
    instance: &Instance,
    path: &str,
    source: &str,
    own: &[&str],
) -> Result<Vec<String>> {
    let log = format!("{DEFAULT_ROOT}/log/lifecycle.log");
    let is_own = |moment: &str| own.iter().any(|name| moment.contains(name));
    let (mut moments, mut nth): (Vec<String>, usize) = (Vec::new(), FIRST);
    for number in 1..MOST {
        kill(host, instance)?;
        let typed = instance.shimctl(&["up", "--wait", "1s", "--components", source])?;
        typed.env("PATH", path).env("SHIM_FAILPOINT", format!("up {nth}")).output()?;
        let ready = "grep -q 'part=\"components\" state=\"READY\"'";
        let (said, is_past) =
            eventually(UP_LIMIT, "the service to die or the components to be ready", || {
                let said = host.sh(&format!("grep -o 'failpoint=\"[^\"]*\"' {log} || true"))?;
                let is_past = host.sh(&format!("{ready} {log} && echo yes || true"))? == "yes";
                ensure!(is_past || said.lines().count() == number, "it goes on: {said}");
                Ok((said, is_past))
            })?;
        if is_past {
            // It may still die of what comes after them.
            kill(host, instance)?;
            return Ok(moments);
        }
        let moment = said.lines().last().context("no failpoint")?.to_owned();
        if !is_own(&moment) || moments.last() == Some(&moment) {
            nth += 1;
        }
        moments.extend(Some(moment).filter(|moment| is_own(moment)));
    }
    anyhow::bail!("it never comes up: {moments:#?}")
}

fn kill(host: &Host, instance: &Instance) -> Result<()> {
    match instance.service_pid() {
        Ok(pid) => host.sh(&format!("kill -9 {pid} 2>/dev/null || true")).map(drop),
        Err(_) => Ok(()),
    }
}

fn assert_moments(moments: &[String], names: &[&str]) -> Result<()> {
    ensure!(moments.len() >= LEAST, "{moments:#?}");
    names.iter().try_for_each(|name| {
        ensure!(moments.iter().any(|moment| moment.contains(name)), "{name}: {moments:#?}");
        Ok(())
    })
}

#[test]
fn components_come_however_often_the_service_dies() -> Result<()> {
    let mut world = World::new()?;
    world.server.kill()?;
    world.up("release", "failed")?;
    world.server = serve(&world.host, &world.host.dir().join("tools"), &world.web)?;
    let names = [
        "a download is whole and not named",
        "a program is downloaded",
        "a cache entry is whole and not named",
        "a published image is in the store",
        "a program of the node is written and not named",
    ];
    let moments = die_and_go_on(&world.host, &world.instance, &world.path, "release", &names)?;
    assert_moments(&moments, &names)?;
    world.up("release", "ready")?;
    world.has_all()?;
    let archive = world.host.dir().join("kubernetes.tar");
    world.instance.shimctl(&["bundle", "-o"])?.arg(&archive).run()?;
    world.instance.down()?;

    let other = Host::new()?;
    let engine = Engine::debian()?;
    let instance = Instance::new(&other, &engine, DEFAULT_ROOT.as_ref());
    let place = other.dir().join("kubernetes.tar");
    let source = format!("bundle={}", place.display());
    up(&instance, &engine.path(), &["--components", &source], "failed")?;
    other.sh(&format!("cp {} {}", archive.display(), place.display()))?;
    let names = [
        "the images of a bundle are loaded",
        "a program of the node is written and not named",
        "a program of a bundle is in place",
    ];
    let moments = die_and_go_on(&other, &instance, &engine.path(), &source, &names)?;
    assert_moments(&moments, &names)?;
    up(&instance, &engine.path(), &["--components", &source], "ready")?;
    has_all(&other, &instance)?;
    instance.down()
}
