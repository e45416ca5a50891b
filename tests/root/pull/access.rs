//! A registry that wants a password: the caller's docker configuration has it, for pulls and builds alike.

use std::path::Path;

use anyhow::{Result, ensure};
use tests::files;
use tests::image::{Compression, Entry, Layer, Recipe};
use tests::images::Set;
use tests::registry::{Options, PASSWORD, Registry, USER};

use super::World;

pub(super) const PRIVATE: &str = "127.0.0.1:5001/team/private:1";
/// `developer:letmein` and `developer:wrong` in base64.
const RIGHT: &str = "ZGV2ZWxvcGVyOmxldG1laW4=";
const WRONG: &str = "ZGV2ZWxvcGVyOndyb25n";

/// Starts a registry that wants a password, and serves `team/private:1`; returns the image's ID beside it.
pub(super) fn private_registry(host: &tests::host::Host) -> Result<(Registry, String)> {
    let registry = Registry::with(host, &Options { port: 5001, password: true })?;
    let mut id = None;
    registry.serve(&Set::make(host.dir().join("set-private"), |maker| {
        let layer = Layer::write(maker.blobs(), Compression::Gzip, [Entry::file("secret", "plan")])?;
        let image = Recipe::default().layer(&layer).write(maker.blobs())?;
        maker.add("127.0.0.1:5001/team/private", &["1"], &image);
        id = image.id;
        Ok(())
    })?)?;
    Ok((registry, id.map(|id| id.to_string()).unwrap_or_default()))
}

fn configure(dir: &Path, auth: &str) -> Result<()> {
    files::put(dir.join("config.json"), format!(r#"{{"auths": {{"127.0.0.1:5001": {{"auth": "{auth}"}}}}}}"#))
}

#[test]
fn the_callers_docker_configuration_opens_it() -> Result<()> {
    let world = World::new()?;
    let (registry, id) = private_registry(&world.host)?;
    let fails = |problem: &str| -> Result<()> {
        let failed = world.shimd.shimctl(&["pull", PRIVATE])?.fails_with(1)?;
        let expected =
            "Error: cannot pull 127.0.0.1:5001/team/private:1 from http://127.0.0.1:5001: 401 Unauthorized";
        ensure!(failed.stderr.starts_with(expected) && failed.stderr.contains(problem), "{failed}");
        ensure!(
            !failed.stderr.contains("wrong") && !failed.stderr.contains(WRONG),
            "a secret is shown: {failed}"
        );
        Ok(())
    };
    fails("; no credentials for 127.0.0.1:5001 were given: log in there, or check the name")?;
    configure(&world.host.home().join(".docker"), WRONG)?;
    fails("; the credentials for 127.0.0.1:5001 were not accepted")?;
    files::put(world.host.home().join(".docker/config.json"), "{")?;
    let failed = world.shimd.shimctl(&["pull", PRIVATE])?.fails_with(1)?;
    ensure!(failed.stderr.contains(".docker/config.json"), "{failed}");

    configure(&world.host.home().join(".docker"), RIGHT)?;
    world.pull(PRIVATE)?;
    assert_eq!(world.image_id(PRIVATE)?, id);
    // What one caller may see is not what another may fetch.
    let other = world.host.dir().join("other");
    world.shimd.shimctl(&["rmi", PRIVATE])?.run()?;
    let docker_config = |dir: &Path| {
        Ok::<_, anyhow::Error>(world.shimd.shimctl(&["pull", PRIVATE])?.env("DOCKER_CONFIG", dir))
    };
    docker_config(&other)?.fails_with(1)?;
    configure(&other, RIGHT)?;
    docker_config(&other)?.run()?;
    let log = files::text(world.host.dir().join("logs/shimd.log"))?;
    ensure!(!log.contains(PASSWORD) && !log.contains(RIGHT), "a secret is in shimd's log");
    ensure!(registry.requests()?.iter().any(|request| request.status == 401));
    world.verify()
}

#[test]
fn a_build_uses_it_too() -> Result<()> {
    let world = World::new()?;
    let (_registry, _) = private_registry(&world.host)?;
    let context = world.host.dir().join("context");
    files::put(context.join("Dockerfile"), format!("FROM {PRIVATE}\nCOPY news /news\n"))?;
    files::put(context.join("news"), "none")?;
    let build = || world.shimd.shimctl_in(&context, &["build", "-q", "-t", "mine", "."]);
    let failed = build()?.fails_with(1)?;
    ensure!(failed.stderr.contains("no credentials for 127.0.0.1:5001 were given"), "{failed}");
    configure(&world.host.home().join(".docker"), RIGHT)?;
    let id = build()?.stdout()?;
    assert_eq!(world.image_id("mine")?, id);
    let inspected = world.inspect("mine")?;
    assert_eq!(inspected["RootFS"]["Layers"].as_array().map(Vec::len), Some(2), "{inspected}");
    ensure!(USER == "developer" && PASSWORD == "letmein", "RIGHT is not theirs any more");
    world.verify()
}
