//! One stage: its steps, one after the other.

use cachestore::layer::{IfKeyed, Layer, Step, Workspace};

use super::copy::Sources;
use super::{Solver, Stacked};
use crate::error::{BuildError, IoDoing, Result};
use crate::event::{Outcome, ShownStep};
use crate::graph::Source;
use crate::host::{Mounted, Stack, Upper};
use crate::key;
use crate::plan::{CopyStep, MkdirStep, PlannedStep, StepKind};
use crate::rooted::Root;
use crate::step::copy::{Fidelity, Target, copy};
use crate::step::{mkdir, run};
use crate::users;

/// The root filesystem that a step changes.
struct StepRoot {
    root: Root,
    mounted: Option<Box<dyn Mounted>>,
    workspace: Workspace,
}

impl Solver<'_> {
    /// Builds a stage and leaves its result for those who wait for it.
    pub(super) fn stage(&self, number: usize) -> Result<()> {
        let Some(stage) = &self.plan.stages[number] else { return Ok(()) };
        let mut stacked = self.stacked(stage.base)?;
        if let Source::Image(image) = stage.base {
            self.show_base(&stage.from_prefix, image);
        }
        for step in &stage.steps {
            if self.cancel.is_cancelled() {
                return Err(BuildError::cancelled());
            }
            let layer = self.step(step, &stacked).map_err(|error| error.at(step.location))?;
            stacked.layers.push(layer);
        }
        self.results[number].set(stacked);
        Ok(())
    }

    fn show_base(&self, prefix: &str, image: usize) {
        let node = &self.graph.images[image];
        let digest = self.images[image].repo_digests.first().and_then(cachestore::Reference::digest);
        let digest = digest.map_or(String::new(), |digest| format!("@{digest}"));
        self.progress.begin(format!("{prefix}FROM {}{digest}", node.reference)).end(Outcome::Cached);
    }

    fn step(&self, step: &PlannedStep, below: &Stacked) -> Result<Layer> {
        match &step.kind {
            StepKind::Run(run) => self.keyed(step, below, &key::run(below.chain().as_ref(), run), None),
            StepKind::Mkdir(mkdir) => {
                self.keyed(step, below, &key::mkdir(below.chain().as_ref(), mkdir), None)
            }
            StepKind::Copy(copy) => {
                let sources = self.sources(copy)?;
                let key = key::copy(below.chain().as_ref(), copy, &sources.digests);
                self.keyed(step, below, &key, Some(sources))
            }
        }
    }

    /// Finds the layer of a step by its key, or does the step.
    fn keyed(
        &self,
        step: &PlannedStep,
        below: &Stacked,
        key: &str,
        sources: Option<Sources>,
    ) -> Result<Layer> {
        if let Some(layer) = self.cached(step, key)? {
            return Ok(layer);
        }
        let _busy = self.builder.keys.begin(key, self.cancel)?;
        // Another build may have done the same meanwhile.
        if let Some(layer) = self.cached(step, key)? {
            return Ok(layer);
        }
        let _permit = self.permits.acquire(self.cancel)?;
        let shown = self.progress.begin(&step.name);
        let result = self.execute(step, below, key, sources, &shown);
        shown.end_with(result)
    }

    fn cached(&self, step: &PlannedStep, key: &str) -> Result<Option<Layer>> {
        if self.request.no_cache {
            return Ok(None);
        }
        let layer = self.store().layer_by_key(key, self.lease)?;
        if layer.is_some() {
            self.progress.begin(&step.name).end(Outcome::Cached);
        }
        Ok(layer)
    }

    fn execute(
        &self,
        step: &PlannedStep,
        below: &Stacked,
        key: &str,
        sources: Option<Sources>,
        shown: &ShownStep<'_>,
    ) -> Result<Layer> {
        let prepared = self.prepare(below)?;
        let fidelity = match &step.kind {
            StepKind::Run(step) => {
                run::run(self.host, &prepared.root, step, shown, self.cancel).map(|()| Fidelity::Exact)
            }
            StepKind::Mkdir(mkdir) => self.mkdir(step, mkdir, &prepared.root).map(|()| Fidelity::Exact),
            StepKind::Copy(copy) => self.copy(step, copy, sources.unwrap_or_default(), &prepared.root),
        };
        let StepRoot { mounted, workspace, .. } = prepared;
        if let Some(mounted) = mounted {
            mounted.unmount().map_err(|error| BuildError::host("cannot unmount the step", &error))?;
        }
        let key = match fidelity? {
            Fidelity::Exact => key.to_owned(),
            Fidelity::Changed => format!("once:{}", workspace.path().display()),
        };
        let if_keyed = if self.request.no_cache { IfKeyed::Replace } else { IfKeyed::Keep };
        let step = Step { key: &key, description: &step.name, if_keyed, below: &below.ids() };
        Ok(self.store().commit_built(workspace, &step, self.lease)?)
    }

    fn mkdir(&self, step: &PlannedStep, mkdir: &MkdirStep, root: &Root) -> Result<()> {
        mkdir::workdir(root, mkdir, self.owner(step, root, &mkdir.user)?)
    }

    fn copy(
        &self,
        step: &PlannedStep,
        copying: &CopyStep,
        sources: Sources,
        root: &Root,
    ) -> Result<Fidelity> {
        let owner = copying.chown.as_ref().map(|owner| self.owner(step, root, &owner.0)).transpose()?;
        let sources = self.selected(copying, sources)?;
        let target = Target { root, owner };
        let fidelity = copy(sources.root.root(), &sources.selections, copying, &target, self.cancel)?;
        sources.root.release()?;
        Ok(fidelity)
    }

    /// Looks up an owner of files; says so if nobody knows it.
    fn owner(&self, step: &PlannedStep, root: &Root, text: &str) -> Result<(u32, u32)> {
        let found = users::file_owner(root, text)?;
        found.unknown.into_iter().for_each(|problem| self.progress.warn(problem, step.location));
        Ok((found.uid, found.gid))
    }

    /// Makes a workspace on top of the layers below. On nothing, the workspace's tree is the root filesystem itself.
    fn prepare(&self, below: &Stacked) -> Result<StepRoot> {
        let workspace = self.store().workspace()?;
        let lower = self.store().lower_dirs(&below.ids());
        let Some(top) = lower.first() else {
            return Ok(StepRoot { root: Root::new(&workspace.tree()), mounted: None, workspace });
        };
        let tree = workspace.tree();
        like_root_below(&tree, top)?;
        std::fs::create_dir(workspace.work()).doing("create", workspace.work())?;
        let stack = Stack { lower, upper: Some(Upper { directory: tree, work: workspace.work() }) };
        let mounted = self.host.mount(&stack);
        let mounted = mounted.map_err(|error| BuildError::host("cannot mount the layers", &error))?;
        Ok(StepRoot { root: Root::new(mounted.path()), mounted: Some(mounted), workspace })
    }
}

/// Overlayfs shows the upper directory as the root: it must look like the root below it.
fn like_root_below(tree: &std::path::Path, below: &std::path::Path) -> Result<()> {
    let stat = rustix::fs::stat(below).doing("inspect", below)?;
    let (uid, gid) =
        (rustix::process::Uid::from_raw(stat.st_uid), rustix::process::Gid::from_raw(stat.st_gid));
    rustix::fs::chown(tree, Some(uid), Some(gid)).doing("change owner of", tree)?;
    rustix::fs::chmod(tree, rustix::fs::Mode::from_raw_mode(stat.st_mode & 0o7777))
        .doing("change mode of", tree)
}
