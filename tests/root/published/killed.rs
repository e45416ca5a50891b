//! The lifecycle service dies at one moment after the other of getting the components: each `up` goes on from there.

use anyhow::{Context as _, Result, ensure};
use tests::containerd::Engine;
use tests::host::Host;
use tests::instance::{DEFAULT_ROOT, Instance};

use super::{World, has_all, up};

/// No bring-up has so many moments.
const MOST: usize = 200;
/// The moments that are the components' own.
const LEAST: usize = 7;

/// Types `up` until the components are there; returns the moments at which the service died. It dies at the first moment that
/// it comes to, or, where it has died there before, at a later one.
fn die_and_go_on(host: &Host, instance: &Instance, path: &str, source: &str) -> Result<Vec<String>> {
    let log = format!("{DEFAULT_ROOT}/log/lifecycle.log");
    let (mut moments, mut nth): (Vec<String>, usize) = (Vec::new(), 1);
    while moments.len() < MOST {
        let failpoint = format!("up {nth}");
        let typed = instance.shimctl(&["up", "--wait", "1s", "--components", source])?;
        let typed = typed.env("PATH", path).env("SHIM_FAILPOINT", failpoint).output()?;
        let said = host.sh(&format!("grep -o 'failpoint=\"[^\"]*\"' {log} || true"))?;
        let all: Vec<&str> = said.lines().collect();
        if host.sh(&format!("grep -c 'part=\"components\" state=\"READY\"' {log} || true"))? != "0" {
            return Ok(moments);
        }
        ensure!(all.len() == moments.len() + 1, "not at a failpoint: {typed}\n{}", instance.logs());
        let moment = all.last().context("no failpoint")?.to_string();
        nth = if moments.last() == Some(&moment) { nth + 1 } else { 1 };
        moments.push(moment);
    }
    anyhow::bail!("it never comes up: {moments:#?}")
}

fn assert_moments(moments: &[String], names: &[&str]) -> Result<()> {
    let own = |moment: &&String| names.iter().any(|name| moment.contains(name));
    ensure!(moments.iter().filter(own).count() >= LEAST, "{moments:#?}");
    names.iter().try_for_each(|name| {
        ensure!(moments.iter().any(|moment| moment.contains(name)), "{name}: {moments:#?}");
        Ok(())
    })
}

#[test]
fn components_come_however_often_the_service_dies() -> Result<()> {
    let world = World::new()?;
    let moments = die_and_go_on(&world.host, &world.instance, &world.path, "release")?;
    let names = [
        "a download is whole and not named",
        "a program is downloaded",
        "a cache entry is whole and not named",
        "a published image is in the store",
        "a program of the node is written and not named",
    ];
    assert_moments(&moments, &names)?;
    world.up("release", "ready")?;
    world.has_all()?;
    let archive = world.host.dir().join("kubernetes.tar");
    world.instance.shimctl(&["bundle", "-o"])?.arg(&archive).run()?;
    world.instance.down()?;

    let other = Host::new()?;
    let engine = Engine::debian()?;
    let instance = Instance::new(&other, &engine, DEFAULT_ROOT.as_ref());
    let source = format!("bundle={}", archive.display());
    let moments = die_and_go_on(&other, &instance, &engine.path(), &source)?;
    let names = [
        "the images of a bundle are loaded",
        "a program of the node is written and not named",
        "a program of a bundle is in place",
    ];
    assert_moments(&moments, &names)?;
    up(&instance, &engine.path(), &["--components", &source], "ready")?;
    has_all(&other, &instance)?;
    instance.down()
}
