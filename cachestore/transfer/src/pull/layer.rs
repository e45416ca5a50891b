//! One layer of a pull: found, or downloaded and unpacked at the same time.

use std::io::Read;
use std::sync::Arc;

use cachestore::Digest;
use cachestore::layer::Unpacked;
use cachestore::oci::manifest::LayerRef;
use cachestore::partial::Partial;

use super::feed::{Feed, Piece, Sender};
use super::{Pull, PullError, Ready};
use crate::blob::Verifier;
use crate::error::Error;

/// What is happening to a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its turn has not come.
    Waiting,
    /// Bytes are coming in, and are unpacked as they come.
    Downloading,
    /// Everything is received; unpacking goes on.
    Unpacking,
    /// It is in the store.
    Done,
    /// The store had it.
    Exists,
}

/// An event in the life of a layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerEvent {
    /// The blob's digest.
    pub digest: Digest,
    /// What is happening.
    pub phase: Phase,
    /// Bytes of the blob received so far.
    pub current_bytes: u64,
    /// Its size.
    pub total_bytes: u64,
}

impl LayerEvent {
    pub(super) fn new(layer: &LayerRef, phase: Phase, current_bytes: u64) -> Self {
        Self { digest: layer.blob.digest, phase, current_bytes, total_bytes: layer.blob.size_bytes }
    }
}

/// How the two halves of the work ended: the download, and the unpacking with the partial download that it kept.
type Halves = (Result<(), Error>, Result<Unpacked, cachestore::Error>, Partial);

impl Pull {
    /// Brings a layer into the store, or at least its tree onto the disk.
    pub(super) async fn layer(self, layer: LayerRef, diff_id: Digest) -> Result<Ready, PullError> {
        self.observe(&layer, Phase::Waiting, 0);
        let _job = self.jobs.begin(layer.blob.digest).await;
        // Nobody closes the semaphore.
        let _turn = self.turns.acquire().await.ok();
        let (store, lease) = (Arc::clone(&self.store), Arc::clone(&self.lease));
        let found = self.block(move || store.layer_by_diff_id(diff_id, None, &lease)).await?;
        if let Some(found) = found {
            self.observe(&layer, Phase::Exists, layer.blob.size_bytes);
            return Ok(Ready::Recorded(found.id));
        }
        let unpacked = self.fetch(&layer, diff_id).await?;
        let ready = if unpacked.depends_on_lower() {
            Ready::Waiting(Box::new(unpacked))
        } else {
            Ready::Recorded(self.commit(unpacked, Vec::new()).await?)
        };
        self.observe(&layer, Phase::Done, layer.blob.size_bytes);
        Ok(ready)
    }

    fn observe(&self, layer: &LayerRef, phase: Phase, current_bytes: u64) {
        (self.observer)(LayerEvent::new(layer, phase, current_bytes));
    }

    /// Downloads and unpacks. What an earlier attempt left is tried first; if it turns out to be wrong, once without.
    async fn fetch(&self, layer: &LayerRef, diff_id: Digest) -> Result<Unpacked, PullError> {
        let mut resumed = true;
        loop {
            let (download, unpacked, partial) = self.attempt(layer, diff_id, &mut resumed).await?;
            let wrong = matches!(download, Err(Error::Invalid { .. })) || download.is_ok();
            if wrong {
                self.block(move || partial.remove()).await?;
            }
            match (download, unpacked) {
                (Ok(()), Ok(unpacked)) => return Ok(unpacked),
                (Ok(()), Err(error)) => return Err(self.stored(error)),
                (Err(Error::Invalid { .. }), _) if resumed => {
                    tracing::info!(blob = %layer.blob.digest, "what an earlier pull left is wrong; starting anew");
                }
                // The unpacking failed first, and the download only because nobody took its bytes any more.
                (Err(Error::Refused { .. }), Err(error)) => return Err(self.stored(error)),
                (Err(error), _) => return Err(error.into()),
            }
        }
    }

    async fn attempt(
        &self,
        layer: &LayerRef,
        diff_id: Digest,
        resumed: &mut bool,
    ) -> Result<Halves, PullError> {
        let (store, blob) = (Arc::clone(&self.store), layer.blob);
        let (partial, verifier) =
            self.block(move || resume(store.partial(&blob.digest)?, Verifier::new(blob))).await?;
        *resumed = verifier.length() > 0;
        let (sender, mut feed) = Feed::new(partial).map_err(|error| self.stored(error))?;
        let (store, compression) = (Arc::clone(&self.store), layer.compression);
        let unpacking = tokio::task::spawn_blocking(move || {
            let unpacked = store.unpack(&mut feed, compression, diff_id);
            (unpacked, feed.into_partial())
        });
        let download = self.download(layer, verifier, sender).await;
        let (unpacked, partial) = unpacking.await.map_err(|error| self.task_failed(&error))?;
        Ok((download, unpacked, partial))
    }

    /// Sends the blob to the unpacking thread. The sender is dropped without an end if the download breaks.
    async fn download(&self, layer: &LayerRef, verifier: Verifier, sender: Sender) -> Result<(), Error> {
        let mut stream = self.repository.open_verified(verifier).await?;
        self.observe(layer, Phase::Downloading, stream.position());
        let refused = |_| Error::Refused {
            subject: layer.blob.digest.to_string(),
            problem: "it cannot be unpacked".into(),
        };
        while let Some(bytes) = stream.chunk().await? {
            sender.send(Piece::Bytes(bytes)).await.map_err(refused)?;
            self.observe(layer, Phase::Downloading, stream.position());
        }
        self.observe(layer, Phase::Unpacking, layer.blob.size_bytes);
        sender.send(Piece::End).await.map_err(refused)
    }
}

/// Hashes what an earlier attempt received; starts anew if that is more than the blob has.
fn resume(partial: Partial, verifier: Verifier) -> cachestore::Result<(Partial, Verifier)> {
    let size = verifier.blob().size_bytes;
    if partial.length_bytes() > size {
        return Ok((partial.restart()?, verifier));
    }
    let mut verifier = verifier;
    let mut reader = partial.reader()?.take(partial.length_bytes());
    let mut buffer = vec![0; 128 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((partial, verifier)),
            Ok(count) => verifier.update(&buffer[..count]),
            Err(source) => return Err(cachestore::Error::io("read", "a partial download", source)),
        }
    }
}
