//! Leases: what keeps layers from being collected while something that needs them is under way.
//!
//! A lease protects twice. In memory, for as long as the [`Lease`] lives: this costs nothing and covers every layer
//! that a build or a pull has found or made. In the database, from the first layer that is committed under it, until
//! it is released or expires: this covers the layers of a broken pull, so that the next attempt finds them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, params};

use crate::error::{DatabaseContext, Result};
use crate::meta::now;

/// How long the layers of a pull or a build that broke off are kept for the next attempt.
pub const KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// The layers that living leases protect, with how many leases protect each.
#[derive(Debug, Default)]
pub(crate) struct Held {
    layers: Mutex<HashMap<i64, usize>>,
    next: AtomicU64,
}

impl Held {
    fn add(&self, layer: i64) {
        *self.layers.lock().unwrap_or_else(PoisonError::into_inner).entry(layer).or_default() += 1;
    }

    fn remove(&self, layer: i64) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = layers.get_mut(&layer) {
            *count -= 1;
            if *count == 0 {
                layers.remove(&layer);
            }
        }
    }

    /// Returns every layer that a living lease protects.
    pub(crate) fn layers(&self) -> Vec<i64> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

/// Protects layers from collection until it is dropped, and those committed under it for [`KEEP`] after a crash.
#[derive(Debug)]
pub struct Lease {
    id: String,
    held: Arc<Held>,
    layers: Mutex<Vec<i64>>,
}

impl Lease {
    pub(crate) fn new(held: &Arc<Held>) -> Self {
        let id = format!("{}-{}", now(), held.next.fetch_add(1, Ordering::Relaxed));
        Self { id, held: Arc::clone(held), layers: Mutex::default() }
    }

    /// Protects a layer for as long as the lease lives.
    ///
    /// # Locking
    /// Called with the database locked, so that no collection is between its mark and its sweep.
    pub(crate) fn hold(&self, layer: i64) {
        self.held.add(layer);
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).push(layer);
    }

    /// Protects a new layer also beyond a crash; part of the transaction that records the layer.
    pub(crate) fn record(&self, transaction: &Transaction<'_>, layer: i64) -> Result<()> {
        let expires_at = now().saturating_add(i64::try_from(KEEP.as_nanos()).unwrap_or(i64::MAX));
        transaction
            .prepare_cached("INSERT OR IGNORE INTO leases (id, expires_at) VALUES (?, ?)")
            .and_then(|mut statement| statement.execute(params![self.id, expires_at]))
            .doing("record lease")?;
        transaction
            .prepare_cached("INSERT OR IGNORE INTO lease_layers (lease, layer) VALUES (?, ?)")
            .and_then(|mut statement| statement.execute(params![self.id, layer]))
            .doing("record lease")?;
        Ok(())
    }

    /// Ends the recorded part; part of the transaction that records what now needs the layers.
    pub(crate) fn release(&self, transaction: &Transaction<'_>) -> Result<()> {
        transaction
            .prepare_cached("DELETE FROM leases WHERE id = ?")
            .and_then(|mut statement| statement.execute([&self.id]))
            .doing("release lease")?;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        for layer in self.layers.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.held.remove(layer);
        }
    }
}

/// Removes leases that have expired.
pub(crate) fn expire(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute("DELETE FROM leases WHERE expires_at <= ?", [now()]).doing("expire leases")?;
    Ok(())
}

/// Returns the layers that recorded leases protect.
pub(crate) fn recorded_layers(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    connection.prepare_cached("SELECT layer FROM lease_layers")?.query_map([], |row| row.get(0))?.collect()
}
