//! One cluster, and on it what developers run: workloads of all kinds, kubectl's ways into pods, their network and their names.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::cluster::Cluster;
use tests::containerd::Engine;
use tests::host::Host;
use tests::images::{base_set, getting_started_set};
use tests::network::Network;
use tests::registry::Registry;
use tests::{eventually, files};

use crate::{ports, security, storage};

const MANIFESTS: [&str; 5] = [
    include_str!("manifests/workloads.yaml"),
    storage::CLAIMS,
    include_str!("manifests/writers.yaml"),
    include_str!("manifests/bad-claims.yaml"),
    include_str!("manifests/ports.yaml"),
];
/// How long anything may take that takes no time.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The time between two runs of a CronJob, and what it takes to see one.
const CRON_LIMIT: Duration = Duration::from_secs(150);
/// How long a changed ConfigMap may take to be seen in a volume: the kubelet looks now and then.
const SETTINGS_LIMIT: Duration = Duration::from_secs(90);
/// How long the figures of containers may take: cAdvisor and containerd each look now and then.
const FIGURES_LIMIT: Duration = Duration::from_secs(60);

/// A cluster in a host, with all the manifests applied.
pub(crate) struct Site {
    pub(crate) host: Host,
    pub(crate) cluster: Cluster,
    /// The host's network.
    pub(crate) outside: Network,
    _registry: Registry,
}

impl Site {
    fn new() -> Result<Self> {
        let host = Host::new()?;
        let sets = [base_set()?, getting_started_set()?, ports::echo_set(&host)?];
        let registry = Registry::stocked(&host, &sets)?;
        let cluster = Cluster::up(&host, &Engine::two()?)?;
        let outside = host.network()?;
        let manifests = MANIFESTS.join("---\n").replace("HOME", &host.home().display().to_string());
        cluster.apply(&manifests)?;
        Ok(Self { host, cluster, outside, _registry: registry })
    }

    /// Runs a script in the pod `shell`; returns its standard output without white space at the ends.
    pub(crate) fn in_pod(&self, script: &str) -> Result<String> {
        self.cluster.kubectl(&["exec", "shell", "--", "sh", "-ec", script]).stdout()
    }
}

