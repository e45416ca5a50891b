//! Daemons that die, as the box has it: what is taken over, what is started again, and that pods run on.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::containerd::Engine;
use tests::crictl::Crictl;
use tests::host::Host;
use tests::images::base_set;
use tests::instance::{DEFAULT_ROOT, Instance};
use tests::registry::Registry;
use tests::{eventually, files};

use super::{SOON, is_as_before, kill};

/// Parts that are processes.
const PARTS: [&str; 3] = ["box", "shimd", "containerd"];

/// What the passenger runs: its name is no text, and looks like something else in the kernel's lists.
const ODD: &str = "printf '\\377) Z 1' >/proc/self/comm; sleep 1000 & wait";

/// An instance with one pod.
struct Ship {
    host: Host,
    instance: Instance,
    crictl: Crictl,
    container: String,
    _registry: Registry,
}

impl Ship {
    fn new(host: Host, engine: &Engine) -> Result<Self> {
        let registry = Registry::stocked(&host, &[base_set()?])?;
        let instance = Instance::up(&host, engine)?;
        let crictl = instance.crictl()?;
        crictl.run(&["pull", "busybox"])?;
        let container = crictl.run_pod("passenger")?.start("passenger", "busybox", &["sh", "-c", ODD])?;
        Ok(Self { host, instance, crictl, container, _registry: registry })
    }

    /// Returns what must not change of the container, whatever dies: it, its process, and how often it was started.
    fn passenger(&self) -> Result<Value> {
        let status = self.crictl.json(&["inspect", &self.container])?;
        assert_eq!(self.crictl.run(&["exec", &self.container, "echo", "aboard"])?, "aboard");
        let pods = self.crictl.json(&["pods"])?;
        ensure!(pods["items"].as_array().is_some_and(|pods| pods.len() == 1), "{pods}");
        let status = [&status["status"], &status["info"]["pid"]];
        Ok(json!([
            status[0]["id"],
            status[0]["state"],
            status[0]["metadata"],
            status[0]["startedAt"],
            status[1],
            pods["items"][0]["id"],
            pods["items"][0]["state"],
        ]))
    }

    fn pids(&self) -> Result<Vec<u64>> {
        PARTS.into_iter().map(|part| self.instance.pid(part)).collect()
    }

    /// Returns the namespaces of a process.
    fn namespaces(&self, pid: u64) -> Result<String> {
        self.host.sh(&format!("readlink /proc/{pid}/ns/net /proc/{pid}/ns/mnt"))
    }
}

#[test]
fn pods_outlive_any_of_ours_and_all() -> Result<()> {
    let host = Host::new()?;
    let before = host.traces()?;
    let ship = Ship::new(host, &Engine::two()?)?;
    let passenger = ship.passenger()?;
    let the_box = ship.namespaces(ship.instance.pid("containerd")?)?;

    // The lifecycle service, however it ends: nothing else notices, and the next one takes everything over.
    for signal in ["-TERM", "-KILL"] {
        let (pids, service_pid) = (ship.pids()?, ship.instance.service_pid()?);
        ship.host.command("kill").args([signal, &service_pid.to_string()]).run()?;
        eventually(SOON, "the end of the service", || {
            ship.instance.shimctl(&["status"])?.fails_with(3).map(drop)
        })?;
        assert_eq!(ship.passenger()?, passenger, "after {signal}");
        ship.instance.start()?;
        assert_eq!(ship.pids()?, pids, "after {signal}");
        assert_eq!(ship.instance.part("containerd")?["restarts"], 0);
    }

    // The holder: a new one joins the same box.
    ship.instance.kill("box")?;
    assert_eq!(ship.namespaces(ship.instance.pid("box")?)?, the_box);
    assert_eq!(ship.instance.part("box")?["restarts"], 1);
    assert_eq!(ship.passenger()?, passenger, "after the holder died");

    // Daemons that are asked to end, and that are killed, are started again.
    for (number, signal) in [(1, "-TERM"), (2, "-KILL")] {
        for part in ["shimd", "containerd"] {
            let pid = ship.instance.pid(part)?;
            ship.host.command("kill").args([signal, &pid.to_string()]).run()?;
            eventually(SOON, &format!("{part} after {signal}"), || {
                let now = ship.instance.part(part)?;
                ensure!(now["state"] == "ready" && now["pid"] != pid && now["restarts"] == number, "{now}");
                Ok(())
            })
            .with_context(|| ship.instance.logs())?;
            assert_eq!(ship.passenger()?, passenger, "after {part} died");
        }
    }
    assert_eq!(ship.namespaces(ship.instance.pid("containerd")?)?, the_box);

    // All of ours at once, and nobody is left to start anything again.
    let all: Vec<u64> = std::iter::once(ship.instance.service_pid()?).chain(ship.pids()?).collect();
    kill(&ship.host, &all)?;
    ship.instance.start()?;
    assert_eq!(ship.passenger()?, passenger, "after all of ours died");
    assert_eq!(ship.namespaces(ship.instance.pid("containerd")?)?, the_box);
    let next = ship.crictl.run_pod("next")?;
    next.start("next", "busybox", &["sleep", "1000"])?;

    // All of ours once more, and down it goes.
    let all: Vec<u64> = std::iter::once(ship.instance.service_pid()?).chain(ship.pids()?).collect();
    kill(&ship.host, &all)?;
    ship.instance.down()?;
    let Ship { host, _registry: registry, .. } = ship;
    drop(registry);
    host.sh("rm -rf /etc/shim")?;
    is_as_before(&host, &before)
}

