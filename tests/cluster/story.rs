//! The stories of the documents, typed as they have them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::cluster::Cluster;
use tests::containerd::Engine;
use tests::host::Host;
use tests::images::{getting_started_set, golang_set};
use tests::registry::Registry;
use tests::{eventually, files};

use crate::pods;

const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/hellodocker");
/// How long a service may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Waits until `curl localhost` prints something.
fn until_curl(host: &Host, url: &str, expected: &str) -> Result<String> {
    eventually(ANSWER_LIMIT, &format!("{expected:?} from {url}"), || {
        let page = host.command("curl").args(["-sS", "--max-time", "5", url]).stdout()?;
        ensure!(page.contains(expected), "{page}");
        Ok(page)
    })
}

/// What every cluster has, by the words of the documents.
fn looks_like_docker_desktop(cluster: &Cluster) -> Result<()> {
    let names = |args: &[&str]| -> Result<BTreeSet<String>> {
        let list = cluster.kubectl(&["get"]).args(args).args(["-o", "name"]).stdout()?;
        let name = |line: &str| line.split_once('/').map_or(line, |(_, name)| name).to_owned();
        Ok(list.lines().map(name).collect())
    };
    pods::are_ready(cluster)?;
    let services = cluster.kubectl(&["get", "svc", "--no-headers"]).stdout()?;
    let columns: Vec<&str> = services.split_whitespace().take(5).collect();
    assert_eq!(columns, ["kubernetes", "ClusterIP", "10.96.0.1", "<none>", "443/TCP"]);
    assert_eq!(cluster.get(&["svc", "kube-dns", "-n", "kube-system"])?["spec"]["clusterIP"], "10.96.0.10");
    let namespaces = names(&["namespaces"])?;
    for expected in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        ensure!(namespaces.contains(expected), "{namespaces:?}");
    }
    let maps = names(&["configmaps", "-n", "kube-system"])?;
    for expected in
        ["coredns", "extension-apiserver-authentication", "kube-proxy", "kubeadm-config", "kubelet-config"]
    {
        ensure!(maps.contains(expected), "{maps:?}");
    }
    assert_eq!(names(&["nodes"])?, BTreeSet::from(["docker-desktop".to_owned()]));
    let config = cluster.kubectl(&["config", "view", "-o", "json"]).stdout()?;
    let config: serde_json::Value = serde_json::from_str(&config)?;
    assert_eq!(config["current-context"], "docker-desktop");
    assert_eq!(config["clusters"][0]["name"], "docker-desktop");
    assert_eq!(config["clusters"][0]["cluster"]["server"], "https://kubernetes.docker.internal:6443");
    let tokens = cluster.get(&["secrets", "-n", "kube-system"])?;
    ensure!(!tokens.to_string().contains("bootstrap.kubernetes.io/token"), "a token is left: {tokens}");
    Ok(())
}

#[test]
fn what_is_built_runs() -> Result<()> {
    let host = Host::new()?;
    let _registry = Registry::stocked(&host, &[golang_set()?, getting_started_set()?])?;
    let cluster = Cluster::up(&host, &Engine::debian()?)?;
    looks_like_docker_desktop(&cluster)?;
    cluster.kubectl(&["config", "use-context", "docker-desktop"]).run()?;

    let yaml = files::text(Path::new(HELLO).join("tutorial.yaml"))?;
    cluster.apply(&yaml)?;
    until_curl(&host, "http://localhost:80", "Getting Started").with_context(|| cluster.describe())?;
    let service = cluster.kubectl(&["get", "svc", "tutorial", "--no-headers"]).stdout()?;
    assert_eq!(service.split_whitespace().nth(3), Some("localhost"), "{service}");

    let context = host.dir().join("hello");
    host.command("cp").args(["-r", HELLO]).arg(&context).run()?;
    let build = ["build", "-t", "hellodocker", "."];
    cluster.instance().shimctl_in(&context, &build)?.run()?;
    cluster.apply(&yaml.replace("docker/getting-started", "hellodocker"))?;
    let page = until_curl(&host, "http://localhost:80", "Hello from Docker!");
    let page = page.with_context(|| cluster.describe())?;
    ensure!(page.contains("## ## ## ## ##"), "no whale: {page}");

    let program = files::text(context.join("main.go"))?;
    files::put(context.join("main.go"), program.replace("Hello from Docker!", "Hello again!"))?;
    cluster.instance().shimctl_in(&context, &build)?.run()?;
    cluster.kubectl(&["rollout", "restart", "deployment/tutorial"]).run()?;
    until_curl(&host, "http://localhost:80", "Hello again!").with_context(|| cluster.describe())?;
    cluster.kubectl(&["delete", "svc", "tutorial"]).run()?;
    eventually(ANSWER_LIMIT, "port 80 to be free", || {
        let refused =
            host.command("curl").args(["-sS", "--max-time", "5", "http://localhost:80"]).output()?;
        ensure!(refused.status.code() == Some(7), "{refused}");
        Ok(())
    })
}
