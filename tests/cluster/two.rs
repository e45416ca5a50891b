//! Two clusters on one machine, and what is said where something is taken.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::cluster::Cluster;
use tests::containerd::Engine;
use tests::host::{Host, Options};
use tests::images::base_set;
use tests::instance::DEFAULT_ROOT;
use tests::product;
use tests::registry::Registry;

/// How long it may take to write all components into one file, on a busy machine.
const BUNDLE_LIMIT: Duration = Duration::from_secs(120);

/// A pod that stays.
fn sleeper(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         containers: [{{name: c, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, '1000000']}}]\n"
    )
}

/// Returns the machine's traces but for those that programs of others leave.
fn traces(host: &Host) -> Result<Vec<String>> {
    let listed = host.sh("cat /etc/hosts; ls -A /run/shim /etc/kubernetes /var/lib/kubelet 2>/dev/null || true; nft list ruleset; ip -o link | cut -d: -f2; cat /proc/sys/net/ipv4/ip_forward")?;
    Ok(listed.lines().map(str::to_owned).collect())
}

fn other_root(host: &Host) -> Result<std::path::PathBuf> {
    let root = host.dir().join("two");
    host.command("mkdir").arg("-p").arg(&root).run()?;
    Ok(root)
}

#[test]
fn two_clusters_do_not_notice_each_other() -> Result<()> {
    // A firewall that drops, and a resolv.conf as systemd-resolved leaves it: the second cluster has a 2.x engine.
    let options = Options { forward_drop: true, resolv_conf_symlink: true, ..Options::default() };
    let host = Host::with(&options)?;
    let _registry = Registry::stocked(&host, &[base_set()?])?;
    let one = Cluster::up(&host, &Engine::debian()?).context("one")?;
    let two = Cluster::new(&host, &Engine::two()?, &other_root(&host)?)?;
    host.command("cp").args(["-r", "/etc/shim/certs.d"]).arg(two.root().join("etc")).run()?;
    // What the one has is all that the other needs: as on a machine without any network.
    let bundle = host.dir().join("bundle.tar");
    one.instance().shimctl(&["bundle", "-o"])?.arg(&bundle).limit(BUNDLE_LIMIT).run()?;
    // A proxy is for the world, not for the cluster.
    let up = two.up_from(&format!("bundle={}", bundle.display()))?;
    let proxied = up.env("HTTPS_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9");
    proxied.run().with_context(|| two.instance().logs())?;
    for (cluster, name) in [(&one, "first"), (&two, "second")] {
        cluster.apply(&sleeper(name))?;
        cluster.wait("--for=condition=Ready", &[&format!("pod/{name}")])?;
    }
    for (cluster, name) in [(&one, "first"), (&two, "second")] {
        let pods = cluster.kubectl(&["get", "pods", "-o", "name"]).stdout()?;
        assert_eq!(pods.trim(), format!("pod/{name}"));
    }
    // Only the default instance has the well-known names.
    let hosts = host.sh("grep -c kubernetes.docker.internal /etc/hosts")?;
    assert_eq!(hosts, "1");
    let server = two.kubectl(&["config", "view", "-o", "jsonpath={.clusters[0].cluster}"]).stdout()?;
    ensure!(
        server.contains("https://127.0.0.1:") && server.contains("kubernetes.docker.internal"),
        "{server}"
    );
    // The end of one is nothing to the other.
    let started = |cluster: &Cluster, name: &str| {
        cluster.kubectl(&["get", "pod", name, "-o", "jsonpath={.status.startTime} {.status.phase}"]).stdout()
    };
    let before = started(&two, "second")?;
    one.instance().shimctl(&["reset"])?.run()?;
    assert_eq!(started(&two, "second")?, before);
    ensure!(before.ends_with("Running"), "{before}");
    two.instance().shimctl(&["reset", "--all"])?.run().map(drop)
}

#[test]
fn what_is_taken_or_wrong_is_said_before_anything_is_changed() -> Result<()> {
    let host = Host::new()?;
    let engine = Engine::debian()?;
    let cluster = Cluster::new(&host, &engine, Path::new(DEFAULT_ROOT))?;
    let before = traces(&host)?;
    let refused = |expected: &[&str]| -> Result<()> {
        let said = cluster.up_command()?.fails_with(1)?;
        for part in expected {
            ensure!(said.stderr.contains(part), "{part:?} is missing in {said}");
        }
        cluster.instance().shimctl(&["reset"])?.run()?;
        assert_eq!(traces(&host)?, before);
        Ok(())
    };
    let holder =
        host.daemon("taker", host.command("busybox").args(["httpd", "-f", "-p", "127.0.0.1:6443"]))?;
    tests::eventually(Duration::from_secs(10), "the port to be taken", || {
        host.sh("busybox netstat -ltn | grep -q 127.0.0.1:6443").map(drop)
    })?;
    refused(&["6443", "busybox"])?;
    drop(holder);
    host.sh("echo '10.9.9.9 kubernetes.docker.internal' >>/etc/hosts")?;
    let with_name = traces(&host)?;
    let said = cluster.up_command()?.fails_with(1)?;
    ensure!(
        said.stderr.contains("kubernetes.docker.internal") && said.stderr.contains("/etc/hosts"),
        "{said}"
    );
    cluster.instance().shimctl(&["reset"])?.run()?;
    assert_eq!(traces(&host)?, with_name);
    host.sh("sed -i '/10.9.9.9/d' /etc/hosts")?;

    let unknown = ["up", "--components", "build", "--kubernetes-version", "v1.99.0"];
    let said = cluster.instance().shimctl(&unknown)?.fails_with(1)?;
    ensure!(said.stderr.contains("v1.99.0") && said.stderr.contains("v1.36.3"), "{said}");
    cluster.instance().shimctl(&["reset"])?.run()?;

    let broken = host.dir().join("broken.tar");
    tests::files::put(&broken, "this is no bundle")?;
    let bundle = format!("bundle={}", broken.display());
    let said = cluster.instance().shimctl(&["up", "--components", &bundle])?.fails_with(1)?;
    ensure!(said.stderr.contains("broken.tar"), "{said}");
    cluster.instance().shimctl(&["reset"])?.run()?;

    let nowhere = host.command(product::program("shimctl")?).args(["--root", "/proc/nowhere", "up"]);
    let said = nowhere.env("PATH", engine.path()).output()?;
    ensure!(!said.status.success() && said.stderr.contains("/proc/nowhere"), "{said}");
    Ok(())
}
