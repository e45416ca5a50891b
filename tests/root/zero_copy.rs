//! Nothing of an image is copied on its way from the build to the container: what is mounted is what was built, and
//! neither shimd nor containerd writes more than a few records for each layer.
//!
//! The end of a build is when containerd has been told of the image. That telling is counted as well, by itself: it is a
//! number of transactions of containerd's database for each layer, whatever the layer's size.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tests::containerd::{Containerd, Engine};
use tests::crictl::Crictl;
use tests::files;
use tests::host::Host;
use tests::images::base_set;
use tests::instance::Instance;
use tests::registry::Registry;

/// What the records of a layer may take: pages of two databases.
const RECORD_BYTES: u64 = 128 << 10;
/// What telling containerd of an image may take besides: two small documents, names, a lease.
const REGISTRATION_BYTES: u64 = 1 << 20;
/// The files that are built into the images, from the smallest to the largest.
const PAYLOADS: [(&str, usize); 2] = [("small", 2 << 20), ("large", 200 << 20)];

struct World {
    host: Host,
    certs: PathBuf,
    _registry: Registry,
}

impl World {
    fn new() -> Result<Self> {
        let host = Host::new()?;
        let registry = Registry::stocked(&host, &[base_set()?])?;
        Ok(Self { certs: host.etc("shim/certs.d"), host, _registry: registry })
    }

    /// Makes the context of an image of two layers more than its base, one of which has a file of so many bytes.
    fn context(&self, name: &str, payload_bytes: usize) -> Result<PathBuf> {
        let context = self.host.dir().join(name);
        let dockerfile =
            "FROM busybox\nCOPY payload /payload\nRUN echo made > /made\nCMD [\"sleep\", \"1000\"]\n";
        files::put(context.join("Dockerfile"), dockerfile)?;
        let bytes: Vec<u8> = (0..payload_bytes.div_ceil(8)).flat_map(|word| word.to_le_bytes()).collect();
        files::put(context.join("payload"), bytes)?;
        Ok(context)
    }

    /// Returns how much a process has made the kernel write to disks.
    fn written(&self, pid: u64) -> Result<u64> {
        let io = self.host.sh(&format!("sync; cat /proc/{pid}/io"))?;
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        Ok(line.with_context(|| format!("no write_bytes in {io}"))?.parse()?)
    }
}

/// Runs a container of the image, and returns its ID.
fn run(crictl: &Crictl, pod: &str, image: &str) -> Result<String> {
    crictl.run_pod(pod)?.start("payload", image, &[])
}

/// What each image costs the containerd of this engine in its own overlayfs, when it has it.
fn plain(
    world: &World,
    engine: &Engine,
    archives: &BTreeMap<&str, PathBuf>,
) -> Result<BTreeMap<String, u64>> {
    let mut containerd = Containerd::start(&world.host, "plain", engine, &world.certs)?;
    let crictl = containerd.crictl()?;
    // The first pod also brings the pause image.
    crictl.run_pod("warm")?.remove()?;
    let pid = u64::from(containerd.daemon().pid_inside()?);
    let mut costs = BTreeMap::new();
    for (name, archive) in archives {
        containerd.ctr(&["image", "import"]).arg(archive).run()?;
        let before = world.written(pid)?;
        run(&crictl, name, name)?;
        costs.insert((*name).to_owned(), world.written(pid)? - before);
    }
    containerd.stop()?;
    Ok(costs)
}

/// Checks that the container is mounted upon the directories of the image's layers, the uppermost first.
fn is_mounted_upon_the_store(instance: &Instance, container: &str, image: &str) -> Result<usize> {
    let inspected = instance.shimctl(&["inspect", image])?.json()?;
    let layers = inspected[0]["Shim"]["Layers"].as_array().context("no layers")?;
    let mut directories: Vec<&str> = layers.iter().filter_map(|layer| layer["Directory"].as_str()).collect();
    directories.reverse();
    let mounts = instance.in_box("cat")?.arg("/proc/self/mountinfo").stdout()?;
    let mount = mounts.lines().find(|line| line.contains(&format!("{container}/rootfs")));
    let mount = mount.with_context(|| format!("{container} is not mounted:\n{mounts}"))?;
    let options = mount.rsplit(' ').next().unwrap_or_default();
    let lower =
        options.split(',').find_map(|option| option.strip_prefix("lowerdir=")).context("no lowerdir")?;
    assert_eq!(lower.split(':').collect::<Vec<_>>(), directories, "{mount}");
    ensure!(directories.iter().all(|directory| Path::new(directory).starts_with("/var/lib/shim/store")));
    Ok(directories.len())
}

/// What a container of an image cost.
struct Cost {
    /// Bytes written to tell containerd of the image.
    registration: u64,
    /// Bytes written from then on until the container ran.
    run: u64,
    layers: u64,
}

fn nothing_is_copied(engine: &Engine) -> Result<()> {
    let world = World::new()?;
    let instance = Instance::up(&world.host, engine)?;
    let crictl = instance.crictl()?;
    crictl.run_pod("warm")?.remove()?;
    let (shimd, containerd) = (instance.pid("shimd")?, instance.pid("containerd")?);
    instance.shimctl(&["pull", "-q", "busybox"])?.run()?;

    let (mut costs, mut archives) = (BTreeMap::new(), BTreeMap::new());
    for (name, bytes) in PAYLOADS {
        let context = world.context(name, bytes)?;
        // containerd has no part in a build but to be told of its result.
        let before = world.written(containerd)?;
        instance.shimctl_in(&context, &["build", "-q", "-t", name, "."])?.run()?;
        let built = world.written(shimd)?;
        instance.until_registered(name)?;
        let told = (world.written(shimd)?, world.written(containerd)?);
        let container = run(&crictl, name, name)?;
        let run = world.written(shimd)? - told.0 + world.written(containerd)? - told.1;
        let registration = told.0 - built + told.1 - before;
        let layers = is_mounted_upon_the_store(&instance, &container, name)? as u64;
        costs.insert(name, Cost { registration, run, layers });
        let archive = world.host.dir().join(format!("{name}.tar"));
        instance.shimctl(&["save", "-o", &archive.to_string_lossy(), name])?.run()?;
        archives.insert(name, archive);
    }
    instance.down()?;

    let plain = plain(&world, engine, &archives)?;
    for (name, Cost { registration, run, layers }) in &costs {
        let most = plain[*name] + layers * RECORD_BYTES;
        ensure!(*run <= most, "{name}: {run} bytes were written, {most} are allowed (plain: {plain:?})");
        let most = REGISTRATION_BYTES + layers * RECORD_BYTES;
        ensure!(*registration <= most, "{name}: {registration} bytes to register it, {most} are allowed");
    }
    let [small, large] = ["small", "large"].map(|name| costs[name].registration + costs[name].run);
    ensure!(large <= small + 3 * RECORD_BYTES, "the size matters: {small} and {large} bytes");
    Ok(())
}

#[test]
fn with_debians_containerd() -> Result<()> {
    nothing_is_copied(&Engine::debian()?)
}

#[test]
fn with_containerd_2() -> Result<()> {
    nothing_is_copied(&Engine::two()?)
}
