//! Pulls that run side by side.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use tests::files;

use super::{FAST, PULL_LIMIT, SLOW, Served, World};

#[test]
fn pulls_of_one_image_fetch_each_layer_once() -> Result<()> {
    let mut world = World::new()?;
    let big = Served::big(&world)?;
    world.host.sh(SLOW)?;
    let mut pulls = vec![world.start_pull("pull-0", big.name)?];
    big.wait_for_percent(&world, &mut pulls[0], "", 10)?;
    for number in 1..4 {
        let mut pull = world.start_pull(&format!("pull-{number}"), "docker.io/library/big")?;
        let log = pull.log.clone();
        pull.daemon.ready(PULL_LIMIT, "its first layer", || {
            let told = files::text(&log)?;
            ensure!(told.contains("Pulling fs layer"), "{told}");
            Ok(())
        })?;
        pulls.push(pull);
    }
    world.host.sh(FAST)?;
    for pull in &mut pulls {
        let (code, told) = pull.end()?;
        ensure!(code == Some(0), "{code:?} {told}");
        assert_eq!(big.complete(&told).len(), big.layers.len(), "{told}");
    }
    assert_eq!(world.image_id(big.name)?, big.id()?);
    let mut count: BTreeMap<_, Vec<u16>> = BTreeMap::new();
    for (digest, request) in world.layer_requests(&big)? {
        count.entry(digest).or_default().push(request.status);
    }
    assert_eq!(count, big.layers.iter().map(|layer| (layer.digest, vec![200])).collect());

    // And who comes later asks for no blob at all.
    let before = world.registry.requests()?.len();
    let pulled = world.pull(big.name)?;
    ensure!(pulled.stdout.contains("Status: Image is up to date for big:latest"), "{pulled}");
    let later = world.registry.requests()?.split_off(before);
    ensure!(!later.is_empty() && later.iter().all(|request| request.blob().is_none()), "{later:?}");
    world.verify()?;
    world.shimd.stop()
}
