//! Daemons that die under running pods.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::containerd::Engine;
use tests::eventually;
use tests::instance::Instance;

use super::{NGINX, World};

const SOON: Duration = Duration::from_secs(60);

/// What must not change of a container: its ID, its state, how often it was started, and when.
fn identity(world: &World, container: &str) -> Result<Value> {
    let status = world.crictl.json(&["inspect", container])?;
    let status = &status["status"];
    Ok(serde_json::json!([
        status["id"],
        status["state"],
        status["metadata"],
        status["startedAt"],
        status["imageId"]
    ]))
}

/// Kills the lifecycle service and types `up` again, which adopts what runs.
fn kill_lifecycle(instance: &Instance, world: &World) -> Result<()> {
    let status = instance.shimctl(&["status", "-o", "json"])?.json()?;
    let pid = status["pid"].as_u64().with_context(|| format!("no pid in {status}"))?;
    world.host.command("kill").args(["-9", &pid.to_string()]).run()?;
    let parts = |name| instance.part(name).map(|part| part["pid"].clone());
    let before: Vec<&Value> = status["parts"].as_array().into_iter().flatten().collect();
    instance.start()?;
    for part in before {
        let name = part["name"].as_str().context("a part without a name")?;
        assert_eq!(parts(name)?, part["pid"], "{name} was not adopted");
    }
    Ok(())
}

fn survive(engine: &Engine) -> Result<()> {
    let world = World::new(engine)?;
    world.crictl.run(&["pull", "busybox"])?;
    world.crictl.run(&["pull", NGINX])?;
    let pod = world.crictl.run_pod("first")?;
    let web = pod.start("web", NGINX, &[])?;
    let url = format!("http://{}/", pod.address()?);
    let works =
        || eventually(SOON, "the web server", || world.instance.in_box("curl")?.args(["-sf", &url]).stdout());
    assert_eq!(works()?, "It works: nginx");
    let before = identity(&world, &web)?;
    ensure!(before[1] == "CONTAINER_RUNNING", "{before}");
    let images = world.crictl.run(&["images"])?;
    for (number, died) in ["shimd", "containerd", "the lifecycle service"].iter().enumerate() {
        match *died {
            "the lifecycle service" => kill_lifecycle(&world.instance, &world)?,
            part => world.instance.kill(part)?,
        }
        assert_eq!(identity(&world, &web)?, before, "after {died} died");
        assert_eq!(works()?, "It works: nginx");
        assert_eq!(world.crictl.run(&["images"])?, images, "after {died} died");
        let next = world.crictl.run_pod(&format!("next-{number}"))?;
        next.start("shell", "busybox", &["sleep", "1000"])?;
        next.remove()?;
    }
    pod.remove()?;
    world.instance.down()
}

#[test]
fn pods_survive_on_debians_containerd() -> Result<()> {
    survive(&Engine::debian()?)
}

#[test]
fn pods_survive_on_containerd_2() -> Result<()> {
    survive(&Engine::two()?)
}
