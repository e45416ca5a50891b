//! One bring-up during which the lifecycle service is killed at every place where it can be, once; then all of it at once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::cluster::Cluster;
use tests::containerd::Engine;
use tests::eventually;
use tests::files;
use tests::host::Host;

use crate::{life, pods};

/// How long certificates may take: they are looked at every ten seconds, and whoever reads them starts again.
const RENEWAL_LIMIT: Duration = Duration::from_secs(120);

#[test]
fn up_goes_on_after_every_kill() -> Result<()> {
    let host = Host::new()?;
    let cluster = Cluster::new(&host, &Engine::debian()?, tests::instance::DEFAULT_ROOT.as_ref())?;
    let places = host.dir().join("places");
    let mut kills = 0;
    loop {
        let up = cluster.up_command()?.env("SHIM_FAILPOINT", format!("up new {}", places.display()));
        let output = up.output()?;
        if output.status.success() {
            break;
        }
        kills += 1;
        let reached = files::text(&places).unwrap_or_default().lines().count();
        ensure!(reached == kills, "{kills} attempts, {reached} kills: {output}{}", cluster.instance().logs());
    }
    let reached = files::text(&places)?;
    for place in
        ["making cgroups", "starting the kubelet", "making the control plane", "no node can join any more"]
    {
        ensure!(reached.lines().any(|line| line == place), "{place:?} is not among {reached}");
    }
    pods::are_ready(&cluster)?;
    let secrets = cluster.get(&["secrets", "-n", "kube-system"])?.to_string();
    ensure!(!secrets.contains("bootstrap.kubernetes.io/token"), "a token is left: {secrets}");
    // Certificates that are missing are like those that end soon: made while the cluster runs.
    host.sh("rm /var/lib/shim/kubernetes/pki/apiserver.crt /var/lib/shim/kubernetes/kubelet.conf")?;
    eventually(RENEWAL_LIMIT, "the certificates to be made again", || {
        host.sh("ls /var/lib/shim/kubernetes/pki/apiserver.crt /var/lib/shim/kubernetes/kubelet.conf")?;
        host.sh("! ls /var/lib/shim/kubernetes/pki/.unsettled 2>/dev/null").map(drop)
    })
    .with_context(|| cluster.instance().logs())?;
    eventually(RENEWAL_LIMIT, "the cluster to be ready again", || {
        let status = cluster.instance().status()?;
        ensure!(status["ready"] == true, "{status}");
        cluster.kubectl(&["get", "nodes"]).run().map(drop)
    })
    .with_context(|| cluster.describe())?;
    // All at once: what is left of the pods are their cgroups, among which a kubelet would look for them.
    life::kill_everything(&host)?;
    let left =
        host.sh("find /sys/fs/cgroup -type d -path '*/shim/pods/kubepods' -exec mkdir {}/left ';' -print")?;
    ensure!(!left.is_empty(), "the pods have no cgroups");
    cluster.start().context("up after everything was killed")?;
    pods::are_ready(&cluster).context("after everything was killed")?;
    let left = host.sh("find /sys/fs/cgroup -type d -path '*/shim/pods/kubepods/left'")?;
    assert_eq!(left, "", "cgroups of pods that are gone");
    cluster.instance().shimctl(&["reset"])?.run().map(drop)
}
