//! A laptop's disk: nearly full it bothers nobody, really full it is said so, and nothing is lost.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::cluster::Cluster;
use tests::command::{Command, Output};
use tests::containerd::Engine;
use tests::host::Host;
use tests::images::{base_set, getting_started_set};
use tests::instance::DEFAULT_ROOT;
use tests::registry::Registry;
use tests::{eventually, files};

/// The size of the disk: with a cluster on it, what is enough for that is less than a twentieth of it.
const DISK: &str = "16G";
const MB: u64 = 1_000_000;
/// Not enough for the components.
const TOO_LITTLE: u64 = 600 * MB;
/// Enough for a cluster; a third of it is left when that is up.
const ENOUGH: u64 = 1_750 * MB;
/// Enough for a cluster that is there.
const SOME: u64 = 600 * MB;
/// The size of a file in each image that nobody uses.
const UNUSED: u64 = 40 * MB;

/// How long a command may take that can do nothing, on a busy machine: nobody retries for minutes.
const FAILURE_LIMIT: Duration = Duration::from_secs(30);
/// How long etcd may live without space, and the cluster may take to be back when there is some: the kubelet waits up to 30 s
/// before it starts a container again, and the API server's container may have to follow etcd's.
const ETCD_LIMIT: Duration = Duration::from_secs(60);
const BACK_LIMIT: Duration = Duration::from_secs(150);

/// The filesystem of the default instance: ext4 on a sparse file, without blocks that only root may fill.
struct Disk {
    host: Host,
}

impl Disk {
    /// Makes and mounts it. It goes with the host.
    fn mount(host: &Host) -> Result<Self> {
        let image = host.dir().join("disk");
        let script = "truncate -s \"$2\" \"$1\"
            mkfs.ext4 -q -m 0 -N 262144 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard \"$1\"
            mkdir -p \"$3\"
            mount -o loop,noinit_itable \"$1\" \"$3\"";
        let mount = host.command("sh").args(["-euc", script, "sh"]).arg(&image).args([DISK, DEFAULT_ROOT]);
        mount.run().context("make a filesystem (mkfs.ext4 is Debian's e2fsprogs)")?;
        Ok(Self { host: host.clone() })
    }

    /// Returns how many bytes are free.
    fn free(&self) -> Result<u64> {
        let blocks = self.host.sh(&format!("stat -f -c '%a %S' {DEFAULT_ROOT}"))?;
        let (count, size) = blocks.split_once(' ').context("two numbers")?;
        Ok(count.parse::<u64>()? * size.parse::<u64>()?)
    }

    /// Lets so many bytes be free. Nothing is really written: blocks are only taken.
    fn leave(&self, bytes: u64) -> Result<()> {
        let others = self.host.sh(&format!("touch {0}; stat -c %s {0}", self.filler()))?.parse::<u64>()?;
        let size = (others + self.free()?).saturating_sub(bytes);
        let how = if size > others { "fallocate -l" } else { "truncate -s" };
        self.host.sh(&format!("{how} {size} {}", self.filler())).map(drop)
    }

    /// Fills it to the last block.
    fn fill(&self) -> Result<()> {
        let script = "for step in 268435456 16777216 1048576 65536 4096; do
            while fallocate -o \"$(stat -c %s \"$1\")\" -l $step \"$1\" 2>/dev/null; do :; done
        done";
        self.host.command("sh").args(["-euc", script, "sh", &self.filler()]).run()?;
        ensure!(self.free()? < 4096, "{} bytes are free", self.free()?);
        Ok(())
    }

    fn filler(&self) -> String {
        format!("{DEFAULT_ROOT}/filler")
    }
}

/// A cluster on a disk of its own.
struct Laptop {
    disk: Disk,
    cluster: Cluster,
    context: PathBuf,
    _registry: Registry,
}

impl Laptop {
    fn new(host: &Host) -> Result<Self> {
        let registry = Registry::stocked(host, &[base_set()?, getting_started_set()?])?;
        let cluster = Cluster::new(host, &Engine::debian()?, DEFAULT_ROOT.as_ref())?;
        let context = host.dir().join("context");
        files::dir(&context)?;
        Ok(Self { disk: Disk::mount(host)?, cluster, context, _registry: registry })
    }

    fn shimctl(&self, args: &[&str]) -> Result<Command> {
        self.cluster.instance().shimctl_in(&self.context, args)
    }

    /// Prepares the build of an image that has one file more than another image.
    fn build(&self, name: &str, base: &str, bytes: u64) -> Result<Command> {
        self.disk.host.sh(&format!(
            "cd {}; printf 'FROM {base}\\nCOPY {name}.data /www/\\n' >Dockerfile; head -c {bytes} /dev/urandom >{name}.data",
            self.context.display()
        ))?;
        self.shimctl(&["build", "-t", name, "."])
    }

