//! The check of a blob against its digest and size.

use std::fmt;

use bytes::{Bytes, BytesMut};
use cachestore::digest::Digester;
use cachestore::oci::manifest::BlobRef;

use super::BlobStream;
use crate::error::{Attempts, Cause, Error, Result};

/// Stands for an endpoint where none was asked: all bytes were there before the stream was opened.
const LEFT_BEFORE: &str = "what an earlier pull left";

/// Sees the bytes of a blob in order, and says at the end whether they were the right ones.
///
/// It may be used apart from a stream: on another thread, or on bytes that an interrupted pull left on disk.
#[derive(Clone, Debug)]
pub struct Verifier {
    blob: BlobRef,
    digester: Digester,
    length: u64,
}

impl Verifier {
    /// Returns a verifier that has seen nothing yet.
    pub fn new(blob: BlobRef) -> Self {
        Self { blob, digester: Digester::new(), length: 0 }
    }

    /// Returns the blob that the bytes should be.
    pub fn blob(&self) -> BlobRef {
        self.blob
    }

    /// Returns how many bytes it has seen: the offset at which the blob goes on.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Sees the next bytes. Too many are noticed in [`Verifier::finish`].
    pub fn update(&mut self, bytes: &[u8]) {
        self.digester.update(bytes);
        self.length = self.length.saturating_add(bytes.len() as u64);
    }

    /// Decides.
    ///
    /// # Errors
    /// A [`Mismatch`] in size or digest.
    pub fn finish(self) -> Result<(), Mismatch> {
        let found = BlobRef { digest: self.digester.finish(), size_bytes: self.length };
        if found == self.blob { Ok(()) } else { Err(Mismatch { expected: self.blob, found }) }
    }
}

/// Bytes that are not the blob that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes have {found}, and should have {expected}", found = Described(found), expected = Described(expected))]
pub struct Mismatch {
    /// What was wanted.
    pub expected: BlobRef,
    /// What there was.
    pub found: BlobRef,
}

struct Described<'a>(&'a BlobRef);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "digest {} and size {}", self.0.digest, self.0.size_bytes)
    }
}

/// A stream of a blob whose end is an error if the bytes were wrong.
///
/// Until [`VerifiedBlob::chunk`] has returned nothing, what it returned is not to be trusted.
#[derive(Debug)]
pub struct VerifiedBlob {
    stream: BlobStream,
    /// Nothing once the verdict is out.
    verifier: Option<Verifier>,
}

impl VerifiedBlob {
    pub(crate) fn new(stream: BlobStream, verifier: Verifier) -> Self {
        Self { stream, verifier: Some(verifier) }
    }

    /// Returns the offset in the blob of the next byte.
    pub fn position(&self) -> u64 {
        self.stream.position()
    }

    /// Returns the next bytes, or nothing at the end of a blob that was right.
    ///
    /// # Errors
    /// Those of [`BlobStream::chunk`]; [`Error::Invalid`] at the end of a blob that was wrong: all of its bytes are then
    /// to be thrown away, those that the verifier had seen before included. The endpoints it came from are asked last
    /// from then on, so that fetching it from the start may succeed elsewhere.
    ///
    /// # Cancellation
    /// Safe, as [`BlobStream::chunk`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if let Some(bytes) = self.stream.chunk().await? {
            if let Some(verifier) = &mut self.verifier {
                verifier.update(&bytes);
            }
            return Ok(Some(bytes));
        }
        let Some(verifier) = self.verifier.take() else {
            return Ok(None);
        };
        verifier.finish().map(|()| None).map_err(|mismatch| self.wrong(mismatch))
    }

    /// Reads the rest into memory. The caller has bounded the size of the blob.
    pub(crate) async fn read(mut self) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        while let Some(bytes) = self.chunk().await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }

    fn wrong(&self, mismatch: Mismatch) -> Error {
        self.stream.discredit();
        let mut attempts = Attempts::default();
        for endpoint in self.stream.sources() {
            attempts.record(&endpoint, Cause::invalid(mismatch));
        }
        if attempts.iter().next().is_none() {
            attempts.record(LEFT_BEFORE, Cause::invalid(mismatch));
        }
        attempts.into_error(self.stream.subject())
    }
}

#[cfg(test)]
mod tests {
    use cachestore::digest::Digest;

    use super::*;

    #[test]
    fn the_right_bytes_pass_in_any_pieces_and_no_others() {
        let blob = BlobRef { digest: Digest::of(b"hello"), size_bytes: 5 };
        for (pieces, right) in [
            (&["hello"][..], true),
            (&["he", "", "llo"], true),
            (&["hell"], false),
            (&["hello", "!"], false),
            (&["hellp"], false),
            (&[], false),
        ] {
            let mut verifier = Verifier::new(blob);
            pieces.iter().for_each(|piece| verifier.update(piece.as_bytes()));
            assert_eq!(verifier.finish().is_ok(), right, "{pieces:?}");
        }
        let size_wrong = Verifier::new(BlobRef { size_bytes: 0, ..blob }).finish().unwrap_err();
        assert_eq!((size_wrong.found.size_bytes, size_wrong.found.digest), (0, Digest::of(b"")));
    }
}
