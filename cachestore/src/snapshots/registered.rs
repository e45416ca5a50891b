//! Which chains containerd has registered as committed snapshots, and what it has labelled them with.
//!
//! Kept in memory only: a chain is valid without being registered, and whoever names it registers it again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Info, Kind, LABEL_REF, Labels, Usage, row};
use crate::Store;
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

/// Directories that wait for their removal.
#[derive(Debug, Default)]
pub(crate) struct Discarded(Mutex<Vec<PathBuf>>);

impl Discarded {
    pub(super) fn add(&self, path: PathBuf) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }

    pub(super) fn take(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
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
        self.registered.lock().entry(chain).or_insert_with(|| default_labels(&chain));
        Ok(true)
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
