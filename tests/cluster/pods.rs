//! The pods that every cluster has, by the words of the documents.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::cluster::Cluster;
use tests::eventually;

/// For how long the kubelet may take back that a pod is ready: it does for a moment, when the first probe answers at once.
const CALM_LIMIT: Duration = Duration::from_secs(10);
const NAMED: [&str; 6] = [
    "etcd-docker-desktop",
    "kube-apiserver-docker-desktop",
    "kube-controller-manager-docker-desktop",
    "kube-scheduler-docker-desktop",
    "storage-provisioner",
    "vpnkit-controller",
];
/// How many there are whose names begin so.
const REPLICATED: [(&str, usize); 2] = [("coredns-", 2), ("kube-proxy-", 1)];

/// Checks, right after `up`, that the nine pods are there and ready, and that this is said of containers that run now.
pub(crate) fn are_ready(cluster: &Cluster) -> Result<()> {
    let said_of = containers(cluster)?;
    let running = running(cluster)?;
    ensure!(said_of.is_subset(&running), "the pods' containers are {said_of:?}, those that run {running:?}");
    eventually(CALM_LIMIT, "nine pods", || {
        let listed = cluster.kubectl(&["get", "pods", "-n", "kube-system", "--no-headers"]).stdout()?;
        let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
        let count = |prefix: &str| rows.iter().filter(|row| row[0].starts_with(prefix)).count();
        ensure!(rows.iter().all(|row| row[1..3] == ["1/1", "Running"]), "{listed}");
        ensure!(NAMED.iter().all(|name| rows.iter().any(|row| row[0] == *name)), "{listed}");
        ensure!(REPLICATED.iter().all(|(prefix, number)| count(prefix) == *number), "{listed}");
        ensure!(rows.len() == 9, "{listed}");
        Ok(())
    })
}

/// Returns the IDs of the containers that the pods' statuses are about.
fn containers(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let ids = "{.items[*].status.containerStatuses[*].containerID}";
    let ids = cluster.kubectl(&["get", "pods", "-n", "kube-system", "-o", &format!("jsonpath={ids}")]);
    let id = |text: &str| text.strip_prefix("containerd://").map(str::to_owned);
    ids.stdout()?
        .split_whitespace()
        .map(|text| id(text).with_context(|| format!("{text} is no ID")))
        .collect()
}

/// Returns the IDs of the containers that run.
fn running(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let listed = cluster.instance().crictl()?.run(&["ps", "--quiet", "--no-trunc"])?;
    Ok(listed.split_whitespace().map(str::to_owned).collect())
}
