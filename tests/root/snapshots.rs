//! The snapshotter behind a real containerd: what `ctr` makes with it, what containerd unpacks through it by itself, and
//! what neither containerd's collection nor ours may take.

mod laws;
mod removals;
mod unpacked;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::command::Command;
use tests::containerd::Engine;
use tests::crictl::Crictl;
use tests::host::Host;
use tests::images::{base_set, layers_set};
use tests::instance::Instance;
use tests::registry::Registry;
use tests::{eventually, files};

const SOON: Duration = Duration::from_secs(30);

/// A host with an instance.
struct World {
    crictl: Crictl,
    instance: Instance,
    _registry: Registry,
    host: Host,
}

impl World {
    fn new(engine: &Engine) -> Result<Self> {
        let host = Host::new()?;
        let registry = Registry::stocked(&host, &[base_set()?, layers_set()?])?;
        let instance = Instance::up(&host, engine)?;
        let world = Self { crictl: instance.crictl()?, instance, _registry: registry, host };
        world.shimctl(&["pull", "-q", "busybox"])?;
        world.instance.until_registered("busybox")?;
        Ok(world)
    }

    fn shimctl(&self, args: &[&str]) -> Result<String> {
        self.instance.shimctl(args)?.stdout()
    }

    fn inspect(&self, name: &str) -> Result<Value> {
        Ok(self.instance.shimctl(&["inspect", name])?.json()?[0].take())
    }

    /// Builds an image of one layer upon busybox, and waits until containerd knows it.
    fn build(&self, name: &str) -> Result<()> {
        let context = self.host.dir().join(name);
        // Built again, it is the same image: what is copied keeps its time.
        if !context.exists() {
            files::put(context.join("Dockerfile"), "FROM busybox\nCOPY said /said\n")?;
            files::put(context.join("said"), format!("said by {name}"))?;
        }
        self.instance.shimctl_in(&context, &["build", "-q", "-t", name, "."])?.run()?;
        self.instance.until_registered(name)
    }

    fn ctr(&self, args: &[&str]) -> Result<String> {
        self.instance.ctr(args)?.stdout()
    }

    fn snapshots_command(&self, args: &[&str]) -> Result<Command> {
        Ok(self.instance.ctr(&["snapshots", "--snapshotter", "cachestore"])?.args(args))
    }

    fn snapshots(&self, args: &[&str]) -> Result<String> {
        self.snapshots_command(args)?.stdout()
    }

    /// Makes a view that containerd does not collect. It may collect one before anybody could say so: then it is made again.
    fn kept_view(&self, key: &str, parent: &str) -> Result<()> {
        eventually(SOON, "a view", || {
            self.snapshots_command(&["view", key, parent])?.output()?;
            self.snapshots(&["label", key, "containerd.io/gc.root=test"]).map(drop)
        })
    }

    fn info(&self, key: &str) -> Result<Value> {
        self.snapshots_command(&["info", key])?.json()
    }

    /// Returns the names, parents and kinds that containerd lists.
    fn listed(&self) -> Result<Vec<String>> {
        let listed = self.snapshots(&["ls"])?;
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut lines: Vec<_> = listed.lines().skip(1).map(words).collect();
        lines.sort();
        Ok(lines)
    }

    /// Returns the names of containerd's records of an image.
    fn records(&self, name: &str) -> Result<Vec<String>> {
        let id = self.inspect(name)?["Id"].as_str().context("no ID")?.to_owned();
        let images = self.ctr(&["images", "ls", "-q"])?;
        let ours = |line: &&str| *line == id || line.starts_with(&format!("docker.io/library/{name}"));
        Ok(images.lines().filter(ours).map(str::to_owned).collect())
    }

    /// Returns the chain ID of an image, as the top of what containerd lists.
    fn chain(&self, name: &str) -> Result<String> {
        let layers = self.inspect(name)?["RootFS"]["Layers"].clone();
        let mut layers = layers.as_array().context("no layers")?.iter().filter_map(Value::as_str);
        let first = layers.next().context("no layer")?.to_owned();
        layers.try_fold(first, |chain, layer| {
            Ok(cachestore::Digest::of(format!("{chain} {layer}").as_bytes()).to_string())
        })
    }

    /// Returns the directories of an image's layers.
    fn directories(&self, name: &str) -> Result<Vec<String>> {
        let layers = self.inspect(name)?["Shim"]["Layers"].take();
        let layers = layers.as_array().context("no layers")?.iter();
        Ok(layers.filter_map(|layer| Some(layer["Directory"].as_str()?.to_owned())).collect())
    }

    /// Checks that directories are there, or that none of them is.
    fn exist(&self, directories: &[String], expected: bool) -> Result<()> {
        for directory in directories {
            let test = self.host.command("test").args(["-d", directory]).output()?;
            ensure!(test.status.success() == expected, "{directory}: expected to be there: {expected}");
        }
        Ok(())
    }

    /// Does something in a mounted snapshot.
    fn mounted(&self, key: &str, script: &str) -> Result<String> {
        let mount = self.snapshots(&["mounts", "/mnt", key])?;
        let script =
            format!("{mount}\ncd /mnt\nstatus=0; ( {script} ) || status=$?; cd /; umount /mnt; exit $status");
        self.instance.in_box("sh")?.args(["-euc", &script]).stdout()
    }

    fn verify(&self) -> Result<()> {
        self.shimctl(&["verify", "--content"]).map(drop)
    }

    /// Lets containerd collect what it does not need, and waits until it has.
    fn collect(&self) -> Result<()> {
        self.ctr(&["leases", "create", "--id", "collect"])?;
        self.ctr(&["leases", "rm", "--sync", "collect"]).map(drop)
    }

    /// Waits until the store has no snapshot but its chains. What a collection of containerd's could not remove, because another
    /// one was under way or something still stood on it, the next one does.
    fn nothing_is_left(&self) -> Result<()> {
        eventually(SOON, "the directories of snapshots to go", || {
            // containerd looks at a snapshotter again only if something of it was removed since.
            self.snapshots(&["prepare", "last"])?;
            self.snapshots(&["rm", "last"])?;
            self.collect()?;
            let left = self.host.sh("cd /var/lib/shim/store; find s t -mindepth 1 -maxdepth 1")?;
            ensure!(left.is_empty(), "{left}");
            Ok(())
        })
    }
}