#[test]
fn down_asks_containers_to_end_before_it_kills_them() -> Result<()> {
    let ship = Ship::new(Host::new()?, &Engine::debian()?)?;
    let pod = ship.crictl.run_pod("two")?;
    let obliging = "trap 'echo asked; exit 0' TERM; echo here; while :; do sleep 1000; done";
    pod.start("obliging", "busybox", &["sh", "-c", obliging])?;
    pod.start(
        "stubborn",
        "busybox",
        &["sh", "-c", "trap 'echo asked' TERM; echo here; while :; do sleep 0.2; done"],
    )?;
    eventually(SOON, "both", || {
        ensure!(pod.log("obliging")?.contains("here") && pod.log("stubborn")?.contains("here"), "not yet");
        Ok(())
    })?;
    // One whose pod named a cgroup that is not the instance's is ours all the same.
    let elsewhere =
        ship.crictl.run_pod_with("elsewhere", &json!({"linux": {"cgroup_parent": "/elsewhere"}}))?;
    elsewhere.start("stray", "busybox", &["sleep", "1000"])?;
    let down = ship.instance.shimctl(&["down", "--grace", "2s"])?.run()?;
    ensure!((2.0..20.0).contains(&down.elapsed.as_secs_f64()), "{down}");
    for container in ["obliging", "stubborn"] {
        ensure!(pod.log(container)?.contains("asked"), "{container}: {}", pod.log(container)?);
    }
    assert_eq!(ship.host.sh("pgrep -l 'sleep|containerd|shimd|pause' || true")?, "");
    // What is up again knows of them as of ended ones.
    ship.instance.start()?;
    assert_eq!(ship.crictl.run(&["ps", "-q"])?, "");
    let ended = ship.crictl.run(&["ps", "-aq"])?;
    assert_eq!(ended.lines().count(), 4, "{ended}");
    ship.crictl.remove_all()
}

#[test]
fn down_needs_no_service_that_runs() -> Result<()> {
    let ship = Ship::new(Host::new()?, &Engine::debian()?)?;
    kill(&ship.host, &[ship.instance.service_pid()?])?;
    ship.instance.down()?;
    assert_eq!(ship.host.sh("pgrep -l 'sleep|containerd|shimd|bootstrap' || true")?, "");
    ship.instance.start()?;
    ship.crictl.run_pod("again")?.start("again", "busybox", &["sleep", "1000"])?;
    let all: Vec<u64> = std::iter::once(ship.instance.service_pid()?).chain(ship.pids()?).collect();
    kill(&ship.host, &all)?;
    ship.instance.down()?;
    assert_eq!(
        ship.host.sh("pgrep -l 'sleep|containerd|shimd|bootstrap' || true; ls /run/shim 2>&1 || true")?,
        "ls: cannot access '/run/shim': No such file or directory"
    );
    let nothing = ship.instance.shimctl(&["down"])?.run()?;
    ensure!(nothing.stdout.contains("Nothing runs."), "{nothing}");
    Ok(())
}

/// Makes a directory with a containerd that does not start while a file `broken` is there.
fn moody(dir: &Path) -> Result<Engine> {
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] || [ ! -e {0}/broken ] || {{ echo 'cannot start today'; exit 7; }}\n\
         exec /usr/bin/containerd \"$@\"\n",
        dir.display()
    );
    files::put_program(dir.join("containerd"), script)?;
    Engine::in_dir(dir)
}

#[test]
fn what_dies_again_and_again_is_given_time() -> Result<()> {
    let host = Host::new()?;
    let dir = host.dir().join("moody");
    let ship = Ship::new(host.clone(), &moody(&dir)?)?;
    let passenger = ship.passenger()?;
    files::put(dir.join("broken"), "")?;
    let pid = ship.instance.pid("containerd")?;
    host.command("kill").args(["-9", &pid.to_string()]).run()?;
    // The pauses double; all is told, and nobody has to type anything.
    let part = eventually(SOON, "containerd to be given time", || {
        let part = ship.instance.part("containerd")?;
        let message = part["message"].as_str().unwrap_or_default();
        ensure!(part["state"] == "backing_off" && message.contains("again in 1.6s"), "{part}");
        Ok(part)
    })?;
    let message = part["message"].as_str().unwrap_or_default();
    ensure!(message.contains("exit status 7") && part["pid"] == 0, "{part}");
    ensure!(part["restarts"].as_u64().is_some_and(|restarts| restarts == 5), "{part}");
    ship.instance.shimctl(&["status"])?.fails_with(1)?;
    let log = ship.instance.shimctl(&["logs", "containerd"])?.stdout()?;
    assert_eq!(log.matches("cannot start today").count(), 4, "{log}");
    host.command("rm").arg(dir.join("broken")).run()?;
    eventually(SOON, "containerd", || {
        let part = ship.instance.part("containerd")?;
        ensure!(part["state"] == "ready", "{part}");
        Ok(())
    })?;
    assert_eq!(ship.passenger()?, passenger);
    ship.instance.down()
}

#[test]
fn what_never_starts_is_a_failure_that_can_be_mended() -> Result<()> {
    let host = Host::new()?;
    let before = host.traces()?;
    let dir = host.dir().join("moody");
    let instance = Instance::new(&host, &moody(&dir)?, DEFAULT_ROOT.as_ref());
    files::put(dir.join("broken"), "")?;
    let failed = instance.shimctl(&["up", "--no-kubernetes"])?.fails_with(1)?;
    for said in ["containerd", "exit status 7", "cannot start today", "shimctl logs containerd"] {
        ensure!(failed.stderr.contains(said), "{said:?} is missing in {failed}");
    }
    assert_eq!(instance.part("containerd")?["state"], "failed");
    assert_eq!(instance.part("shimd")?["state"], "ready");
    host.command("rm").arg(dir.join("broken")).run()?;
    instance.start()?;
    instance.down()?;
    is_as_before(&host, &before)
}
