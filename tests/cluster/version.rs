//! What is asked of a cluster about its version, and of one that takes the place of another's.

use anyhow::{Result, ensure};
use tests::cluster::Cluster;
use tests::files;
use tests::host::Host;

/// Runs what was built with either policy that a build is for; no registry has it.
const BUILT: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: built}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {name: never, image: built-here, imagePullPolicy: Never}
    - {name: if-not-present, image: built-here, imagePullPolicy: IfNotPresent}
";

/// Builds the image.
pub(crate) fn build(cluster: &Cluster, host: &Host) -> Result<()> {
    let context = host.dir().join("built");
    files::put(context.join("word"), "built before the reset\n")?;
    files::put(
        context.join("Dockerfile"),
        "FROM busybox\nCOPY word /word\nCMD [\"sh\", \"-c\", \"cat /word && exec sleep 1000000\"]\n",
    )?;
    cluster.instance().shimctl_in(&context, &["build", "-t", "built-here", "."])?.run().map(drop)
}

/// Runs it.
pub(crate) fn what_was_built_runs(cluster: &Cluster) -> Result<()> {
    cluster.apply(BUILT)?;
    cluster.wait("--for=condition=Ready", &["pod/built"])?;
    for container in ["never", "if-not-present"] {
        let said = cluster.kubectl(&["logs", "built", "-c", container]).stdout()?;
        ensure!(said == "built before the reset", "{container}: {said}");
    }
    Ok(())
}

/// Asks the node, the API server and the kubectl of the instance.
pub(crate) fn is_of_version(cluster: &Cluster, version: &str) -> Result<()> {
    let node = cluster.get(&["node", "docker-desktop"])?;
    let said = cluster.kubectl(&["version", "-o", "json"]).json()?;
    let seen = [
        &node["status"]["nodeInfo"]["kubeletVersion"],
        &said["serverVersion"]["gitVersion"],
        &said["clientVersion"]["gitVersion"],
        &cluster.instance().part("kubernetes")?["version"],
    ]
    .map(|seen| seen.as_str().unwrap_or_default().to_owned());
    assert_eq!(seen, [version; 4], "kubelet, API server, kubectl, status");
    Ok(())
}

/// Asks for a version that cannot be had.
pub(crate) fn is_refused(cluster: &Cluster, version: &str, said: &str) -> Result<()> {
    let output = cluster.up_command()?.args(["--kubernetes-version", version]).fails_with(1)?;
    ensure!(output.stderr.contains(said), "{said:?} is not in {output}");
    Ok(())
}
