//! Walks the plan: each stage on a thread of its own, each step found by its key or done and committed.

mod copy;
mod stage;

use std::sync::{Mutex, PoisonError};

use cachestore::layer::{Layer, LayerId};
use cachestore::{Digest, Image, Lease, Store};

use crate::Builder;
use crate::cancel::Cancel;
use crate::context::Context;
use crate::error::{BuildError, Kind, Result};
use crate::event::Progress;
use crate::graph::{Graph, Source};
use crate::host::Host;
use crate::plan::Plan;
use crate::request::BuildRequest;
use crate::waiting::{Cell, Permits};

/// What a stage has come to: its layers, bottom first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stacked {
    pub(crate) layers: Vec<Layer>,
}

impl Stacked {
    /// Returns the chain ID of all layers; nothing for none.
    pub(crate) fn chain(&self) -> Option<Digest> {
        let diff_ids: Vec<Digest> = self.layers.iter().map(|layer| layer.diff_id).collect();
        cachestore::oci::chain::ids(&diff_ids).last().copied()
    }

    pub(crate) fn ids(&self) -> Vec<LayerId> {
        self.layers.iter().map(|layer| layer.id).collect()
    }
}

/// A build that is being done.
pub(crate) struct Solver<'a> {
    pub(crate) builder: &'a Builder,
    pub(crate) host: &'a dyn Host,
    pub(crate) request: &'a BuildRequest,
    pub(crate) graph: &'a Graph,
    pub(crate) plan: &'a Plan,
    pub(crate) images: &'a [std::sync::Arc<Image>],
    pub(crate) context: &'a Context,
    pub(crate) lease: &'a Lease,
    pub(crate) progress: &'a Progress<'a>,
    pub(crate) cancel: &'a Cancel,
    pub(crate) permits: Permits,
    pub(crate) results: Vec<Cell<Stacked>>,
    /// Whether the reading of the context has been shown as a step.
    pub(crate) context_shown: Mutex<bool>,
}

impl Solver<'_> {
    /// Builds every stage that the target needs; returns the target.
    pub(crate) fn solve(&self) -> Result<Stacked> {
        let failure: Mutex<Option<BuildError>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for number in 0..self.plan.stages.len() {
                if self.plan.stages[number].is_none() {
                    continue;
                }
                let failure = &failure;
                scope.spawn(move || {
                    if let Err(error) = self.stage(number) {
                        let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        // The others fail because they are cancelled, and that is not the reason.
                        if failure.as_ref().is_none_or(|first| first.kind == Kind::Cancelled) {
                            *failure = Some(error);
                        }
                        drop(failure);
                        self.cancel.cancel();
                    }
                });
            }
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        self.results[self.graph.target]
            .get()
            .ok_or_else(|| BuildError::failed("the target stage has no result"))
    }

    fn store(&self) -> &Store {
        &self.builder.store
    }

    /// Returns the layers of what a stage is built on, or copied from; waits for a stage.
    fn stacked(&self, source: Source) -> Result<Stacked> {
        match source {
            Source::Scratch => Ok(Stacked::default()),
            Source::Stage(number) => self.results[number].wait(self.cancel),
            Source::Image(number) => self.image_layers(&self.images[number]),
        }
    }

    fn image_layers(&self, image: &Image) -> Result<Stacked> {
        let Some(chain) = &image.chain else { return Ok(Stacked::default()) };
        Ok(Stacked { layers: self.store().hold_chain(chain, self.lease)? })
    }
}