/// A part of the test, by what it is about.
type Part = (&'static str, fn(&Site) -> Result<()>);

const PARTS: [Part; 26] = [
    ("bare pods come back", bare_pods_come_back),
    ("storage: claims are served", storage::claims_are_served),
    ("storage: bad claims are told why", storage::bad_claims_are_told_why),
    ("storage: volumes are deleted or retained", storage::volumes_are_deleted_or_retained),
    ("a namespace and all in it", a_namespace),
    ("secrets and config maps", settings),
    ("daemon sets and stateful sets", sets),
    ("probes", probes),
    ("limits", limits),
    ("kubectl exec and logs", exec_and_logs),
    ("kubectl cp and port-forward", copy_and_forward),
    ("network and names", network_and_names),
    ("the user's home", home),
    ("ports: every way in", ports::every_way_in),
    ("ports: the way back to the host", ports::back_to_the_host),
    ("ports: a thousand connections", ports::a_thousand_connections),
    ("ports: a hundred of one service", ports::a_hundred_of_one_service),
    ("ports: those that others have", ports::those_that_others_have),
    ("ports: free at once", ports::free_at_once),
    ("security: who is refused", security::who_is_refused),
    ("security: what accounts may do", security::what_accounts_may_do),
    ("the namespace is gone", the_namespace_is_gone),
    ("another lifecycle service", another_lifecycle_service),
    ("container figures", figures),
    ("a changed config map", changed_settings),
    ("cron jobs", cron),
];

#[test]
fn what_developers_do() -> Result<()> {
    let site = Site::new()?;
    for (name, part) in PARTS {
        part(&site).with_context(|| format!("{name}\n{}", site.cluster.describe()))?;
    }
    Ok(())
}

/// One is deleted and one fails, as after an eviction. Ports stay open meanwhile.
fn bare_pods_come_back(site: &Site) -> Result<()> {
    let cluster = &site.cluster;
    let pod = |name| ["pod", name, "-n", "kube-system"];
    let names = ["storage-provisioner", "vpnkit-controller"];
    let before = names.map(|name| cluster.get(&pod(name)).map(|pod| pod["metadata"]["uid"].clone()));
    let connection = eventually(SOON * 2, "the echo", || ports::Connection::open(site, ports::V4, 7001))?;
    cluster.kubectl(&["delete", "--wait=false"]).args(pod(names[0])).run()?;
    let ends = "{\"spec\": {\"activeDeadlineSeconds\": 1}}";
    cluster.kubectl(&["patch", "--type=merge", "-p", ends]).args(pod(names[1])).run()?;
    for (name, before) in names.into_iter().zip(before) {
        let before = before?;
        cluster.until(&pod(name), &format!("another {name}"), |pod| {
            pod["metadata"]["uid"] != before && condition(pod, "Ready") == Some("True")
        })?;
    }
    let pods = cluster.kubectl(&["get", "pods", "-n", "kube-system", "-o", "name"]).stdout()?;
    assert_eq!(pods.lines().count(), 9, "{pods}");
    connection.echoes("still here")
}

/// Returns the status of a condition of an object.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}

fn settings(site: &Site) -> Result<()> {
    site.cluster.wait("--for=condition=Complete", &["job/settings"])?;
    let logs = site.cluster.kubectl(&["logs", "-l", "batch.kubernetes.io/job-name=settings"]).stdout()?;
    assert_eq!(logs.lines().collect::<Vec<_>>(), ["sesame blue sesame blue 400"; 2]);
    // Pods that run see the change, later.
    let red = "{\"data\": {\"colour\": \"red\"}}";
    site.cluster.kubectl(&["patch", "configmap", "settings", "-p", red]).run().map(drop)
}

fn changed_settings(site: &Site) -> Result<()> {
    eventually(SETTINGS_LIMIT, "the other colour", || {
        let colour = site.in_pod("cat /settings/colour")?;
        ensure!(colour == "red", "{colour}");
        Ok(())
    })
}

fn sets(site: &Site) -> Result<()> {
    let cluster = &site.cluster;
    for set in ["daemonset/everywhere", "statefulset/db"] {
        cluster.kubectl(&["rollout", "status", set, "--timeout=120s"]).run()?;
    }
    let everywhere = cluster.get(&["daemonset", "everywhere"])?;
    assert_eq!(everywhere["status"]["numberReady"], 1);
    // What a pod wrote, the next one of its name has.
    cluster.kubectl(&["delete", "pod", "db-0"]).run()?;
    eventually(SOON, "the next db-0, by its own name", || {
        let starts = site.in_pod("timeout 2 wget -q -O - http://db-0.db/starts")?;
        ensure!(starts == "db-0\ndb-0", "{starts}");
        Ok(())
    })
}

fn probes(site: &Site) -> Result<()> {
    let cluster = &site.cluster;
    let pod = ["pod", "probed"];
    let in_it = |words: &[&str]| cluster.kubectl(&["exec", "probed", "--"]).args(words).run();
    let is_ready = |pod: &Value| condition(pod, "Ready") == Some("True");
    let served = |expected: bool| {
        let slices = ["endpointslices", "-l", "kubernetes.io/service-name=probed"];
        cluster.until(&slices, "the service's endpoint", |slices| {
            slices["items"][0]["endpoints"][0]["conditions"]["ready"] == expected
        })
    };
    let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
    let running = |pod: &Value| pod["status"]["phase"] == "Running" && !is_ready(pod);
    let before = cluster.until(&pod, "it to run and not be ready", running)?;
    served(false)?;
    in_it(&["touch", "/tmp/ready"])?;
    cluster.until(&pod, "readiness", is_ready)?;
    served(true)?;
    in_it(&["rm", "/tmp/alive"])?;
    // The new container is not ready: what the old one wrote is gone.
    let is_new = |pod: &Value| restarts(pod) > restarts(&before) && running(pod);
    cluster.until(&pod, "another container", is_new)?;
    served(false).map(drop)
}

fn limits(site: &Site) -> Result<()> {
    let of = |two: &str, one: &str| format!("cat {two} 2>/dev/null || cat {one}");
    let memory = of("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes");
    assert_eq!(site.in_pod(&memory)?, (64 << 20).to_string());
    let time = site.in_pod(&of("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))?;
    assert_eq!(time.split_whitespace().next(), Some("25000"), "{time}");
    let ended = site
        .cluster
        .until(&["pod", "greedy"], "the greedy pod's end", |pod| pod["status"]["phase"] == "Failed")?;
    let how = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&how["reason"], &how["exitCode"]), (&"OOMKilled".into(), &137.into()), "{how}");
    Ok(())
}

/// What it has goes with a namespace: ports and volumes.
fn a_namespace(site: &Site) -> Result<()> {
    let (cluster, shop) = (&site.cluster, include_str!("manifests/shop.yaml"));
    cluster.apply(shop)?;
    let page = || site.host.command("curl").args(["-sS", "-m", "5", "http://localhost:8070/page"]).stdout();
    eventually(SOON, "the shop", || {
        let page = page()?;
        ensure!(page == "open", "{page}");
        Ok(())
    })?;
    assert_eq!(site.host.sh("cat /var/lib/shim/volumes/shop/own/page")?, "open");
    // That takes a while: other things are looked at meanwhile.
    cluster.kubectl(&["delete", "namespace", "shop", "--wait=false"]).run().map(drop)
}

fn the_namespace_is_gone(site: &Site) -> Result<()> {
    site.cluster.wait("--for=delete", &["namespace/shop"])?;
    ports::is_free(site, 8070)?;
    eventually(SOON, "its volume to go", || {
        let left = site.host.sh("ls -d /var/lib/shim/volumes/shop 2>/dev/null || true")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// The one that serves the ports dies; pods run on, and ports are back with the next.
fn another_lifecycle_service(site: &Site) -> Result<()> {
    let starts = || -> Result<Vec<(String, Value)>> {
        let pods = site.cluster.get(&["pods", "-A"])?;
        let pods = pods["items"].as_array().context("no list")?.clone();
        let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].clone();
        Ok(pods.iter().map(|pod| (pod["metadata"]["uid"].to_string(), restarts(pod))).collect())
    };
    let before = starts()?;
    let pid = site.cluster.instance().service_pid()?.to_string();
    site.host.command("kill").args(["-9", &pid]).run()?;
    site.cluster.start()?;
    ports::serves_the_page(site, "http://localhost:8080")?;
    assert_eq!(starts()?, before);
    Ok(())
}

fn exec_and_logs(site: &Site) -> Result<()> {
    let kubectl = |args: &[&str]| site.cluster.kubectl(args);
    kubectl(&["exec", "shell", "--", "sh", "-c", "exit 7"]).fails_with(7)?;
    let input = "x".repeat(300_000);
    let echo = kubectl(&["exec", "-i", "shell", "--", "cat"]).input(input.clone()).stdout()?;
    ensure!(echo == input, "{} bytes came back", echo.len());
    let follow = site.host.daemon("follow", kubectl(&["logs", "-f", "shell"]))?;
    for word in ["one", "two"] {
        site.in_pod(&format!("echo {word} >/proc/1/fd/1"))?;
        eventually(SOON, "what the container said", || {
            let log = follow.log()?;
            ensure!(log.ends_with(&format!("{word}\n")), "{log}");
            Ok(())
        })?;
    }
    assert_eq!(kubectl(&["logs", "shell"]).stdout()?, "one\ntwo");
    let run = ["run", "once", "--image=busybox", "--restart=Never", "--rm", "-i", "--quiet", "--", "sh"];
    assert_eq!(kubectl(&run).input("echo $((6 * 7))\n").stdout()?, "42");
    Ok(())
}

fn copy_and_forward(site: &Site) -> Result<()> {
    let (there, back) = (site.host.home().join("parcel"), site.host.home().join("parcel-back"));
    let parcel: Vec<u8> =
        (0..2_u32 << 20).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
    files::put(&there, &parcel)?;
    let copy = || site.cluster.kubectl(&["cp"]);
    copy().arg(&there).arg("shell:/tmp/parcel").run()?;
    copy().arg("shell:/tmp/parcel").arg(&back).run()?;
    ensure!(files::get(&back)? == parcel, "another parcel");

    let _forward =
        site.host.daemon("forward", site.cluster.kubectl(&["port-forward", "deployment/web", "18080:80"]))?;
    eventually(SOON, "the forwarded port", || {
        let page = site.host.command("curl").args(["-sS", "http://127.0.0.1:18080"]).stdout()?;
        ensure!(page == "Getting Started", "{page}");
        Ok(())
    })
}

fn network_and_names(site: &Site) -> Result<()> {
    site.cluster.wait("--for=condition=Available", &["deployment/web"])?;
    let pods = site.cluster.get(&["pods", "-l", "app=web"])?;
    let address = pods["items"][1]["status"]["podIP"].as_str().context("no address")?;
    let service = site.cluster.get(&["service", "web"])?;
    let virtual_address = service["spec"]["clusterIP"].as_str().context("no address")?;
    for url in [
        &format!("http://{address}"),
        &format!("http://{virtual_address}:8080"),
        "http://web:8080",
        "http://web.default:8080",
        "http://web.default.svc.cluster.local:8080",
    ] {
        let page = site.in_pod(&format!("timeout 5 wget -q -O - {url}")).context(url.to_owned())?;
        assert_eq!(page, "Getting Started", "{url}");
    }
    // A pod reaches its own Service, the API server, and what the host's localhost has.
    let own = ["exec", "deployment/web", "--", "sh", "-ec"];
    let often = "for time in 1 2 3 4 5 6 7 8; do timeout 5 wget -q -O - http://web:8080; done";
    assert_eq!(site.cluster.kubectl(&own).arg(often).stdout()?, ["Getting Started"; 8].join("\n"));
    site.in_pod("nc -w 5 kubernetes 443 </dev/null")?;
    let page = site.in_pod("timeout 5 wget -q -O - http://host.docker.internal:8080")?;
    assert_eq!(page, "Getting Started", "by the host");
    for (name, address) in [
        ("kubernetes.default.svc.cluster.local", "10.96.0.1"),
        ("kubernetes.docker.internal", "192.168.65.3"),
        ("host.docker.internal", "192.168.65.254"),
    ] {
        let answer = site.in_pod(&format!("nslookup {name}"))?;
        let found = answer.lines().any(|line| line == format!("Address: {address}"));
        ensure!(found, "{answer}");
    }
    Ok(())
}

fn home(site: &Site) -> Result<()> {
    files::put(site.host.home().join("letter"), "from home")?;
    let read_and_write = "cat /home/developer/letter; echo from the pod >/home/developer/answer";
    assert_eq!(site.in_pod(read_and_write)?, "from home");
    assert_eq!(files::text(site.host.home().join("answer"))?, "from the pod\n");
    Ok(())
}

/// The parcel is still in the root filesystem of the container.
fn figures(site: &Site) -> Result<()> {
    let summary = ["get", "--raw", "/api/v1/nodes/docker-desktop/proxy/stats/summary"];
    eventually(FIGURES_LIMIT, "figures of the pod", || {
        let summary = site.cluster.kubectl(&summary).json()?;
        let pods = summary["pods"].as_array().context("no pods")?;
        let pod = pods.iter().find(|pod| pod["podRef"]["name"] == "shell").context("no such pod")?;
        let container = &pod["containers"][0];
        for (figure, least) in [
            (&container["cpu"]["usageCoreNanoSeconds"], 1),
            (&container["memory"]["workingSetBytes"], 4096),
            (&container["rootfs"]["usedBytes"], 8 << 20),
            (&container["logs"]["usedBytes"], 1),
            (&pod["network"]["rxBytes"], 1),
            (&summary["node"]["memory"]["workingSetBytes"], 1 << 20),
            (&summary["node"]["runtime"]["imageFs"]["usedBytes"], 1 << 20),
        ] {
            ensure!(figure.as_u64() >= Some(least), "{figure} instead of {least}: {pod:#}");
        }
        Ok(())
    })
}

fn cron(site: &Site) -> Result<()> {
    eventually(CRON_LIMIT, "a run of the job", || {
        let status = site.cluster.get(&["cronjob", "every-minute"])?;
        ensure!(status["status"]["lastSuccessfulTime"].is_string(), "{status}");
        Ok(())
    })
}
