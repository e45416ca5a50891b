//! What builds need of the world: images, mounts, processes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use builder::{Cancel, Exit, Host, HostError, Mounted, Process, Stack, Transfer};
use cachestore::{Image, Reference};
use tokio::runtime::Handle;
use transfer::{Credentials, LayerEvent};

use super::mount::OverlayMount;
use super::runc::{Runc, Sink};
use super::spec::{self, Files};
use crate::images::{Answering, Images};

/// How often a pull is looked at whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What all builds share.
#[derive(Clone, Debug)]
pub(crate) struct World {
    images: Arc<Images>,
    runtime: Handle,
    runc: Runc,
    /// Where mounts, bundles and runc's state are; emptied when shimd starts.
    directory: PathBuf,
    cgroup: String,
    next: Arc<AtomicU64>,
}

impl World {
    /// Makes the directory for builds, after ending what an earlier shimd left running.
    pub(crate) fn new(
        images: Arc<Images>,
        runc: PathBuf,
        directory: &Path,
        cgroup: String,
    ) -> anyhow::Result<Self> {
        let runc = Runc::new(runc, directory.join("runc"));
        runc.remove_all()?;
        let context = || format!("cannot prepare {}", directory.display());
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(context);
            }
            _ => std::fs::create_dir_all(directory).with_context(context)?,
        }
        let next = Arc::new(AtomicU64::new(1));
        Ok(Self {
            images,
            runtime: Handle::current(),
            runc,
            directory: directory.to_path_buf(),
            cgroup,
            next,
        })
    }

    /// Returns the surroundings of one build, whose caller has these credentials.
    pub(crate) fn for_build(&self, credentials: Arc<dyn Credentials>) -> BuildWorld {
        BuildWorld { world: self.clone(), credentials }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// The surroundings of one build.
#[derive(Clone)]
pub(crate) struct BuildWorld {
    world: World,
    credentials: Arc<dyn Credentials>,
}

impl Host for BuildWorld {
    fn image(
        &self,
        reference: &Reference,
        pull: bool,
        observer: &dyn Fn(Transfer),
        cancel: &Cancel,
    ) -> Result<Arc<Image>, HostError> {
        let images = &self.world.images;
        if let Some(image) = images.store.resolve(&reference.to_string())?.filter(|_| !pull) {
            return Ok(image);
        }
        let (sender, events) = std::sync::mpsc::channel();
        let observer_of_pull = Arc::new(move |event: LayerEvent| {
            // Nobody listens any more once the build was cancelled.
            sender.send(event).ok();
        });
        let (images, reference) = (Arc::clone(images), reference.clone());
        let credentials = Arc::clone(&self.credentials);
        let mut pulling = self.world.runtime.spawn(async move {
            images.pull(&reference, Answering::Policy, credentials, observer_of_pull).await
        });
        loop {
            let step = async { tokio::time::timeout(LOOK_EVERY, &mut pulling).await };
            let ended = self.world.runtime.block_on(step);
            for event in events.try_iter() {
                observer(Transfer {
                    item: event.digest.to_string(),
                    current_bytes: event.current_bytes,
                    total_bytes: event.total_bytes,
                });
            }
            match ended {
                Ok(pulled) => return Ok(pulled?.map_err(|status| status.message().to_owned())?.image),
                Err(_) if cancel.is_cancelled() => {
                    pulling.abort();
                    return Err("the build was cancelled".into());
                }
                Err(_) => {}
            }
        }
    }

    fn mount(&self, stack: &Stack) -> Result<Box<dyn Mounted>, HostError> {
        let path = self.world.directory.join(format!("m{}", self.world.number()));
        Ok(Box::new(OverlayMount::new(stack, path)?))
    }

    fn run(&self, process: &Process, output: Sink<'_>, cancel: &Cancel) -> Result<Exit, HostError> {
        let number = self.world.number();
        let bundle = self.world.directory.join(format!("b{number}"));
        let result = self.run_bundle(&bundle, process, output, cancel);
        if let Err(error) = std::fs::remove_dir_all(&bundle) {
            tracing::warn!(path = %bundle.display(), %error, "cannot remove the bundle of a build step");
        }
        Ok(result?)
    }
}

impl BuildWorld {
    fn run_bundle(
        &self,
        bundle: &Path,
        process: &Process,
        output: Sink<'_>,
        cancel: &Cancel,
    ) -> anyhow::Result<Exit> {
        let context = || format!("cannot prepare {}", bundle.display());
        std::fs::create_dir(bundle).with_context(context)?;
        let files = Files { resolv_conf: &bundle.join("resolv.conf"), hosts: &bundle.join("hosts") };
        // The step is in the machine's network, so the machine's resolvers are its own, loopback or not.
        write(files.resolv_conf, &std::fs::read("/etc/resolv.conf").unwrap_or_default())
            .with_context(context)?;
        let hosts =
            format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", spec::HOSTNAME);
        write(files.hosts, hosts.as_bytes()).with_context(context)?;
        let id =
            format!("shim-build-{}-{}", std::process::id(), bundle.file_name().unwrap_or_default().display());
        let cgroup = format!("{}/{id}", self.world.cgroup);
        let has_cgroup2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let specification = spec::specification(process, &cgroup, &files, has_cgroup2);
        write(&bundle.join("config.json"), specification.to_string().as_bytes()).with_context(context)?;
        self.world.runc.run(bundle, &id, output, cancel)
    }
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::io::Write::write_all(&mut std::fs::File::create(path)?, bytes)
}
