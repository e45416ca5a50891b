//! Which chains containerd has registered as committed snapshots, and what it has labelled them with.
//!
//! Kept in memory only: a chain is valid without being registered, and whoever names it registers it again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Info, Kind, LABEL_REF, Labels, Usage, row};
use crate::Store;
use crate::chains;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::record::by_id;

/// The chains that containerd knows.
#[derive(Debug, Default)]
pub(crate) struct Registered(Mutex<BTreeMap<Digest, Labels>>);

impl Registered {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Labels>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn chains(&self) -> Vec<Digest> {
        self.lock().keys().copied().collect()
    }

    pub(super) fn set_labels(&self, chain: Digest, labels: Labels) {
        self.lock().insert(chain, labels);
    }
}

/// Directories on their way out.
#[derive(Debug, Default)]
pub(crate) struct Discarded(Mutex<Leaving>);

#[derive(Debug, Default)]
struct Leaving {
    /// They have lost their records, or are about to, and lie where they lay.
    announced: BTreeSet<PathBuf>,
    /// They have been moved into `t/` and wait for their removal.
    moved: Vec<PathBuf>,
}

impl Discarded {
    fn lock(&self) -> MutexGuard<'_, Leaving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a directory loses its record in this transaction: until it is moved, that it lies there is no finding.
    pub(crate) fn announce(&self, path: PathBuf) {
        self.lock().announced.insert(path);
    }

    pub(crate) fn is_announced(&self, path: &Path) -> bool {
        self.lock().announced.contains(path)
    }

    /// Notes where an announced directory is now; `None` if it was not there, or could not be moved.
    pub(super) fn moved(&self, from: &Path, to: Option<PathBuf>) {
        let mut leaving = self.lock();
        leaving.announced.remove(from);
        leaving.moved.extend(to);
    }

    pub(super) fn take(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.lock().moved)
    }
}

impl Store {
    /// Registers a chain as a committed snapshot on top of `parent`; tells whether this store has it, whole.
    pub(super) fn register(&self, chain: &str, parent: Option<&str>) -> Result<bool> {
        let Some(chain) = self.known_chain(chain)? else { return Ok(false) };
        if self.chain_parent(&chain)?.map(|parent| parent.to_string()).as_deref() != parent {
            return Ok(false);
        }
        let top = self.chain_layers(&chain)?.pop();
        if !top.is_some_and(|layer| self.layer_tree(layer).is_dir()) {
            tracing::error!(%chain, "a layer's tree is missing; run `shimctl verify`");
            return Ok(false);
        }
        // With the database locked, so that no collection is between its mark and its sweep.
        self.meta.read("register chain", |connection| {
            let is_there = chains::exists(connection, &chain)?;
            if is_there {
                self.registered.lock().entry(chain).or_insert_with(|| default_labels(&chain));
            }
            Ok(is_there)
        })
    }

    /// Says which chains containerd has: after a restart of either side it is asked.
    pub fn set_registered(&self, chains: BTreeSet<Digest>) {
        let mut registered = self.registered.lock();
        registered.retain(|chain, _| chains.contains(chain));
        for chain in chains {
            registered.entry(chain).or_insert_with(|| default_labels(&chain));
        }
    }

    pub(super) fn unregister(&self, chain: &Digest) -> Result<()> {
        self.meta.read("find snapshot", |connection| {
            Ok(row::check_no_children(connection, &chain.to_string()))
        })??;
        self.registered.lock().remove(chain);
        Ok(())
    }

    /// Reads a name as a chain ID of this store.
    pub(super) fn known_chain(&self, name: &str) -> Result<Option<Digest>> {
        match name.parse::<Digest>() {
            Ok(chain) if self.has_chain(&chain)? => Ok(Some(chain)),
            _ => Ok(None),
        }
    }

    pub(super) fn chain_info(&self, chain: &Digest) -> Result<Info> {
        let labels = self.registered.lock().get(chain).cloned().unwrap_or_else(|| default_labels(chain));
        let parent = self.chain_parent(chain)?.map(|parent| parent.to_string());
        let created_at = self.top_layer(chain)?.created_at;
        Ok(Info {
            name: chain.to_string(),
            kind: Kind::Committed,
            parent,
            labels,
            created_at,
            updated_at: created_at,
        })
    }

    pub(super) fn chain_usage(&self, chain: &Digest) -> Result<Usage> {
        let layer = self.top_layer(chain)?;
        Ok(Usage { size_bytes: layer.disk_size_bytes, inodes: layer.inodes })
    }

    fn top_layer(&self, chain: &Digest) -> Result<crate::layer::Layer> {
        let missing = || Error::not_found("chain", chain);
        let id = self.chain_layers(chain)?.pop().ok_or_else(missing)?;
        self.meta.read("read layer", |connection| by_id(connection, id.0))
    }
}

fn default_labels(chain: &Digest) -> Labels {
    Labels::from([(LABEL_REF.to_owned(), chain.to_string())])
}
