//! The partial download of a blob, bound to the blob's job: who has it is the only one that writes to it.

use std::fs::File;
use std::sync::Arc;

use cachestore::Store;
use cachestore::layer::LayerId;
use cachestore::oci::manifest::BlobRef;
use cachestore::partial::Partial;
use tokio::sync::OwnedSemaphorePermit;

use super::image::put_away;
use super::jobs::Job;

/// A blob's job, and a turn among all layers. Threads that work on the blob share it, since they go on for a moment when
/// the pull is dropped.
pub(super) type Shift = Arc<(Job, Option<OwnedSemaphorePermit>)>;

/// What is kept of a download while it goes on. Nothing is left of one that received nothing.
pub(super) struct Kept {
    /// Nothing once it is in other hands.
    partial: Option<Partial>,
    // Behind the partial download, so that the job ends after it is closed.
    _shift: Shift,
}

impl Kept {
    /// Opens what an earlier attempt left of a blob; nothing of it counts if it is more than the blob has.
    pub(super) fn open(store: &Store, blob: &BlobRef, shift: Shift) -> cachestore::Result<Self> {
        let partial = store.partial(&blob.digest)?;
        let partial = if partial.length_bytes() > blob.size_bytes { partial.restart()? } else { partial };
        Ok(Self { partial: Some(partial), _shift: shift })
    }

    pub(super) fn length_bytes(&self) -> u64 {
        self.partial().length_bytes()
    }

    pub(super) fn reader(&self) -> cachestore::Result<File> {
        self.partial().reader()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> cachestore::Result<()> {
        self.partial.as_mut().expect(TAKEN).append(bytes)
    }

    /// Removes what was received.
    pub(super) fn remove(mut self) -> cachestore::Result<()> {
        self.partial.take().expect(TAKEN).remove()
    }

    /// Keeps what was received as the blob of a layer, or removes it.
    pub(super) fn put_away(
        mut self,
        store: &Store,
        keep: Option<(&BlobRef, LayerId)>,
    ) -> cachestore::Result<()> {
        put_away(store, self.partial.take().expect(TAKEN), keep)
    }

    /// Ends the job, and keeps what was received for a while longer.
    pub(super) fn release(mut self) -> Partial {
        self.partial.take().expect(TAKEN)
    }

    fn partial(&self) -> &Partial {
        self.partial.as_ref().expect(TAKEN)
    }
}

const TAKEN: &str = "whoever takes it takes the whole value too";

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(partial) = self.partial.take().filter(|partial| partial.length_bytes() == 0)
            && let Err(error) = partial.remove()
        {
            tracing::warn!(%error, "cannot remove an empty download");
        }
    }
}
