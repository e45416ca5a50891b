//! The bytes of a blob: a stream that takes itself up again where it broke, and the check at its end.

mod range;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cachestore::oci::manifest::BlobRef;
use futures::Stream;
use reqwest::Method;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

pub use verify::{Mismatch, VerifiedBlob, Verifier};

use crate::error::{Attempts, Cause, Error, Result};
use crate::hosts::origin;
use crate::http::Reply;
use crate::retry;
use crate::session::{Request, Session};

/// So many bytes without a break earn a stream its patience back.
const PROGRESS_BYTES: u64 = 1 << 20;

/// The bytes of a blob from some offset to its end, and never more than its size.
///
/// A connection that breaks is replaced, at the same endpoint or another, from where it broke. A stream that nobody
/// reads keeps one of its endpoint's places ([`crate::Limits::parallel_blobs`]) and its connection.
pub struct BlobStream {
    session: Arc<Session>,
    blob: BlobRef,
    position: u64,
    body: Option<Body>,
    /// Every endpoint that some of the bytes came from.
    sources: BTreeSet<usize>,
    /// Breaks in a row without progress, the bytes since the last, and when to go on.
    breaks: u32,
    since_break: u64,
    resume_at: Instant,
    attempts: Attempts,
}

struct Body {
    reply: Reply,
    endpoint: usize,
    /// Bytes before the position, from a server that does not know ranges.
    skip: u64,
    _place: OwnedSemaphorePermit,
}

impl BlobStream {
    pub(crate) async fn open(session: Arc<Session>, blob: BlobRef, offset: u64) -> Result<Self> {
        if offset > blob.size_bytes {
            let problem = format!("offset {offset} is behind its end, at {}", blob.size_bytes);
            return Err(Error::Refused { subject: session.blob_subject(&blob), problem });
        }
        let mut stream = Self {
            session,
            blob,
            position: offset,
            body: None,
            sources: BTreeSet::new(),
            breaks: 0,
            since_break: 0,
            resume_at: Instant::now(),
            attempts: Attempts::default(),
        };
        if offset < blob.size_bytes && !stream.connect().await {
            return Err(stream.error());
        }
        Ok(stream)
    }

    /// Returns the offset in the blob of the next byte.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the next bytes, or nothing at the end of the blob.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the stream broke too often; [`Error::Invalid`] if the blob is longer than its size;
    /// what the endpoints say if none will continue it.
    ///
    /// # Cancellation
    /// Safe: no bytes are lost if the future is dropped.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            let left = self.blob.size_bytes - self.position;
            let Some(body) = &mut self.body else {
                if left == 0 {
                    return Ok(None);
                }
                self.resume().await?;
                continue;
            };
            let cause = match body.next().await {
                // T2
                Ok(Some(bytes)) if bytes.len() as u64 > left => return Err(self.too_long()),
                Ok(Some(bytes)) => {
                    self.position += bytes.len() as u64;
                    self.since_break += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                // The end has been seen, so that the connection can serve the next request.
                Ok(None) | Err(_) if left == 0 => {
                    self.body = None;
                    continue;
                }
                Ok(None) => Cause::Ended { position: self.position, size_bytes: self.blob.size_bytes },
                Err(cause) => cause,
            };
            self.interrupted(cause)?;
        }
    }

    /// Returns the stream in the form of the futures crate; it ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send {
        futures::stream::try_unfold(self, |mut stream| async move {
            Ok(stream.chunk().await?.map(|bytes| (bytes, stream)))
        })
    }

    /// Lets the endpoints that delivered be asked last from now on, because their bytes turned out to be wrong.
    pub fn discredit(&self) {
        for endpoint in &self.sources {
            self.session.discredit(*endpoint);
        }
    }

    /// Returns the endpoints that delivered.
    fn sources(&self) -> impl Iterator<Item = String> {
        self.sources.iter().map(|index| self.session.endpoints()[*index].to_string())
    }

    fn subject(&self) -> String {
        self.session.blob_subject(&self.blob)
    }

    /// Gives up the connection and decides when, and whether, to go on.
    fn interrupted(&mut self, cause: Cause) -> Result<()> {
        if let Some(body) = self.body.take() {
            self.count_break();
            // One break is bad luck; from the second on, another endpoint may do better.
            if self.breaks > 1 {
                self.session.discredit(body.endpoint);
            }
            let endpoint = self.session.endpoints()[body.endpoint].to_string();
            tracing::debug!(%endpoint, %cause, blob = %self.blob.digest, position = self.position, "stream broke");
            self.attempts.record(&endpoint, cause);
        }
        if self.breaks > self.session.common.limits.resumes { Err(self.error()) } else { Ok(()) }
    }

    async fn resume(&mut self) -> Result<()> {
        tokio::time::sleep_until(self.resume_at).await;
        if self.connect().await {
            return Ok(());
        }
        self.count_break();
        let may_pass = self.attempts.iter().any(|attempt| attempt.cause.is_unavailable());
        if may_pass && self.breaks <= self.session.common.limits.resumes { Ok(()) } else { Err(self.error()) }
    }

    fn count_break(&mut self) {
        if self.since_break >= PROGRESS_BYTES {
            self.breaks = 0;
        }
        self.since_break = 0;
        self.breaks = self.breaks.saturating_add(1);
        let backoff = self.session.common.limits.backoff;
        self.resume_at = Instant::now() + retry::pause(backoff, self.breaks, retry::random());
    }

    /// Opens the blob at the position, at the first endpoint that will; failures are recorded.
    async fn connect(&mut self) -> bool {
        let session = self.session.clone();
        for (index, tries) in session.order(false) {
            match session.persistently(tries, || open_once(&session, index, self.blob, self.position)).await {
                Ok(body) => {
                    self.sources.insert(index);
                    self.body = Some(body);
                    return true;
                }
                Err(cause) => session.note(index, cause, &mut self.attempts),
            }
        }
        false
    }

    fn too_long(&mut self) -> Error {
        let problem = format!("it is longer than the {} bytes that the manifest says", self.blob.size_bytes);
        if let Some(body) = self.body.take() {
            self.session.note(body.endpoint, Cause::invalid(problem), &mut self.attempts);
        }
        self.error()
    }

    /// Turns all that went wrong so far into an error.
    fn error(&mut self) -> Error {
        std::mem::take(&mut self.attempts).into_error(self.subject())
    }
}

async fn open_once(session: &Session, index: usize, blob: BlobRef, offset: u64) -> Result<Body, Cause> {
    let places = session.common.transfers(&origin(&session.endpoints()[index].root));
    let place = places.acquire_owned().await.map_err(Cause::invalid)?;
    let path = format!("blobs/{}", blob.digest);
    let request = Request { method: Method::GET, path, accept: None, offset, is_checked: true };
    let reply = session.exchange(index, &request).await?;
    let length = reply.content_length();
    let skip = range::bytes_to_skip(reply.status(), reply.headers(), length, (offset, blob.size_bytes))
        .map_err(Cause::invalid)?;
    Ok(Body { reply, endpoint: index, skip, _place: place })
}

impl Body {
    /// Returns the next bytes that are new, or nothing at the end of the answer.
    async fn next(&mut self) -> Result<Option<Bytes>, Cause> {
        while let Some(mut bytes) = self.reply.chunk().await? {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skipped as u64;
            let new = bytes.split_off(skipped);
            if !new.is_empty() {
                return Ok(Some(new));
            }
        }
        Ok(None)
    }
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStream")
            .field("blob", &self.blob)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
