//! A plain containerd runs pods in a host: the reference of everything that follows.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::containerd::{Containerd, Engine};
use tests::critest;
use tests::eventually;
use tests::host::{Host, Options};
use tests::images::{base_set, critest_set};
use tests::registry::Registry;

const SOON: Duration = Duration::from_secs(30);

/// Runs a pod with a web server and a shell, restarts containerd under them, and removes everything.
fn runs_pods(engine: &Engine) -> Result<()> {
    let host = Host::with(&Options { ip_forward: true, ..Options::default() })?;
    let before = host.traces()?;
    let mut registry = Registry::start(&host)?;
    registry.serve(&base_set()?)?;
    registry.serve(&critest_set()?)?;
    let certs = host.dir().join("certs.d");
    registry.mirror(&certs)?;
    let mut containerd = Containerd::start(&host, "plain", engine, &certs)?;
    let crictl = containerd.crictl()?;
    crictl.run(&["pull", "busybox"])?;
    crictl.run(&["pull", "registry.k8s.io/e2e-test-images/nginx:1.14-2"])?;

    let pod = crictl.run_pod("one")?;
    pod.start("web", "registry.k8s.io/e2e-test-images/nginx:1.14-2", &[])?;
    let shell = pod.start("shell", "busybox", &["sh", "-c", "echo started; exec sleep 1000"])?;
    let url = format!("http://{}/", pod.address()?);
    let works = || eventually(SOON, "the web server", || host.command("curl").args(["-sf", &url]).stdout());
    assert_eq!(works()?, "It works: nginx");
    assert_eq!(crictl.run(&["exec", &shell, "cat", "/etc/group"])?.lines().next(), Some("root:x:0:"));
    ensure!(pod.log("shell")?.contains("stdout F started"), "{}", pod.log("shell")?);

    containerd.restart()?;
    assert_eq!(works()?, "It works: nginx");
    assert_eq!(crictl.json(&["inspect", &shell])?["status"]["state"], "CONTAINER_RUNNING");

    pod.remove()?;
    containerd.stop()?;
    registry.kill()?;
    let left = host.traces()?.since(&before);
    let processes: Vec<&String> = left.iter().filter(|line| line.starts_with("process")).collect();
    ensure!(processes.is_empty(), "{processes:?}");
    Ok(())
}

#[test]
fn debians_containerd_runs_pods() -> Result<()> {
    runs_pods(&Engine::debian()?)
}

#[test]
fn containerd_1_7_runs_pods() -> Result<()> {
    runs_pods(&Engine::one_seven()?)
}

#[test]
fn containerd_2_runs_pods() -> Result<()> {
    runs_pods(&Engine::two()?)
}

#[test]
fn critest_runs_on_a_plain_containerd() -> Result<()> {
    let report = critest::baseline(&Engine::two()?, Some("should support network|runtime info"))?;
    let (passed, failed, _) = report.counts();
    ensure!(passed >= 2 && failed == 0, "{report:?}");
    Ok(())
}
