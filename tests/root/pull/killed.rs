//! shimd is killed in the middle of a pull, again and again: nothing that was complete is downloaded twice.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use cachestore::Digest;

use super::{FAST, SLOW, SLOWER, Served, World};

/// How often a layer may be asked for: at all, and from its beginning.
#[derive(Debug, Default)]
struct Allowed {
    requests: usize,
    whole: usize,
}

#[test]
fn while_large_layers_come_in() -> Result<()> {
    let world = World::new()?;
    let big = Served::big(&world)?;
    kill_and_go_on(world, &big, SLOW, &[1, 20, 40, 60, 80])
}

#[test]
fn while_many_layers_are_recorded() -> Result<()> {
    let world = World::new()?;
    let many = Served::many(&world)?;
    kill_and_go_on(world, &many, SLOWER, &[20, 50, 70])
}

/// Kills shimd whenever a pull has received this part of the image, and lets one pull go to its end.
fn kill_and_go_on(mut world: World, image: &Served, network: &str, percents: &[u64]) -> Result<()> {
    let mut allowed: BTreeMap<Digest, Allowed> = BTreeMap::new();
    let mut told = String::new();
    world.host.sh(network)?;
    for &percent in percents {
        allow(&mut allowed, image, &told, &world.partials()?);
        let mut pull = world.start_pull(&format!("pull-{percent}"), image.name)?;
        image.wait_for_percent(&world, &mut pull, &told, percent)?;
        world.shimd.kill_and_restart()?;
        let (code, said) = pull.end()?;
        ensure!(code == Some(3) && said.contains("the connection to the daemon broke"), "{code:?} {said}");
        told += &said;
        world.shimd.shimctl(&["verify"])?.run()?;
        assert_eq!(world.shimd.shimctl(&["images", "-q", image.name])?.stdout()?, "");
    }
    world.host.sh(FAST)?;
    let complete: Vec<_> = image.complete(&told).iter().map(|layer| layer.digest).collect();
    let mut left = world.partials()?;
    left.retain(|digest, _| !complete.contains(digest));
    ensure!(!complete.is_empty() && !left.is_empty(), "complete: {complete:?}, begun: {left:?}");

    allow(&mut allowed, image, &told, &left);
    world.pull(image.name)?;
    assert_eq!(world.image_id(image.name)?, image.id()?);
    assert_eq!(world.partials()?, BTreeMap::new());
    world.wait_for_rests(image, &left)?;
    world.verify()?;
    let mut asked: BTreeMap<Digest, Allowed> = BTreeMap::new();
    for (digest, request) in world.layer_requests(image)? {
        let asked = asked.entry(digest).or_default();
        asked.requests += 1;
        asked.whole += usize::from(request.status == 200);
    }
    let is_within = |digest, asked: &Allowed| {
        let allowed: &Allowed = &allowed[digest];
        asked.requests <= allowed.requests && asked.whole <= allowed.whole
    };
    ensure!(
        asked.iter().all(|(digest, asked)| is_within(digest, asked)),
        "{asked:#?}, allowed: {allowed:#?}"
    );
    world.shimd.stop()
}

/// Counts what a pull may ask for that begins now: each layer that nobody was told is complete, once; from its
/// beginning, if nothing of it is there.
fn allow(
    allowed: &mut BTreeMap<Digest, Allowed>,
    image: &Served,
    told: &str,
    partials: &BTreeMap<Digest, u64>,
) {
    let complete = image.complete(told);
    for layer in &image.layers {
        let allowed = allowed.entry(layer.digest).or_default();
        if !complete.contains(&layer) {
            allowed.requests += 1;
            allowed.whole += usize::from(partials.get(&layer.digest).is_none_or(|length| *length == 0));
        }
    }
}
