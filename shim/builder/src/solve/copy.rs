//! The sources of a `COPY`: their digests, which decide whether it was done before, and if not, what to copy.

use cachestore::layer::Workspace;
use cachestore::{Digest, Store};

use super::{Solver, Stacked};
use crate::context::hash;
use crate::error::{BuildError, Result};
use crate::graph::Source;
use crate::host::{Mounted, Stack};
use crate::key;
use crate::plan::{CopyStep, SourceTree};
use crate::rooted::Root;
use crate::tree::{Filter, Scanner, Selection, digest, select};

/// What is known of the sources of a `COPY` before it is known whether they are needed.
#[derive(Default)]
pub(super) struct Sources {
    /// The digest of what each source selects.
    pub(super) digests: Vec<Digest>,
    /// What was selected, if it had to be looked at to compute the digests.
    selected: Option<Selected>,
}

/// What the sources select, and where.
pub(super) struct Selected {
    pub(super) root: SourceRoot,
    pub(super) selections: Vec<Selection>,
}

/// The directory that is copied from.
pub(super) struct SourceRoot {
    root: Root,
    mounted: Option<Box<dyn Mounted>>,
    /// Stands in for a source without files; removed with the value.
    _nothing: Option<Workspace>,
}

impl SourceRoot {
    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    pub(super) fn release(self) -> Result<()> {
        match self.mounted {
            Some(mounted) => {
                mounted.unmount().map_err(|error| BuildError::host("cannot unmount the source", &error))
            }
            None => Ok(()),
        }
    }
}

impl Solver<'_> {
    pub(super) fn sources(&self, step: &CopyStep) -> Result<Sources> {
        match step.from {
            SourceTree::Context => self.context_sources(step),
            SourceTree::Stack(source) => self.stack_sources(step, source),
        }
    }

    /// Returns what the sources select; looks at them if that has not been necessary yet.
    pub(super) fn selected(&self, step: &CopyStep, sources: Sources) -> Result<Selected> {
        match (sources.selected, step.from) {
            (Some(selected), _) => Ok(selected),
            (None, SourceTree::Context) => {
                Ok(self.context_sources(step)?.selected.expect("a context is always looked at"))
            }
            (None, SourceTree::Stack(source)) => {
                let root = self.source_root(&self.stacked(source)?)?;
                let selections =
                    select_all(&Scanner { root: root.root(), filter: Filter::Everything }, step)?;
                Ok(Selected { root, selections: selections.into_iter().flatten().collect() })
            }
        }
    }

    /// The first look at the context is shown as a step, as docker shows its transfer.
    fn context_sources(&self, step: &CopyStep) -> Result<Sources> {
        let mut shown = self.context_shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if std::mem::replace(&mut *shown, true) {
            drop(shown);
            return self.read_context(step);
        }
        let loading = self.progress.begin("[internal] load build context");
        drop(shown);
        loading.end_with(self.read_context(step))
    }

    fn read_context(&self, step: &CopyStep) -> Result<Sources> {
        let selections = select_all(&self.context.scanner(), step)?;
        let mut digests = Vec::new();
        for selection in selections.iter().flatten() {
            digests.push(digest(selection, |selection, entry| self.context.digest_of(selection, entry))?);
            self.context.note_scanned(selection);
        }
        let root = SourceRoot { root: self.context.root().clone(), mounted: None, _nothing: None };
        let selections = selections.into_iter().flatten().collect();
        Ok(Sources { digests, selected: Some(Selected { root, selections }) })
    }

    /// What a source selects in a stack of layers never changes: its digest is computed once and remembered.
    fn stack_sources(&self, step: &CopyStep, source: Source) -> Result<Sources> {
        let stacked = self.stacked(source)?;
        let known = remembered(&self.builder.store, &stacked, step)?;
        if known.len() == step.sources.len() {
            return Ok(Sources { digests: known, selected: None });
        }
        let root = self.source_root(&stacked)?;
        let per_source = select_all(&Scanner { root: root.root(), filter: Filter::Everything }, step)?;
        let mut digests = Vec::new();
        for (source, selections) in step.sources.iter().zip(&per_source) {
            let mut fields = cachestore::digest::Digester::new();
            for selection in selections {
                let content = |selection: &Selection, entry: &crate::tree::Entry| {
                    if self.cancel.is_cancelled() {
                        return Err(BuildError::cancelled());
                    }
                    Ok(hash(&root.root().full(&selection.inside(entry)))?.0)
                };
                key::Fields::field(&mut fields, digest(selection, content)?.as_bytes());
            }
            let digest = fields.finish();
            if let (Some(chain), Some(top)) = (stacked.chain(), stacked.layers.last()) {
                self.store().put_tree_digest(top.id, &chain, &key::selector(source), &digest)?;
            }
            digests.push(digest);
        }
        let selections = per_source.into_iter().flatten().collect();
        Ok(Sources { digests, selected: Some(Selected { root, selections }) })
    }

    /// Makes a stack readable as one tree: mounted, unless it is one directory anyway.
    fn source_root(&self, stacked: &Stacked) -> Result<SourceRoot> {
        let lower = self.store().lower_dirs(&stacked.ids());
        match &lower[..] {
            [] => {
                let nothing = self.store().workspace()?;
                Ok(SourceRoot { root: Root::new(&nothing.tree()), mounted: None, _nothing: Some(nothing) })
            }
            [only] => Ok(SourceRoot { root: Root::new(only), mounted: None, _nothing: None }),
            _ => {
                let mounted = self.host.mount(&Stack { lower, upper: None });
                let mounted = mounted.map_err(|error| BuildError::host("cannot mount the source", &error))?;
                let root = Root::new(mounted.path());
                Ok(SourceRoot { root, mounted: Some(mounted), _nothing: None })
            }
        }
    }
}

/// Returns what each source selects.
fn select_all(scanner: &Scanner<'_>, step: &CopyStep) -> Result<Vec<Vec<Selection>>> {
    step.sources.iter().map(|source| select(scanner, source)).collect()
}

/// Returns the digests that are remembered, up to the first that is not.
fn remembered(store: &Store, stacked: &Stacked, step: &CopyStep) -> Result<Vec<Digest>> {
    let Some(chain) = stacked.chain() else { return Ok(Vec::new()) };
    let mut known = Vec::new();
    for source in &step.sources {
        match store.tree_digest(&chain, &key::selector(source))? {
            Some(digest) => known.push(digest),
            None => break,
        }
    }
    Ok(known)
}
