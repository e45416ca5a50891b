//! P11 and P14: a thousand images.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use proto::cri;
use proto::cri::image_service_client::ImageServiceClient;
use proto::cri::runtime_service_client::RuntimeServiceClient;
use serde_json::json;
use tests::eventually;
use tests::image::{Compression, Layer, Recipe};
use tests::images::{Set, base_entries};
use tokio::runtime::Runtime;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::Options;
use crate::bed::Bed;
use crate::table::{Figure, Goal, Row, Unit};

const IMAGES: usize = 1000;
/// How many pulls go on at once.
const AT_ONCE: usize = 4;
const CALLS: usize = 500;
const SETTLE_LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let mut bed = Bed::make(&options.engine)?;
    let set = set(&bed)?;
    bed.serve(&set)?;
    let names: Vec<String> = set.images().iter().map(tests::images::Named::reference).collect();
    let mut ours = Client::connect(&bed.instance.socket())?;
    let mut behind = Client::connect(&bed.instance.containerd_socket())?;
    let mut theirs = Client::connect(&bed.containerd.socket())?;
    for client in [&mut ours, &mut theirs] {
        client.pull(&names)?;
    }
    // Registration goes on in the background.
    eventually(SETTLE_LIMIT, "containerd to know every image", || {
        let known = behind.list_images()?;
        ensure!(known >= IMAGES, "{known} images");
        Ok(())
    })?;
    let pulled = resident(&mut bed, "shimd")?;
    let mut rows = calls(&mut ours, &mut theirs, &names[IMAGES / 2], options.runs(CALLS))?;
    bed.instance.kill("shimd")?;
    let restarted = resident(&mut bed, "shimd")?;
    for (work, bytes) in [
        ("resident memory of shimd, 1,000 images just pulled and registered", pulled),
        ("resident memory of shimd, 1,000 images, started again", restarted),
    ] {
        rows.push(Row {
            id: "P14",
            work,
            against: "containerd with the same images",
            unit: Unit::Size,
            ours: Figure::of_bytes(bytes),
            reference: Some(Figure::of_bytes(resident(&mut bed, "plain")?)),
            goal: Goal::AtMost(40e6),
        });
    }
    bed.clear()?;
    Ok(rows)
}

/// Times calls to both in turn.
fn calls(ours: &mut Client, theirs: &mut Client, name: &str, count: usize) -> Result<Vec<Row>> {
    type Call = fn(&mut Client, &str) -> Result<()>;
    let image_status: Call = |client, name| {
        ensure!(client.has_image(name)?, "{name} is not there");
        Ok(())
    };
    let list_images: Call = |client, _| {
        let found = client.list_images()?;
        ensure!(found >= IMAGES, "{found} images");
        Ok(())
    };
    let status: Call = |client, _| client.status();
    let list_containers: Call = |client, _| client.list_containers();
    let subjects = [
        ("ImageStatus, 1,000 images", image_status, Goal::Ratio(1.0)),
        ("ListImages, 1,000 images", list_images, Goal::Ratio(1.0)),
        ("Status of RuntimeService, forwarded as it is", status, Goal::More(0.5)),
        ("ListContainers, forwarded and looked at", list_containers, Goal::More(0.5)),
    ];
    let mut rows = Vec::new();
    for (work, call, goal) in subjects {
        let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
        for number in 0..=count {
            for (client, times) in [(&mut *ours, &mut our_times), (&mut *theirs, &mut their_times)] {
                let start = Instant::now();
                call(client, name)?;
                if number > 0 {
                    times.push(start.elapsed());
                }
            }
        }
        rows.push(Row {
            id: "P11",
            work,
            against: "containerd directly",
            unit: Unit::Time,
            ours: Figure::of_times(&our_times),
            reference: Some(Figure::of_times(&their_times)),
            goal,
        });
    }
    Ok(rows)
}

