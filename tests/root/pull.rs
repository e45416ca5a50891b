//! Pulls: from what is typed to what a registry is asked, and what is in the store then.

mod access;
mod broken;
mod cri;
mod documents;
mod failures;
mod kept;
mod killed;
mod mirrors;
mod shared;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachestore::Digest;
use serde_json::Value;
use tests::command::Output;
use tests::daemon::Daemon;
use tests::host::Host;
use tests::image::{Blobs, Compression, Content, Entry, Image, Kind, Layer, Recipe};
use tests::images::{Set, text_layer_entries};
use tests::registry::{Registry, Request};
use tests::shimd::Shimd;
use tests::{eventually, files};

/// How long a pull over a slow network may take.
const PULL_LIMIT: Duration = Duration::from_secs(60);

/// The network when it is slow: the big image takes about three seconds, the one of many layers two.
const SLOW: &str = "tc qdisc replace dev lo root tbf rate 64mbit burst 128k latency 1s";
const SLOWER: &str = "tc qdisc replace dev lo root tbf rate 16mbit burst 128k latency 1s";
const FAST: &str = "tc qdisc del dev lo root";

/// A host with a registry that stands for Docker Hub and others, and a shimd.
///
/// The host is the last to go, so that the logs of the others can be shown.
struct World {
    shimd: Shimd,
    registry: Registry,
    host: Host,
}

impl World {
    fn new() -> Result<Self> {
        let host = Host::new()?;
        let registry = Registry::stocked(&host, &[])?;
        let shimd = Shimd::start(&host)?;
        Ok(Self { shimd, registry, host })
    }

    /// Pulls what can be pulled.
    fn pull(&self, name: &str) -> Result<Output> {
        self.shimd.shimctl(&["pull", name])?.run()
    }

    /// Starts a pull in the background.
    fn start_pull(&self, title: &str, name: &str) -> Result<Pulling> {
        let daemon = self.host.daemon(title, self.shimd.shimctl(&["pull", name])?)?;
        Ok(Pulling { daemon, log: self.host.dir().join("logs").join(format!("{title}.log")) })
    }

    /// Writes which hosts are asked for a registry's images: mirrors with their capabilities, and the server last.
    fn mirrors(&self, name: &str, server: &str, mirrors: &[(&str, &str)]) -> Result<()> {
        let mut text = format!("server = \"{server}\"\n");
        for (mirror, capabilities) in mirrors {
            text += &format!("[host.\"{mirror}\"]\n  capabilities = [{capabilities}]\n");
        }
        files::put(self.host.etc("shim/certs.d").join(name).join("hosts.toml"), text)
    }

    fn inspect(&self, name: &str) -> Result<Value> {
        Ok(self.shimd.shimctl(&["inspect", name])?.json()?[0].take())
    }

    fn image_id(&self, name: &str) -> Result<String> {
        Ok(self.inspect(name)?["Id"].as_str().context("no ID")?.to_owned())
    }

    /// Checks that the store is whole, the content of layers included.
    fn verify(&self) -> Result<()> {
        self.shimd.shimctl(&["verify", "--content"])?.run().map(drop)
    }

    /// Returns the length in bytes of each download that was begun and is not done, by its digest.
    fn partials(&self) -> Result<BTreeMap<Digest, u64>> {
        let mut partials = BTreeMap::new();
        for entry in fs::read_dir(self.shimd.root().join("store/p"))? {
            let entry = entry?;
            let digest = format!("sha256:{}", entry.file_name().display()).parse()?;
            // It may be done by now.
            if let Ok(metadata) = entry.metadata() {
                partials.insert(digest, metadata.len());
            }
        }
        Ok(partials)
    }

    /// Waits until no layer is being unpacked.
    fn wait_until_idle(&self) -> Result<()> {
        let trees = self.shimd.root().join("store/t");
        eventually(PULL_LIMIT, "unpacking to end", || {
            ensure!(fs::read_dir(&trees)?.next().is_none(), "there is something in {}", trees.display());
            Ok(())
        })
    }

    /// Returns what the registry was asked for blobs that are layers of an image.
    fn layer_requests(&self, image: &Served) -> Result<Vec<(Digest, Request)>> {
        let requests = self.registry.requests()?.into_iter();
        let blobs = requests.filter_map(|request| Some((request.blob()?, request)));
        Ok(blobs.filter(|(digest, _)| image.layers.iter().any(|layer| layer.digest == *digest)).collect())
    }

