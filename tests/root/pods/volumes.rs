//! What newer containerds do with images besides running them: image volumes, and pods with users of their own.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::containerd::Engine;
use tests::{eventually, files};

use super::World;

const SOON: Duration = Duration::from_secs(60);
const DOCKERFILE: &str = "FROM scratch\nCOPY --chown=7:8 said /deep/said\n";

fn world() -> Result<World> {
    let world = World::new(&Engine::two()?)?;
    let context = world.host.dir().join("context");
    files::put(context.join("Dockerfile"), DOCKERFILE)?;
    files::put(context.join("said"), "from a volume")?;
    world.instance.shimctl_in(&context, &["build", "-q", "-t", "volume", "."])?.run()?;
    world.crictl.run(&["pull", "busybox"])?;
    Ok(world)
}

#[test]
fn a_local_build_is_a_volume() -> Result<()> {
    let world = world()?;
    let pod = world.crictl.run_pod("volume")?;
    let mount = json!({"container_path": "/data", "image": {"image": "volume"}, "readonly": true});
    let config = json!({"command": ["sleep", "1000"], "mounts": [mount]});
    let container = pod.create_with("reader", "busybox", &config)?;
    world.crictl.run(&["start", &container])?;
    assert_eq!(world.crictl.run(&["exec", &container, "cat", "/data/deep/said"])?, "from a volume");
    let write = world.crictl.command(&["exec", &container, "touch", "/data/deep/said"]).output()?;
    ensure!(!write.status.success(), "the volume can be written: {write}");
    pod.remove()?;
    // containerd unmounts it when it next collects.
    eventually(SOON, "the volume to be free", || world.instance.shimctl(&["rmi", "volume"])?.run())?;
    world.instance.shimctl(&["verify"])?.run()?;
    Ok(())
}

#[test]
fn users_are_mapped_and_layers_are_not_changed() -> Result<()> {
    let world = world()?;
    let context = world.host.dir().join("mapped");
    files::put(context.join("Dockerfile"), "FROM busybox\nCOPY --from=volume /deep /deep\n")?;
    world.instance.shimctl_in(&context, &["build", "-q", "-t", "mapped", "."])?.run()?;
    let ids = json!([{"host_id": 1_000_000, "container_id": 0, "length": 65_536}]);
    let users = json!({"userns_options": {"mode": 0, "uids": ids, "gids": ids}});
    let linux = json!({"linux": {"security_context": {"namespace_options": users}}});
    let pod = world.crictl.run_pod_with("mapped", &linux)?;
    let mut config = linux;
    config["command"] = json!(["sleep", "1000"]);
    let container = pod.create_with("mapped", "mapped", &config)?;
    world.crictl.run(&["start", &container])?;
    let map = world.crictl.run(&["exec", &container, "cat", "/proc/self/uid_map"])?;
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "1000000", "65536"]);
    let owner = world.crictl.run(&["exec", &container, "stat", "-c", "%u:%g", "/deep/said"])?;
    assert_eq!(owner, "7:8");
    pod.remove()?;
    // Nothing was changed in the layers, which others are mounted upon.
    world.instance.shimctl(&["verify", "--content"])?.run()?;
    Ok(())
}
