//! One layer of a pull: found, or downloaded and unpacked at the same time.

use std::io::{self, Read};
use std::sync::Arc;

use cachestore::Digest;
use cachestore::layer::{LayerId, Unpacked};
use cachestore::oci::manifest::LayerRef;
use cachestore::partial::Partial;

use super::PullError;
use super::feed::{Feed, Piece, Sender};
use super::image::{Place, Pull, chain_of};
use super::kept::{Kept, Shift};
use crate::blob::{VerifiedBlob, Verifier};
use crate::error::{Attempts, Error};

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

/// What became of a layer.
pub(super) enum Ready {
    /// It is in the store.
    Recorded(LayerId),
    /// Its tree is complete, but depends on the layers below it. The download stays until the image is recorded: it is
    /// what the next attempt goes on from.
    Waiting(Box<Unpacked>, Partial),
}

/// How the two halves of the work ended: the download and the unpacking.
struct Attempt {
    /// Whether it went on from what an earlier one had left.
    resumed: bool,
    received: Result<Received, Error>,
    unpacked: Result<Unpacked, cachestore::Error>,
    kept: Kept,
}

/// How far a download came.
enum Received {
    /// To its end, and the digest was right.
    Whole,
    /// To where nobody took its bytes any more.
    Part(Box<VerifiedBlob>),
}

/// What an attempt proved.
enum Verdict {
    Right(Box<Unpacked>, Kept),
    /// The bytes were not the blob.
    Wrong {
        resumed: bool,
        subject: String,
        attempts: Attempts,
    },
}

impl Pull {
    /// Brings a layer into the store, or at least its tree onto the disk.
    pub(super) async fn layer(self, place: Place) -> Result<Ready, PullError> {
        let layer = &place.layer;
        self.observe(layer, Phase::Waiting, 0);
        let job = self.jobs.begin(layer.blob.digest).await;
        // Nobody closes the semaphore.
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        let shift: Shift = Arc::new((job, turn));
        if let Some(found) = self.find(&place, &shift).await? {
            self.observe(layer, Phase::Exists, layer.blob.size_bytes);
            return Ok(Ready::Recorded(found));
        }
        let (unpacked, kept) = self.fetch(&place, &shift).await?;
        let ready = if unpacked.depends_on_lower() {
            Ready::Waiting(unpacked, kept.release())
        } else {
            Ready::Recorded(self.record(&place, unpacked, kept).await?)
        };
        self.observe(layer, Phase::Done, layer.blob.size_bytes);
        Ok(ready)
    }

    pub(super) fn observe(&self, layer: &LayerRef, phase: Phase, current_bytes: u64) {
        let total_bytes = layer.blob.size_bytes;
        (self.observer)(LayerEvent { digest: layer.blob.digest, phase, current_bytes, total_bytes });
    }

    /// Finds the layer by itself, or, where it depends on those below, as part of a chain that another pull recorded.
    /// What is left of a download of it is of no more use then.
    async fn find(&self, place: &Place, shift: &Shift) -> Result<Option<LayerId>, PullError> {
        let (store, lease, shift) = (Arc::clone(&self.store), Arc::clone(&self.lease), Arc::clone(shift));
        let Place { layer, diff_id, chain } = *place;
        self.block(move || {
            let found = match store.layer_by_diff_id(diff_id, None, &lease)? {
                Some(found) => Some(found),
                None => chain_of(&store, &chain, &lease)?.pop(),
            };
            if found.is_some() {
                Kept::open(&store, &layer.blob, shift)?.remove()?;
            }
            Ok(found.map(|found| found.id))
        })
        .await
    }

    /// Records a layer that depends on no other, and then puts away what it was unpacked from.
    async fn record(&self, place: &Place, unpacked: Box<Unpacked>, kept: Kept) -> Result<LayerId, PullError> {
        let (store, lease) = (Arc::clone(&self.store), Arc::clone(&self.lease));
        let (blob, keep_blobs) = (place.layer.blob, self.keep_blobs);
        self.block(move || {
            let layer = store.commit_unpacked(*unpacked, &[], &lease)?;
            kept.put_away(&store, keep_blobs.then_some((&blob, layer.id)))?;
            Ok(layer.id)
        })
        .await
    }

    /// Downloads and unpacks. What an earlier attempt left is tried first; where the bytes turn out to be wrong, it is
    /// begun anew, as often as there are endpoints that may have better ones.
    async fn fetch(&self, place: &Place, shift: &Shift) -> Result<(Box<Unpacked>, Kept), PullError> {
        let (mut fresh, mut wrong) = (0, Attempts::default());
        loop {
            let attempt = self.attempt(place, shift).await?;
            match self.judge(place, attempt).await? {
                Verdict::Right(unpacked, kept) => return Ok((unpacked, kept)),
                Verdict::Wrong { resumed, subject, attempts } => {
                    tracing::info!(blob = %place.layer.blob.digest, resumed, "the bytes of a layer were wrong");
                    wrong.add(attempts);
                    fresh += usize::from(!resumed);
                    if fresh >= self.repository.endpoint_count() {
                        return Err(Error::Invalid { subject, attempts: wrong }.into());
                    }
                }
            }
        }
    }