/// Makes images that share a layer and differ in their configuration.
fn set(bed: &Bed) -> Result<Set> {
    Set::make(bed.dir("set")?, |maker| {
        let layer = Layer::write(maker.blobs(), Compression::Gzip, base_entries()?)?;
        for number in 0..IMAGES {
            let config = json!({"Cmd": ["sh"], "Labels": {"number": number.to_string()}});
            let image = Recipe::default().layer(&layer).config(config).write(maker.blobs())?;
            maker.add(&format!("docker.io/test/many-{number:04}"), &["latest"], &image);
        }
        Ok(())
    })
}

/// Returns the resident memory of a daemon once it has stopped changing, in bytes. `plain` is the reference.
fn resident(bed: &mut Bed, part: &str) -> Result<u64> {
    let pid =
        if part == "plain" { bed.plain_pid()?.to_string() } else { bed.instance.pid(part)?.to_string() };
    let read = || -> Result<u64> {
        let line = bed.run(&format!("grep VmRSS /proc/{pid}/status"))?;
        let kibibytes = line.split_whitespace().nth(1).context("no VmRSS")?;
        Ok(kibibytes.parse::<u64>()? * 1024)
    };
    let mut last = 0;
    eventually(SETTLE_LIMIT, "the memory of a daemon to settle", || {
        let now = read()?;
        let before = std::mem::replace(&mut last, now);
        bed.run("sleep 1")?;
        ensure!(now == before, "{before}, then {now} bytes");
        Ok(now)
    })
}

/// A CRI client in this process.
pub(crate) struct Client {
    runtime: Runtime,
    channel: Channel,
}

/// An answer with a thousand images is larger than tonic expects.
const MOST_BYTES: usize = 64 << 20;

impl Client {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let channel = runtime.block_on(endpoint.connect());
        Ok(Self { channel: channel.with_context(|| format!("connect to {}", socket.display()))?, runtime })
    }

    fn image_service(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(MOST_BYTES)
    }

    /// Tells whether it has an image of this name.
    pub(crate) fn has_image(&mut self, name: &str) -> Result<bool> {
        let image = Some(spec(name));
        let request = cri::ImageStatusRequest { image, verbose: false };
        let answer = self.runtime.block_on(self.image_service().image_status(request))?;
        Ok(answer.into_inner().image.is_some())
    }

    fn list_images(&mut self) -> Result<usize> {
        let request = cri::ListImagesRequest::default();
        let answer = self.runtime.block_on(self.image_service().list_images(request))?;
        Ok(answer.into_inner().images.len())
    }

    fn status(&mut self) -> Result<()> {
        let mut service = RuntimeServiceClient::new(self.channel.clone());
        self.runtime.block_on(service.status(cri::StatusRequest::default()))?;
        Ok(())
    }

    /// The product's own definitions have this message, and no client for it.
    fn list_containers(&mut self) -> Result<()> {
        let mut service = Grpc::new(self.channel.clone());
        let codec = ProstCodec::<cri::ListContainersRequest, cri::ListContainersResponse>::default();
        let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/ListContainers");
        self.runtime.block_on(async {
            service.ready().await?;
            service.unary(Request::new(cri::ListContainersRequest::default()), path, codec).await?;
            Ok(())
        })
    }

    /// Pulls images, a few at once.
    fn pull(&mut self, names: &[String]) -> Result<()> {
        let service = self.image_service();
        self.runtime.block_on(async {
            let mut pulls = tokio::task::JoinSet::new();
            for name in names {
                if pulls.len() >= AT_ONCE {
                    pulls.join_next().await.context("no pull")???;
                }
                let (mut service, name) = (service.clone(), name.clone());
                pulls.spawn(async move {
                    let request = cri::PullImageRequest { image: Some(spec(&name)), ..Default::default() };
                    service.pull_image(request).await.with_context(|| format!("pull {name}")).map(drop)
                });
            }
            while let Some(ended) = pulls.join_next().await {
                ended??;
            }
            Ok(())
        })
    }
}

fn spec(name: &str) -> cri::ImageSpec {
    cri::ImageSpec { image: name.to_owned(), ..cri::ImageSpec::default() }
}
