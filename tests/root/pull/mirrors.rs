//! `certs.d`: which hosts are asked for an image, and in which order.

use anyhow::{Result, ensure};
use tests::files;
use tests::images::base_set;
use tests::registry::{Options, Registry};

use super::World;

/// Nobody listens there.
const DEAD: &str = "http://127.0.0.1:4999";
const SECOND: &str = "http://127.0.0.1:5002";
const FIRST: &str = "http://127.0.0.1:5000";

/// Returns what a registry was asked beyond this number of requests: paths without what follows `?`, with statuses.
fn asked(registry: &Registry, before: usize) -> Result<Vec<(String, u16)>> {
    let later = registry.requests()?.split_off(before);
    let path = |path: &str| path.split('?').next().unwrap_or_default().to_owned();
    Ok(later.iter().map(|request| (path(&request.path), request.status)).collect())
}

#[test]
fn they_are_asked_in_turn() -> Result<()> {
    let mut world = World::new()?;
    world.registry.serve(&base_set()?)?;
    let second = Registry::with(&world.host, &Options { port: 5002, password: false })?;
    let both = "\"pull\", \"resolve\"";

    // A dead mirror falls over to the next, which lacks the image, and that to the registry itself.
    world.mirrors("docker.io", FIRST, &[(DEAD, both), (SECOND, both)])?;
    let before = (world.registry.requests()?.len(), second.requests()?.len());
    world.pull("busybox")?;
    let id = world.image_id("busybox")?;
    let of_first = asked(&world.registry, before.0)?;
    let of_second = asked(&second, before.1)?;
    let paths = |asked: &[(String, u16)]| asked.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&of_first), paths(&of_second));
    assert_eq!(of_first[0].0, "/v2/library/busybox/manifests/latest");
    ensure!(of_first.iter().all(|(_, status)| *status == 200), "{of_first:?}");
    ensure!(of_second.iter().all(|(_, status)| *status == 404), "{of_second:?}");
    let of_second = second.requests()?.split_off(before.1);
    ensure!(of_second.iter().all(|request| request.path.ends_with("?ns=docker.io")), "{of_second:?}");

    // From now on the mirror has it; one that may not resolve gives what a digest names.
    second.serve(&base_set()?)?;
    world.mirrors("docker.io", FIRST, &[(SECOND, "\"pull\"")])?;
    world.shimd.shimctl(&["rmi", "busybox"])?.run()?;
    world.shimd.shimctl(&["prune", "-f"])?.run()?;
    let before = (world.registry.requests()?.len(), second.requests()?.len());
    world.pull("busybox")?;
    assert_eq!(world.image_id("busybox")?, id);
    let of_first = asked(&world.registry, before.0)?;
    assert_eq!(of_first, [("/v2/library/busybox/manifests/latest".to_owned(), 200)]);
    let of_second = asked(&second, before.1)?;
    ensure!(
        of_second.iter().all(|(path, status)| path.contains("/blobs/sha256:") && *status == 200)
            && of_second.len() == 2,
        "{of_second:?}"
    );

    // A mirror alone is enough for what is named by its digest.
    world.registry.kill()?;
    let set = base_set()?;
    let zstd = set.images().iter().find(|image| image.repository.ends_with("busybox-zstd"));
    let digest = &zstd.map(|image| image.digest.clone()).unwrap_or_default();
    world.pull(&format!("busybox-zstd@{digest}"))?;
    let failed = world.shimd.shimctl(&["pull", "busybox-zstd"])?.fails_with(1)?;
    assert_eq!(
        failed.stderr.trim(),
        "Error: cannot pull docker.io/library/busybox-zstd:latest from http://127.0.0.1:5000: connection refused"
    );
    world.verify()
}

#[test]
fn every_host_that_was_asked_is_named() -> Result<()> {
    let world = World::new()?;
    let both = "\"pull\", \"resolve\"";
    world.mirrors("docker.io", FIRST, &[(DEAD, both)])?;
    let failed = world.shimd.shimctl(&["pull", "absent:1"])?.fails_with(1)?.stderr;
    let expected = [
        "Error: cannot pull docker.io/library/absent:1 from http://127.0.0.1:4999: connection refused",
        "; from http://127.0.0.1:5000: not found",
    ];
    ensure!(expected.iter().all(|words| failed.contains(words)), "{failed}");
    files::put(
        world.host.etc("shim/certs.d/docker.io/hosts.toml"),
        "[host.\"http://a\"]\ncapabilites = []\n",
    )?;
    let failed = world.shimd.shimctl(&["pull", "absent:1"])?.fails_with(1)?.stderr;
    ensure!(
        failed.contains("/etc/shim/certs.d/docker.io/hosts.toml") && failed.contains("capabilites"),
        "{failed}"
    );
    Ok(())
}
