//! One job for each blob: whoever else wants it waits and finds the result in the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cachestore::Digest;
use tokio::sync::OwnedMutexGuard;

/// The blobs that are being downloaded. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs(Arc<Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>>);

impl Jobs {
    /// Waits for other jobs on this blob to end, and keeps further ones waiting for as long as the guard lives.
    pub(super) async fn begin(&self, blob: Digest) -> OwnedMutexGuard<()> {
        let job = {
            let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.retain(|_, job| Arc::strong_count(job) > 1);
            Arc::clone(jobs.entry(blob).or_default())
        };
        job.lock_owned().await
    }
}
