#![doc = include_str!("../README.md")]

mod cancel;
mod context;
pub mod dockerfile;
mod error;
mod event;
mod graph;
mod host;
pub mod ignore;
mod key;
mod output;
mod plan;
mod request;
mod rooted;
mod solve;
mod step;
mod tree;
mod users;
mod waiting;
pub mod wildcard;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cachestore::images::{Name, NewImage, Origin};
use cachestore::layer::LayerId;
use cachestore::oci::config::ImageConfig;
use cachestore::{Image, Lease, Reference, Store};

use context::Context;
use dockerfile::Dockerfile;
use error::Result;
use event::Progress;
use graph::Graph;
use plan::Planner;
use solve::{Solver, Stacked};
use waiting::{Cell, Keys, Permits};

pub use cancel::Cancel;
pub use error::{BuildError, Kind};
pub use event::{Event, Observer, Outcome, StepNumber};
pub use host::{Exit, Host, HostError, Mounted, Output, Process, Stack, Transfer, Upper, UserIds};
pub use request::BuildRequest;

/// Builds images into a store. Builds may run at once: they share work that they have in common.
#[derive(Debug)]
pub struct Builder {
    store: Arc<Store>,
    /// Where the digests of contexts are remembered.
    cache_dir: PathBuf,
    parallel: usize,
    keys: Keys,
}

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The image.
    pub image: Arc<Image>,
    /// Every layer that was made or used, those of intermediate stages too.
    pub layers: Vec<LayerId>,
}

impl Builder {
    /// Makes a builder. At most `parallel` steps of one build run at once.
    pub fn new(store: Arc<Store>, cache_dir: PathBuf, parallel: usize) -> Self {
        Self { store, cache_dir, parallel, keys: Keys::default() }
    }

