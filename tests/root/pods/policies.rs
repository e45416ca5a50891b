//! The pull policies of a pod, as a kubelet turns them into calls: a local build runs with each of them.

use anyhow::{Result, ensure};
use tests::containerd::Engine;
use tests::files;

use super::World;

const NAME: &str = "hello:latest";
const DOCKERFILE: &str = "FROM busybox\nRUN echo built here > /made\nCMD [\"sleep\", \"1000\"]\n";

/// Builds and returns the image's ID.
fn build(world: &World) -> Result<String> {
    let context = world.host.dir().join("context");
    files::put(context.join("Dockerfile"), DOCKERFILE)?;
    world.instance.shimctl_in(&context, &["build", "-q", "-t", NAME, "."])?.stdout()
}

fn runs(world: &World, pod: &str, name: &str) -> Result<()> {
    let pod = world.crictl.run_pod(pod)?;
    let container = pod.start("hello", name, &[])?;
    assert_eq!(world.crictl.run(&["exec", &container, "cat", "/made"])?, "built here");
    pod.remove()
}

#[test]
fn a_local_build_runs_with_each() -> Result<()> {
    let mut world = World::new(&Engine::debian()?)?;
    let id = build(&world)?;
    ensure!(id.starts_with("sha256:"), "{id}");
    // Nothing answers any more: whoever asks a registry now, fails.
    world.registry.kill()?;

    // IfNotPresent and Never ask for the image and find it, by any of its names.
    for name in ["hello", NAME, "docker.io/library/hello:latest", &id, &id["sha256:".len()..][..12]] {
        let status = world.crictl.json(&["inspecti", name])?;
        assert_eq!(status["status"]["id"], id.as_str(), "{name}");
        assert_eq!(status["status"]["pinned"], true, "{name}");
    }
    runs(&world, "if-not-present", "hello")?;
    runs(&world, "by-id", &id)?;

    // Always pulls first: answered from the store, and told.
    let pulled = world.crictl.run(&["pull", NAME])?;
    ensure!(pulled.contains(&id), "{pulled}");
    runs(&world, "always", NAME)?;
    let inspected = world.instance.shimctl(&["inspect", NAME])?.json()?;
    let name = &inspected[0]["Shim"]["Names"][0];
    assert_eq!((&name["AnsweredPulls"], &name["PullPolicy"]), (&1.into(), &"local".into()), "{inspected}");
    let log = world.host.sh("cat /var/lib/shim/log/shimd.log")?;
    ensure!(log.contains("answered a pull with the image that was made here"), "{log}");

    // A pull of a name that is not here asks the registry.
    let failed = world.crictl.command(&["pull", "other"]).output()?;
    ensure!(!failed.status.success() && failed.stderr.contains("docker.io"), "{failed}");
    Ok(())
}

#[test]
fn the_registry_wins_where_it_is_told_to() -> Result<()> {
    let mut world = World::new(&Engine::one_seven()?)?;
    build(&world)?;
    world.registry.kill()?;
    let policy = "[images]\npull = \"local\"\n[[images.names]]\npattern = \"docker.io/library/hel*\"\npull = \"registry\"\n";
    files::put(world.host.etc("shim/shimd.toml"), policy)?;
    world.instance.kill("shimd")?;
    let failed = world.crictl.command(&["pull", NAME]).output()?;
    ensure!(!failed.status.success(), "{failed}");
    // It is here all the same, for the other policies.
    runs(&world, "if-not-present", NAME)
}
