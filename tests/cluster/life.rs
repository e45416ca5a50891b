//! A cluster's life: an `up` that is interrupted, a reboot, reset, another version in its place, down and up; what survives each.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::cluster::Cluster;
use tests::containerd::Engine;
use tests::daemon::Signal;
use tests::host::{Host, Traces};
use tests::images::base_set;
use tests::instance::DEFAULT_ROOT;
use tests::registry::Registry;
use tests::{eventually, files};

use crate::version::{self, is_of_version, is_refused};
use crate::{kubeconfig, pods};

/// How long an interrupted `up` may have got to the kubelet, and how long it may then take to end.
const KUBELET_LIMIT: Duration = Duration::from_secs(120);
const INTERRUPT_LIMIT: Duration = Duration::from_secs(10);
/// How long everything may take to end that is killed.
const REBOOT_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take until the keeper runs.
const KEEPER_LIMIT: Duration = Duration::from_secs(120);

/// Writes its name into its claim's volume once, and serves what is there.
const KEEPER: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: keeper}
spec:
  selector: {matchLabels: {app: keeper}}
  template:
    metadata: {labels: {app: keeper}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: keeper
          image: busybox
          imagePullPolicy: IfNotPresent
          command: [sh, -c, 'echo "started $(date +%s)" >>/data/log; exec httpd -f -p 80 -h /data']
          readinessProbe: {httpGet: {path: /log, port: 80}, periodSeconds: 1}
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"#;

/// What is said to whoever asks for another version than that of the cluster.
const OTHER_VERSION: &str = "the cluster is of version v1.36.1; for v1.36.3 delete it first: shimctl reset";

/// Returns how often the keeper has been started, by what it wrote.
fn starts(host: &Host) -> Result<usize> {
    let log = host.sh("cat /var/lib/shim/volumes/default/data/log")?;
    Ok(log.lines().count())
}

/// Waits until the keeper has been started so often. What the API server says of it may be from before a stop.
fn keeper_has_started(cluster: &Cluster, host: &Host, times: usize) -> Result<()> {
    eventually(KEEPER_LIMIT, "the keeper", || {
        ensure!(starts(host)? == times, "{} starts, not {times}", starts(host)?);
        Ok(())
    })
    .with_context(|| cluster.describe())?;
    cluster.wait("--for=condition=Available", &["deployment/keeper"])
}

/// Returns what was left behind that nobody expects: kubectl caches, and iptables has a lock file wherever it runs.
fn left(host: &Host, before: &Traces) -> Result<Vec<String>> {
    let expected = ["/.kube", "/run/xtables.lock", "/etc/shim/bootstrap.toml"];
    let mut left = host.traces()?.since(before);
    left.retain(|trace| !expected.iter().any(|expected| trace.contains(expected)));
    Ok(left)
}

/// Kills every process of the instance. What was being started meanwhile goes, too.
pub(crate) fn kill_everything(host: &Host) -> Result<()> {
    let left = "find /sys/fs/cgroup -path '*/shim/*' -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u";
    eventually(REBOOT_LIMIT, "everything to have ended", || {
        let left = host.sh(&format!("{left} | xargs -r kill -9 2>/dev/null || true; {left}"))?;
        ensure!(left.is_empty(), "{left} are left");
        Ok(())
    })
}

/// A reboot: everything is gone at once, cgroups and what is in the run directory with it.
fn reboot(host: &Host) -> Result<()> {
    kill_everything(host)?;
    host.sh(
        "find /sys/fs/cgroup -depth -mindepth 1 -path '*/shim/*' -type d -exec rmdir {} +; rm -rf /run/shim",
    )
    .map(drop)
}

/// Types `up`, and Ctrl-C when the kubelet is being started: the work goes on, as is said.
fn interrupt(cluster: &Cluster, host: &Host) -> Result<()> {
    let mut up = host.daemon("up", cluster.up_command()?)?;
    let service = up.ready(KUBELET_LIMIT, "the kubelet to be started", || {
        let state = cluster.instance().part("kubelet")?["state"].clone();
        ensure!(state == "starting" || state == "ready", "{state}");
        cluster.instance().service_pid()
    })?;
    up.signal(Signal::INT)?;
    let (status, said) = (up.wait(INTERRUPT_LIMIT)?, up.log()?);
    ensure!(status.code() == Some(130), "{status}: {said}");
    ensure!(said.contains("interrupted; the work goes on: shimctl up follows it again"), "{said}");
    assert_eq!(cluster.instance().service_pid()?, service, "{said}");
    Ok(())
}

#[test]
fn up_reboot_reset_another_version_down() -> Result<()> {
    let host = Host::new()?;
    let _registry = Registry::stocked(&host, &[base_set()?])?;
    let others = "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters: [{name: work, cluster: {server: https://work.example}}]\ncontexts: [{name: work, context: {cluster: work, user: me}}]\nusers: [{name: me, user: {token: secret}}]\n";
    let kubeconfig = host.home().join(".kube/config");
    let before = host.traces()?;
    let cluster = Cluster::new(&host, &Engine::debian()?, DEFAULT_ROOT.as_ref())?;
    kubeconfig::broken_ones_are_said_first(&cluster, &host, &kubeconfig)?;
    files::put(&kubeconfig, others)?;
    interrupt(&cluster, &host)?;
    cluster.start().context("up after an interrupt")?;
    is_of_version(&cluster, "v1.36.3")?;
    let contexts = cluster.kubectl(&["config", "get-contexts", "-o", "name"]).stdout()?;
    assert_eq!(contexts.lines().collect::<Vec<_>>(), ["docker-desktop", "work"], "{contexts}");
    cluster.apply(KEEPER)?;
    keeper_has_started(&cluster, &host, 1)?;
    let authority = host.sh("cat /var/lib/shim/kubernetes/pki/ca.crt")?;
    version::build(&cluster, &host)?;

    reboot(&host)?;
    cluster.start().context("up after a reboot")?;
    pods::are_ready(&cluster).context("after a reboot")?;
    keeper_has_started(&cluster, &host, 2)?;

    cluster.instance().shimctl(&["reset"])?.run()?;
    assert_eq!(left(&host, &before)?, [""; 0], "after reset");
    let kept = files::text(&kubeconfig)?;
    ensure!(kept.contains("work.example") && !kept.contains("docker-desktop"), "{kept}");
    assert_eq!(host.sh("cat /var/lib/shim/kubernetes/pki/ca.crt")?, authority);
    assert_eq!(host.sh("ls /var/lib/shim/volumes/default")?, "data");

    is_refused(&cluster, "v1.36.99", "known are v1.36.3 and v1.36.1")?;
    is_refused(&cluster, "v1.36", "lacks its last number")?;
    assert_eq!(left(&host, &before)?, [""; 0], "after what was refused");
    let up = cluster.up_command()?.args(["--kubernetes-version", "1.36.1"]);
    up.run().with_context(|| cluster.instance().logs()).context("up of another version")?;
    is_of_version(&cluster, "v1.36.1")?;
    let pods = cluster.get(&["pods"])?;
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(0), "a new cluster is empty: {pods}");
    cluster.apply(KEEPER)?;
    keeper_has_started(&cluster, &host, 3)?;
    version::what_was_built_runs(&cluster)?;
    is_refused(&cluster, "v1.36.3", OTHER_VERSION)?;

    cluster.instance().down().context("down")?;
    is_refused(&cluster, "v1.36.3", OTHER_VERSION)?;
    assert_eq!(left(&host, &before)?, [""; 0], "after down");
    cluster.start().context("up after down")?;
    pods::are_ready(&cluster).context("after down and up")?;
    is_of_version(&cluster, "v1.36.1")?;
    keeper_has_started(&cluster, &host, 4)?;
    cluster.instance().shimctl(&["reset", "--all"])?.run()?;
    assert_eq!(host.sh("ls -d /var/lib/shim/volumes /var/lib/shim/kubernetes 2>/dev/null || true")?, "");
    host.sh("ls /var/lib/shim/store >/dev/null").map(drop)
}