    fn images(&self) -> Result<String> {
        self.shimctl(&["images"])?.stdout()
    }

    /// Checks every promise of the store, and that what was made before is there.
    fn has_lost_nothing(&self) -> Result<()> {
        let verified = self.shimctl(&["verify", "--content"])?.stdout()?;
        ensure!(verified.contains("no findings"), "{verified}");
        ensure!(self.images()?.contains("mine"), "{}", self.images()?);
        assert_eq!(self.cluster.get(&["configmap/before"])?["data"]["is"], "there");
        self.cluster.wait("--for=condition=Ready", &["pod/mine"])
    }
}

/// A pod of an image that was built here and serves what was built into it.
fn pod(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1, containers: [
            {{name: c, image: mine, imagePullPolicy: Never, command: [httpd, -f, -p, \"80\", -h, /www]}}]}}}}\n"
    )
}

/// Checks that a command failed soon, since the disk is full, and that its user is told what was written and what helps.
fn failed_for_space(output: &Output) -> Result<()> {
    ensure!(output.elapsed < FAILURE_LIMIT, "{output}");
    for part in ["no space left on the disk", DEFAULT_ROOT, "free some, for instance with `shimctl prune`"] {
        ensure!(output.stderr.contains(part), "{part:?} is not said: {output}");
    }
    ensure!(!output.stderr.contains("os error"), "{output}");
    Ok(())
}

/// Checks that the kubelet sees a disk that is far beyond its usual thresholds, and does not mind.
///
/// Usually it removes images from 85 % on, every five minutes, for which nobody here waits; with a threshold of 100 % its collector
/// is not started at all. It evicts pods when less than 10 % (of the images' disk: 15 %) are free, looking every ten seconds;
/// a threshold of 0 % is dropped when it reads its configuration. So what counts is the configuration that it really has, and
/// that it says nothing of pressure here and long afterwards.
fn kubelet_does_not_mind(laptop: &Laptop) -> Result<()> {
    let cluster = &laptop.cluster;
    let ask = |what: &str| {
        let path = format!("/api/v1/nodes/docker-desktop/proxy/{what}");
        cluster.kubectl(&["get", "--raw", &path]).json()
    };
    eventually(ETCD_LIMIT, "the kubelet to see the disk", || {
        let node = &ask("stats/summary")?["node"];
        for disk in [&node["fs"], &node["runtime"]["imageFs"]] {
            let bytes = |name: &str| disk[name].as_f64().with_context(|| format!("no {name} in {disk}"));
            let free = bytes("availableBytes")? / bytes("capacityBytes")?;
            ensure!(free < 0.08, "{:.1} % are free: {disk}", free * 100.0);
        }
        Ok(())
    })?;
    let config = &ask("configz")?["kubeletconfig"];
    assert_eq!(config["imageGCHighThresholdPercent"], 100);
    assert_eq!(config["imageMaximumGCAge"], "0s");
    assert_eq!(config["evictionSoft"], Value::Null);
    for signal in ["nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree"] {
        assert_eq!(config["evictionHard"][signal], "0%", "{signal}");
    }
    nothing_was_evicted(cluster)
}

fn nothing_was_evicted(cluster: &Cluster) -> Result<()> {
    let node = cluster.get(&["node", "docker-desktop"])?;
    let conditions = node["status"]["conditions"].as_array().context("conditions")?;
    let pressure = conditions.iter().find(|condition| condition["type"] == "DiskPressure");
    assert_eq!(pressure.context("DiskPressure")?["status"], "False", "{node:#}");
    ensure!(!node["spec"]["taints"].to_string().contains("disk-pressure"), "{node:#}");
    let pods = cluster.get(&["pods", "-A"])?.to_string();
    ensure!(!pods.contains("\"Evicted\""), "{pods}");
    let events = cluster.get(&["events", "-A"])?;
    for event in events["items"].as_array().context("events")? {
        let reason = event["reason"].as_str().unwrap_or_default();
        let is_about_space = ["Evict", "ImageGC", "FreeDiskSpace", "NodeHasDiskPressure"];
        ensure!(!is_about_space.iter().any(|word| reason.contains(word)), "{event:#}");
    }
    Ok(())
}

/// A first `up` without room for the components.
fn a_first_cluster_needs_room(laptop: &Laptop) -> Result<()> {
    laptop.disk.leave(TOO_LITTLE)?;
    let refused = laptop.cluster.up_command()?.fails_with(1)?;
    ensure!(refused.elapsed < FAILURE_LIMIT, "{refused}");
    for part in ["this machine lacks ", " MB on the disk of /var/lib/shim: ", "free some space there"] {
        ensure!(refused.stderr.contains(part), "{part:?} is not said: {refused}");
    }
    laptop.disk.host.sh("! ls /var/lib/shim/store 2>/dev/null").context("nothing was begun")?;
    laptop.disk.leave(ENOUGH)?;
    laptop.cluster.start()
}

/// Builds an image that a pod uses and two that no pod uses.
fn use_it(laptop: &Laptop) -> Result<()> {
    laptop.build("mine", "busybox", 1000)?.run()?;
    laptop.build("unused", "mine", UNUSED)?.run()?;
    laptop.build("spare", "mine", UNUSED)?.run()?;
    laptop.cluster.kubectl(&["create", "configmap", "before", "--from-literal=is=there"]).run()?;
    laptop.cluster.apply(&pod("mine"))?;
    laptop.cluster.wait("--for=condition=Ready", &["pod/mine"])
}

/// What a user sees of a full disk, while everything runs.
fn a_full_disk_is_said(laptop: &Laptop) -> Result<()> {
    let (cluster, instance) = (&laptop.cluster, laptop.cluster.instance());
    let address = cluster.get(&["pod/mine"])?["status"]["podIP"].as_str().context("address")?.to_owned();
    let served = format!("http://{address}/mine.data");
    laptop.disk.fill()?;
    failed_for_space(&laptop.build("more", "mine", 1000)?.fails_with(1)?)?;
    failed_for_space(&laptop.shimctl(&["pull", "docker/getting-started"])?.fails_with(1)?)?;
    // The API server has to write this; when etcd cannot, it ends, and is started again and again.
    files::put(laptop.context.join("two.yaml"), pod("two"))?;
    let apply =
        cluster.kubectl(&["apply", "--request-timeout=5s", "-f"]).arg(laptop.context.join("two.yaml"));
    apply.output()?;
    eventually(ETCD_LIMIT, "etcd to have no space", || laptop.disk.host.sh("! pgrep -x etcd").map(drop))?;
    instance.kill("shimd")?;
    let message = instance.part("machine")?["message"].to_string();
    ensure!(message.contains("no space left on the disk of /var/lib/shim"), "{message}");
    let page = instance.in_box("curl")?.args(["-sS", "--max-time", "10", "-o", "/dev/null", &served]);
    page.run().context("a pod that runs goes on")?;
    Ok(())
}

/// What is not needed can be removed without any space.
fn prune_makes_room(laptop: &Laptop) -> Result<()> {
    laptop.disk.fill()?;
    laptop.shimctl(&["rmi", "unused"])?.run()?;
    laptop.shimctl(&["prune", "--force"])?.run()?;
    let free = laptop.disk.free()?;
    ensure!(free >= UNUSED, "{free} bytes are free");
    ensure!(!laptop.images()?.contains("unused"), "{}", laptop.images()?);
    Ok(())
}

/// Space is back, and nobody does anything.
fn comes_back_by_itself(laptop: &Laptop) -> Result<()> {
    laptop.disk.leave(SOME)?;
    eventually(BACK_LIMIT, "the cluster to be back", || {
        let status = laptop.cluster.instance().status()?;
        ensure!(status["ready"] == true, "{status}");
        laptop.cluster.kubectl(&["get", "--raw", "/readyz"]).run().map(drop)
    })
    .with_context(|| laptop.cluster.instance().logs())?;
    laptop.cluster.apply(&pod("two"))?;
    laptop.cluster.wait("--for=condition=Ready", &["pod/two"])?;
    laptop.has_lost_nothing()
}

/// Down and up without space: with the reserve there is at least somebody who can remove images. A whole cluster comes up or not, as
/// etcd writes less or more when it starts, so that one waits for space here.
fn down_and_up_without_space(laptop: &Laptop) -> Result<()> {
    let (disk, instance) = (&laptop.disk, laptop.cluster.instance());
    eventually(FAILURE_LIMIT, "the reserve", || disk.host.sh("ls /var/lib/shim/box/reserve").map(drop))?;
    disk.fill()?;
    instance.down()?;
    disk.fill()?;
    instance.start()?;
    laptop.shimctl(&["rmi", "spare"])?.run()?;
    laptop.shimctl(&["prune", "--force"])?.run()?;
    ensure!(disk.free()? >= UNUSED, "{} bytes are free", disk.free()?);
    instance.down()?;
    disk.leave(SOME)?;
    laptop.cluster.start()
}

#[test]
fn a_full_disk_costs_nothing_but_time() -> Result<()> {
    let host = Host::new()?;
    let laptop = Laptop::new(&host)?;
    a_first_cluster_needs_room(&laptop)?;
    use_it(&laptop)?;
    kubelet_does_not_mind(&laptop)?;
    a_full_disk_is_said(&laptop)?;
    prune_makes_room(&laptop)?;
    comes_back_by_itself(&laptop)?;
    down_and_up_without_space(&laptop)?;
    laptop.has_lost_nothing()?;
    nothing_was_evicted(&laptop.cluster)
}