    /// Runs one build in these surroundings.
    ///
    /// # Errors
    /// See [`BuildError`]. Layers that were complete are found by the next build.
    ///
    /// # Cancellation
    /// `cancel` is this build's own: it is also cancelled here, when a step fails, so that the others stop.
    pub fn build(
        &self,
        request: &BuildRequest,
        host: &dyn Host,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Built> {
        let progress = Progress::new(observer);
        let file = self.read_file(request, &progress)?;
        let target = request.target.as_deref();
        let globals = plan::args::globals(&file, &request.build_args, target.unwrap_or_default())?;
        let graph = Graph::new(&file, &globals, target)?;
        let lease = self.store.lease();
        let asking = Asking { request, host, progress: &progress, cancel };
        let images = asking.images(&graph)?;
        let configs = images.iter().map(|image| self.config_of(image)).collect::<Result<Vec<_>>>()?;
        let build_args = &request.build_args;
        let planner = Planner { file: &file, graph: &graph, globals: &globals, build_args, images: &configs };
        let plan = planner.plan()?;
        for warning in file.warnings.iter().chain(&plan.warnings) {
            progress.warn(format!("{}: {}", warning.rule.name(), warning.message), warning.location);
        }
        let context = Context::open(request, &self.cache_dir, cancel)?;
        let solver = Solver {
            builder: self,
            host,
            request,
            graph: &graph,
            plan: &plan,
            images: &images,
            context: &context,
            lease: &lease,
            progress: &progress,
            cancel,
            permits: Permits::new(self.parallel),
            results: (0..plan.stages.len()).map(|_| Cell::default()).collect(),
            context_shown: Mutex::new(false),
        };
        let solved = solver.solve();
        context.remember();
        let stacked = solved?;
        let layers = solver.results.iter().filter_map(Cell::get).flat_map(|stage| stage.ids()).collect();
        let config = plan.stages[graph.target].as_ref().expect("the target is reachable").config();
        let image = self.export(config, &stacked, request, &lease, &progress)?;
        Ok(Built { image, layers })
    }

    fn read_file(&self, request: &BuildRequest, progress: &Progress<'_>) -> Result<Dockerfile> {
        let name = format!("[internal] load build definition from {}", request.dockerfile_name);
        let shown = progress.begin(name);
        shown.end_with(parse(&request.dockerfile))
    }

    fn config_of(&self, image: &Image) -> Result<ImageConfig> {
        let missing = || cachestore::Error::not_found("blob", image.id);
        Ok(ImageConfig::parse(&self.store.blob(&image.id)?.ok_or_else(missing)?)?)
    }

    fn export(
        &self,
        config: &ImageConfig,
        stacked: &Stacked,
        request: &BuildRequest,
        lease: &Lease,
        progress: &Progress<'_>,
    ) -> Result<Arc<Image>> {
        let shown = progress.begin("exporting to image");
        let image = self.record(config, stacked, request, lease);
        if let Ok(image) = &image {
            let named = request.names.iter().map(|name| format!("naming to {name}"));
            for item in std::iter::once(format!("writing image {}", image.id)).chain(named) {
                shown.progress(Transfer { item, current_bytes: 0, total_bytes: 0 });
            }
        }
        shown.end_with(image)
    }

    fn record(
        &self,
        config: &ImageConfig,
        stacked: &Stacked,
        request: &BuildRequest,
        lease: &Lease,
    ) -> Result<Arc<Image>> {
        let documents = output::documents(config, &stacked.layers)?;
        if let Some(image) = self.unchanged(&documents.config, &request.names) {
            return Ok(image);
        }
        let names: Vec<Name> =
            request.names.iter().map(|name| Name { reference: name.clone(), local: true }).collect();
        let new = NewImage {
            config: &documents.config,
            manifest: &documents.manifest,
            layers: &stacked.ids(),
            origin: Origin::Built,
            names: &names,
            repo_digests: &[],
        };
        Ok(self.store.put_image(&new, lease)?)
    }

    /// A build that changed nothing writes nothing.
    fn unchanged(&self, config: &[u8], names: &[Reference]) -> Option<Arc<Image>> {
        let image = self.store.image(&cachestore::Digest::of(config))?;
        let has = |name: &Reference| image.names.iter().any(|known| known.local && known.reference == *name);
        names.iter().all(has).then_some(image)
    }
}

/// What is needed to get the images of a build.
struct Asking<'a> {
    request: &'a BuildRequest,
    host: &'a dyn Host,
    progress: &'a Progress<'a>,
    cancel: &'a Cancel,
}

impl Asking<'_> {
    /// Gets every image that is needed, all at once.
    fn images(&self, graph: &Graph) -> Result<Vec<Arc<Image>>> {
        let results: Vec<Mutex<Option<Result<Arc<Image>>>>> =
            graph.images.iter().map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for (node, result) in graph.images.iter().zip(&results) {
                scope.spawn(move || {
                    let image = self.image(&node.reference).map_err(|error| error.at(node.location));
                    *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(image);
                });
            }
        });
        let take = |result: Mutex<Option<Result<_>>>| {
            let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
            result.unwrap_or_else(|| Err(BuildError::failed("the pull of a base image ended unexpectedly")))
        };
        results.into_iter().map(take).collect()
    }

    fn image(&self, reference: &Reference) -> Result<Arc<Image>> {
        let shown = self.progress.begin(format!("[internal] load metadata for {reference}"));
        let pull = self.request.pull;
        let image = self.host.image(reference, pull, &|transfer| shown.progress(transfer), self.cancel);
        let image = match image {
            Err(_) if self.cancel.is_cancelled() => Err(BuildError::cancelled()),
            image => image.map_err(|error| BuildError::host(reference.familiar(), &error)),
        };
        shown.end_with(image)
    }
}

fn parse(text: &[u8]) -> Result<Dockerfile> {
    let file = dockerfile::parse(text)?;
    match dockerfile::unsupported(&file).first() {
        None => Ok(file),
        Some(unsupported) => {
            let message = format!("{} cannot be executed by this builder yet", unsupported.feature);
            Err(BuildError::invalid(message).at(unsupported.location))
        }
    }
}
