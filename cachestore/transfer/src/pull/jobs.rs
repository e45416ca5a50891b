//! One job for each blob: whoever else wants it waits and finds the result in the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cachestore::Digest;
use tokio::sync::OwnedMutexGuard;

/// The right to work on a blob, until it is dropped.
pub(super) type Job = OwnedMutexGuard<()>;

/// The blobs that are being downloaded. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs(Arc<Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>>);

impl Jobs {
    /// Waits for other jobs on this blob to end.
    pub(super) async fn begin(&self, blob: Digest) -> Job {
        self.of(blob).lock_owned().await
    }

    /// Begins a job on this blob, unless there is one.
    pub(super) fn begin_if_idle(&self, blob: Digest) -> Option<Job> {
        self.of(blob).try_lock_owned().ok()
    }

    fn of(&self, blob: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, job| Arc::strong_count(job) > 1);
        Arc::clone(jobs.entry(blob).or_default())
    }
}
