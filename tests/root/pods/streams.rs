//! What streams: exec, attach, port-forward, logs, stats and events, called from outside the box.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tests::containerd::Engine;
use tests::crictl::Pod;
use tests::eventually;

use super::{NGINX, World};

const SOON: Duration = Duration::from_secs(60);

fn all_work(engine: &Engine) -> Result<()> {
    let world = World::new(engine)?;
    world.crictl.run(&["pull", "busybox"])?;
    world.crictl.run(&["pull", NGINX])?;
    let pod = world.crictl.run_pod("streams")?;
    let shell = pod.start("shell", "busybox", &["sh", "-c", "echo one; echo two >&2; exec sleep 1000"])?;
    exec(&world, &shell)?;
    attach(&world, &pod)?;
    forward_port(&world, &pod)?;
    assert_eq!(world.crictl.run(&["logs", &shell])?, "one");
    let logs = world.crictl.command(&["logs", &shell]).run()?;
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("one\n", "two\n"));
    stats(&world, &shell)
}

fn exec(world: &World, shell: &str) -> Result<()> {
    assert_eq!(world.crictl.run(&["exec", shell, "echo", "plain"])?, "plain");
    assert_eq!(world.crictl.run(&["exec", "--sync", shell, "echo", "sync"])?, "sync");
    let failed = world.crictl.command(&["exec", shell, "sh", "-c", "exit 7"]).output()?;
    ensure!(!failed.status.success() && failed.stderr.contains("exit code 7"), "{failed}");
    let piped = world.crictl.command(&["exec", "-i", shell, "cat"]).input("through\n").stdout()?;
    assert_eq!(piped, "through");
    // On a terminal, as a person has one.
    let typed = world.crictl.command(&["exec", "-it", shell, "sh"]);
    let screen = world.host.command("script").args(["-qec", &typed.line(), "/dev/null"]);
    let screen = screen.input("tty && echo terminal=$((40 + 2))\nexit\n").stdout()?;
    ensure!(screen.contains("/dev/pts/0") && screen.contains("terminal=42"), "{screen}");
    Ok(())
}

fn attach(world: &World, pod: &Pod) -> Result<()> {
    let script = "read line; echo \"got $line\"; exec sleep 1000";
    let config = json!({"command": ["sh", "-c", script], "stdin": true, "stdin_once": true});
    let reader = pod.create_with("reader", "busybox", &config)?;
    world.crictl.run(&["start", &reader])?;
    let mut attached =
        world.host.daemon("attach", world.crictl.command(&["attach", "-i", &reader]).input("word\n"))?;
    eventually(SOON, "the container's answer", || {
        let log = attached.log()?;
        ensure!(log.contains("got word"), "{log}");
        Ok(())
    })?;
    attached.kill()
}

fn forward_port(world: &World, pod: &Pod) -> Result<()> {
    pod.start("web", NGINX, &[])?;
    let mut forward =
        world.host.daemon("forward", world.crictl.command(&["port-forward", &pod.id, "8080:80"]))?;
    let page = forward.ready(SOON, "the forwarded port", || {
        world.host.command("curl").args(["-sf", "http://127.0.0.1:8080/"]).stdout()
    })?;
    assert_eq!(page, "It works: nginx");
    forward.kill()
}

fn stats(world: &World, shell: &str) -> Result<()> {
    world.crictl.run(&["exec", shell, "dd", "if=/dev/zero", "of=/written", "bs=1M", "count=3"])?;
    // containerd measures writable layers every twenty seconds.
    eventually(SOON, "the written bytes in stats", || {
        let stats = world.crictl.json(&["stats", "--id", shell])?;
        let layer = &stats["stats"][0]["writableLayer"];
        let used: u64 = layer["usedBytes"]["value"].as_str().context("no usedBytes")?.parse()?;
        ensure!(used >= 3 << 20, "{stats}");
        let mountpoint = layer["fsId"]["mountpoint"].as_str().context("no mountpoint")?;
        ensure!(mountpoint.starts_with("/var/lib/shim/store"), "{mountpoint}");
        Ok(())
    })?;
    let info = world.crictl.run(&["imagefsinfo"])?;
    ensure!(info.contains("/var/lib/shim/store"), "{info}");
    Ok(())
}

#[test]
fn on_debians_containerd() -> Result<()> {
    all_work(&Engine::debian()?)
}

#[test]
fn on_containerd_2() -> Result<()> {
    all_work(&Engine::two()?)
}

#[test]
fn events_of_containerd_2() -> Result<()> {
    let world = World::new(&Engine::two()?)?;
    let events = world.host.daemon("events", world.crictl.command(&["events"]))?;
    let pod = world.crictl.run_pod("events")?;
    eventually(SOON, "the sandbox in the events", || {
        let log = events.log()?;
        ensure!(log.contains(&pod.id) && log.contains("CONTAINER_STARTED_EVENT"), "{log}");
        Ok(())
    })
}
