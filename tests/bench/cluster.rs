//! P12: a new cluster, and the same one again, beside plain kubeadm in the same box with the same programs.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tests::cluster::Cluster;
use tests::command::Command;
use tests::eventually;
use tests::host::Host;
use tests::images::base_set;
use tests::instance::DEFAULT_ROOT;
use tests::registry::Registry;

use crate::Options;
use crate::table::{Figure, Goal, Row, Unit};

const PLAIN: &str = include_str!("plain.sh");
/// How long plain kubeadm may take, and the workload.
const LIMIT: Duration = Duration::from_secs(300);

const WORKLOAD: &str = "apiVersion: v1
kind: Pod
metadata: {name: workload}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: workload, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, '1000000']}]
";

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// Waits until the workload runs. The API server says so from the beginning: it remembers.
fn workload_runs(cluster: &Cluster) -> Result<()> {
    let asked = || cluster.kubectl(&["exec", "workload", "--", "true"]).run().map(drop);
    eventually(LIMIT, "the workload", asked)
}

/// Runs the script in the box of the instance, which has no Kubernetes now.
pub(crate) fn plain(cluster: &Cluster, what: &str, socket: &Path) -> Result<Command> {
    let bin = format!("{DEFAULT_ROOT}/bin");
    let script =
        cluster.instance().in_box("bash")?.args(["-c", PLAIN, "plain.sh", what, &bin, "192.168.65.3"]);
    Ok(script.arg(socket).arg("/shim/pods").limit(LIMIT))
}

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let host = Host::new()?;
    let _registry = Registry::stocked(&host, &[base_set()?])?;
    let cluster = Cluster::new(&host, &options.engine, Path::new(DEFAULT_ROOT))?;
    let instance = cluster.instance();
    let socket = instance.socket();
    let reset = || instance.shimctl(&["reset"])?.run().map(drop);
    cluster.start().context("get the components")?;
    reset()?;
    let (mut new, mut again, mut resets, mut kubeadm) = (vec![], vec![], vec![], vec![]);
    for _ in 0..options.runs(3) {
        new.push(timed(|| cluster.start())?);
        cluster.apply(WORKLOAD)?;
        cluster.wait("--for=condition=Ready", &["pod/workload"])?;
        instance.down()?;
        again.push(timed(|| {
            cluster.start()?;
            workload_runs(&cluster)
        })?);
        resets.push(timed(reset)?);
        instance.start()?;
        kubeadm.push(timed(|| plain(&cluster, "up", &socket)?.run().map(drop))?);
        plain(&cluster, "down", &socket)?.run()?;
        instance.down()?;
    }
    let (new, kubeadm) = (Figure::of_times(&new), Figure::of_times(&kubeadm));
    let row = |id, work, ours, against, reference, goal| Row {
        id,
        work,
        against,
        unit: Unit::Time,
        ours,
        reference,
        goal,
    };
    Ok(vec![
        row(
            "P12a",
            "up of a new cluster, until nine pods are ready",
            new,
            "plain kubeadm init in the same box, seven pods",
            Some(kubeadm),
            Goal::Ratio(0.8),
        ),
        row(
            "P12b",
            "up after down, until nine pods and a workload are ready",
            Figure::of_times(&again),
            "P12a",
            Some(new),
            Goal::Ratio(0.5),
        ),
        row("P12", "reset", Figure::of_times(&resets), "", None, Goal::AtMost(3_000.0)),
    ])
}