    async fn attempt(&self, place: &Place, shift: &Shift) -> Result<Attempt, PullError> {
        let (store, blob, shift) = (Arc::clone(&self.store), place.layer.blob, Arc::clone(shift));
        let (kept, verifier) = self
            .block(move || {
                let kept = Kept::open(&store, &blob, shift)?;
                let verifier = hashed(&kept, Verifier::new(blob))?;
                Ok((kept, verifier))
            })
            .await?;
        let resumed = verifier.length() > 0;
        let (sender, mut feed) = Feed::new(kept).map_err(|error| self.stored(error))?;
        let (store, compression, diff_id) = (Arc::clone(&self.store), place.layer.compression, place.diff_id);
        let unpacking = tokio::task::spawn_blocking(move || {
            let unpacked = store.unpack(&mut feed, compression, diff_id);
            let (kept, failure) = feed.finish();
            (failure.map_or(unpacked, Err), kept)
        });
        let received = self.download(&place.layer, verifier, sender).await;
        let (unpacked, kept) = unpacking.await.map_err(|error| self.task_failed(&error))?;
        Ok(Attempt { resumed, received, unpacked, kept })
    }

    /// Sends the blob to the unpacking thread. The sender is dropped without an end if the download breaks.
    async fn download(
        &self,
        layer: &LayerRef,
        verifier: Verifier,
        sender: Sender,
    ) -> Result<Received, Error> {
        let mut stream = self.repository.open_verified(verifier).await?;
        self.observe(layer, Phase::Downloading, stream.position());
        while let Some(bytes) = stream.chunk().await? {
            if sender.send(Piece::Bytes(bytes)).await.is_err() {
                return Ok(Received::Part(Box::new(stream)));
            }
            self.observe(layer, Phase::Downloading, stream.position());
        }
        self.observe(layer, Phase::Unpacking, layer.blob.size_bytes);
        // Where nobody takes it, the unpacking has failed, and says why.
        sender.send(Piece::End).await.ok();
        Ok(Received::Whole)
    }

    /// Decides whether the bytes were wrong or the image is. An archive that cannot be unpacked is read to its end for
    /// that: only its digest tells who is to blame, and whether another endpoint may do better.
    async fn judge(&self, place: &Place, attempt: Attempt) -> Result<Verdict, PullError> {
        let Attempt { resumed, received, unpacked, kept } = attempt;
        let unpacked = match unpacked {
            Err(error) if received.is_ok() && is_of_this_machine(&error) => {
                return Err(self.unpack_failed(place, error));
            }
            unpacked => unpacked,
        };
        let is_sound = received.is_err();
        let verdict = match received {
            Ok(Received::Whole) => Ok(()),
            Ok(Received::Part(stream)) => self.read_on(&place.layer, *stream).await,
            Err(error) => Err(error),
        };
        match (verdict, unpacked) {
            (Ok(()), Ok(unpacked)) => Ok(Verdict::Right(Box::new(unpacked), kept)),
            (Ok(()), Err(error)) => {
                self.block(move || kept.remove()).await?;
                Err(self.unpack_failed(place, error))
            }
            (Err(Error::Invalid { subject, attempts }), _) => {
                self.block(move || kept.remove()).await?;
                Ok(Verdict::Wrong { resumed, subject, attempts })
            }
            (Err(error), _) => {
                // What was received stays for the next pull, unless it could not be unpacked.
                if !is_sound {
                    self.block(move || kept.remove()).await?;
                }
                Err(error.into())
            }
        }
    }

    async fn read_on(&self, layer: &LayerRef, mut stream: VerifiedBlob) -> Result<(), Error> {
        while stream.chunk().await?.is_some() {
            self.observe(layer, Phase::Downloading, stream.position());
        }
        Ok(())
    }
}

/// Tells whether the disk or the system failed, which says nothing about the archive.
fn is_of_this_machine(error: &cachestore::Error) -> bool {
    use cachestore::Error as Store;
    match error {
        Store::NoSpace { .. } | Store::Database { .. } => true,
        Store::Io { source, .. } => {
            use io::ErrorKind as Kind;
            matches!(source.kind(), Kind::PermissionDenied | Kind::ReadOnlyFilesystem | Kind::OutOfMemory)
        }
        _ => false,
    }
}

/// Shows a verifier what an earlier attempt received.
fn hashed(kept: &Kept, mut verifier: Verifier) -> cachestore::Result<Verifier> {
    let mut reader = kept.reader()?.take(kept.length_bytes());
    let mut buffer = vec![0; 128 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(verifier),
            Ok(count) => verifier.update(&buffer[..count]),
            Err(source) => return Err(cachestore::Error::io("read", "a partial download", source)),
        }
    }
}