    /// Waits until the registry has been asked for the rest of each of these layers, and has sent it.
    fn wait_for_rests(&self, image: &Served, left: &BTreeMap<Digest, u64>) -> Result<()> {
        for (digest, length) in left {
            let layer = image.layers.iter().find(|layer| layer.digest == *digest).context("whose?")?;
            let rest = layer.blob_bytes - length;
            let status = if *length == 0 { 200 } else { 206 };
            eventually(PULL_LIMIT, &format!("a request for the last {rest} bytes of {digest}"), || {
                let requests = self.layer_requests(image)?;
                let is_rest = |request: &Request| (request.status, request.bytes) == (status, rest);
                let found = requests.iter().any(|(asked, request)| asked == digest && is_rest(request));
                ensure!(found || rest == 0, "{requests:?}");
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// A pull in the background.
struct Pulling {
    daemon: Daemon,
    log: PathBuf,
}

impl Pulling {
    /// Waits for its end; returns its exit code and everything it said.
    fn end(&mut self) -> Result<(Option<i32>, String)> {
        let status = self.daemon.wait(PULL_LIMIT)?;
        Ok((status.code(), files::text(&self.log)?))
    }
}

/// An image that the registry serves, and what is known of it.
struct Served {
    name: &'static str,
    set: Set,
    image: Image,
    layers: Vec<Layer>,
}

impl Served {
    /// An image of 26 MB that takes a while: layers of each form, more than are downloaded at once.
    fn big(world: &World) -> Result<Self> {
        Self::serve(world, "big", |blobs| {
            let mut layers = Vec::new();
            for (number, megabytes) in (1..).zip([3, 5, 6, 2, 2]) {
                let layer = filled(&format!("data-{number}"), number, megabytes * 1_000_000);
                layers.push(Layer::write(blobs, Compression::None, [layer])?);
            }
            for (number, compression) in [(11, Compression::Gzip), (12, Compression::Zstd)] {
                let entries = text_layer_entries(&format!("text-{number}"), 4_000_000, number);
                layers.push(Layer::write(blobs, compression, entries)?);
            }
            // What its directory looks like depends on the layers below.
            layers.push(Layer::write(blobs, Compression::None, [filled("implied/data", 20, 4_000_000)])?);
            Ok(layers)
        })
    }

    /// An image of 4 MB in a hundred layers, of which every fifth depends on those below.
    fn many(world: &World) -> Result<Self> {
        Self::serve(world, "many", |blobs| {
            let path = |number| if number % 5 == 0 { format!("d{number}/f") } else { format!("f{number}") };
            let layer =
                |number| Layer::write(blobs, Compression::None, [filled(&path(number), number, 40_000)]);
            (1..=100).map(layer).collect()
        })
    }

    /// Makes an image and lets the registry serve it as `docker.io/library/NAME`.
    fn serve(
        world: &World,
        name: &'static str,
        make: impl FnOnce(&Blobs) -> Result<Vec<Layer>>,
    ) -> Result<Self> {
        let mut made = None;
        let set = Set::make(world.host.dir().join("sets").join(name), |maker| {
            let layers = make(maker.blobs())?;
            let image = layers.iter().fold(Recipe::default(), Recipe::layer).write(maker.blobs())?;
            maker.add(&format!("docker.io/library/{name}"), &["latest"], &image);
            made = Some((image, layers));
            Ok(())
        })?;
        world.registry.serve(&set)?;
        let (image, layers) = made.context("nothing was made")?;
        Ok(Self { name, set, image, layers })
    }

    fn id(&self) -> Result<String> {
        Ok(self.image.id.context("no ID")?.to_string())
    }

    fn total_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.blob_bytes).sum()
    }

    /// Returns the layers that a pull, by its log, has told to be complete.
    fn complete(&self, log: &str) -> Vec<&Layer> {
        let is_complete = |layer: &&Layer| {
            let id = &layer.digest.hex()[..12];
            ["Pull complete", "Already exists"].iter().any(|words| log.contains(&format!("{id}: {words}")))
        };
        self.layers.iter().filter(is_complete).collect()
    }

    /// Waits until a pull has received this part of the image, counting what earlier pulls told to be complete.
    fn wait_for_percent(&self, world: &World, pull: &mut Pulling, told: &str, percent: u64) -> Result<()> {
        let wanted = self.total_bytes() * percent / 100;
        let log = &pull.log;
        pull.daemon.ready(PULL_LIMIT, &format!("{percent} % of the image"), || {
            let told = told.to_owned() + &files::text(log)?;
            let complete = self.complete(&told);
            let partials = world.partials()?;
            let open =
                partials.iter().filter(|(digest, _)| complete.iter().all(|layer| layer.digest != **digest));
            let received: u64 = complete.iter().map(|layer| layer.blob_bytes).sum::<u64>()
                + open.map(|(_, length)| length).sum::<u64>();
            ensure!(received >= wanted, "{received} of {} bytes", self.total_bytes());
            Ok(())
        })
    }
}

/// A file of this many bytes.
fn filled(path: &str, byte: u8, bytes: u64) -> Entry {
    Entry::new(path, Kind::File(Content::Stream(bytes, Box::new(std::io::repeat(byte)))))
}
