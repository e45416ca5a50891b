//! One repository as one pull sees it: every endpoint in order, until one delivers what is asked for.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cachestore::digest::Digest;
use cachestore::oci::MAX_DOCUMENT_BYTES;
use cachestore::oci::manifest::{ACCEPTED, BlobRef, Document};
use cachestore::reference::Reference;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};

use crate::blob::{BlobStream, VerifiedBlob, Verifier};
use crate::error::{Attempts, Cause, Error, Result};
use crate::hosts::Endpoint;
use crate::session::{Request, Session};

/// The header in which a registry names the digest of a manifest (distribution specification, "pulling manifests").
const DIGEST_HEADER: &str = "docker-content-digest";

/// A repository of a registry, with its mirrors and the credentials of one pull.
///
/// Clones share what was learnt: which endpoints are out of reach, and the answers about credentials.
#[derive(Clone)]
pub struct Repository(Arc<Session>);

/// A manifest or an index whose bytes have the digest that is named beside them.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The digest of the bytes.
    pub digest: Digest,
    /// What the registry calls them, if it says something of use.
    pub media_type: Option<String>,
    /// The document as it is in the registry.
    pub bytes: Bytes,
    /// The endpoint that delivered it: `https://registry-1.docker.io`.
    pub endpoint: String,
}

impl Resolved {
    /// Parses the document.
    ///
    /// # Errors
    /// Those of [`Document::parse`].
    pub fn document(&self) -> cachestore::error::Result<Document> {
        Document::parse(&self.bytes, self.media_type.as_deref())
    }
}

impl Repository {
    pub(crate) fn new(session: Session) -> Self {
        Self(Arc::new(session))
    }

    /// Returns the reference that this was made from.
    pub fn reference(&self) -> &Reference {
        &self.0.reference
    }

    /// Fetches the manifest or index that the reference stands for: by its digest if it has one, else by its tag.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], [`Error::Unavailable`], [`Error::Invalid`].
    pub async fn resolve(&self) -> Result<Resolved> {
        self.document(self.wanted(), self.reference().to_string()).await
    }

    /// Returns the digest that the reference stands for just now, without fetching the document where the registry
    /// answers without it. What it says is not checked.
    ///
    /// # Errors
    /// As [`Repository::resolve`].
    pub async fn head(&self) -> Result<Digest> {
        let wanted = self.wanted();
        let mut attempts = Attempts::default();
        for (index, tries) in self.0.order(wanted.needs_resolve()) {
            match self.0.persistently(tries, || self.head_once(index, wanted)).await {
                Ok(digest) => return Ok(digest),
                Err(cause) => self.0.note(index, cause, &mut attempts),
            }
        }
        Err(attempts.into_error(self.reference().to_string()))
    }

    /// Fetches a manifest by its digest: one that an index names.
    ///
    /// # Errors
    /// As [`Repository::resolve`].
    pub async fn manifest_by_digest(&self, digest: Digest) -> Result<Resolved> {
        self.document(Wanted::Digest(digest), self.reference().pinned_to(digest).to_string()).await
    }

    /// Fetches a small blob whole, such as an image configuration. An endpoint whose bytes are wrong is passed over.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is larger than `max_bytes`; else as [`Repository::resolve`].
    pub async fn blob_bytes(&self, blob: &BlobRef, max_bytes: u64) -> Result<Bytes> {
        if blob.size_bytes > max_bytes {
            let problem = format!("it has {} bytes, and {max_bytes} are the limit", blob.size_bytes);
            return Err(Error::Refused { subject: self.0.blob_subject(blob), problem });
        }
        let mut failures = Attempts::default();
        for _ in self.0.endpoints() {
            match self.open_verified(Verifier::new(*blob)).await?.read().await {
                Err(Error::Invalid { attempts, .. }) => failures.add(attempts),
                other => return other,
            }
        }
        Err(failures.into_error(self.0.blob_subject(blob)))
    }

    /// Opens a blob at an offset. The bytes are not checked against the digest: see [`Repository::open_verified`].
    ///
    /// # Errors
    /// [`Error::Refused`] for an offset behind the end; else as [`Repository::resolve`].
    pub async fn open_blob(&self, blob: &BlobRef, offset: u64) -> Result<BlobStream> {
        BlobStream::open(self.0.clone(), *blob, offset).await
    }

    /// Opens a blob behind the bytes that the verifier has seen, and checks it at its end.
    ///
    /// # Errors
    /// As [`Repository::open_blob`].
    pub async fn open_verified(&self, verifier: Verifier) -> Result<VerifiedBlob> {
        let blob = verifier.blob();
        let stream = self.open_blob(&blob, verifier.length()).await?;
        Ok(VerifiedBlob::new(stream, verifier))
    }

    /// Returns how many endpoints there are that may have a blob.
    pub(crate) fn endpoint_count(&self) -> usize {
        self.0.endpoints().len()
    }

    fn wanted(&self) -> Wanted<'_> {
        match (self.0.reference.digest(), self.0.reference.tag()) {
            (Some(digest), _) => Wanted::Digest(digest),
            (None, tag) => Wanted::Tag(tag.unwrap_or("latest")),
        }
    }

    async fn document(&self, wanted: Wanted<'_>, subject: String) -> Result<Resolved> {
        let mut attempts = Attempts::default();
        for (index, tries) in self.0.order(wanted.needs_resolve()) {
            match self.0.persistently(tries, || self.document_once(index, wanted)).await {
                Ok(resolved) => return Ok(resolved),
                Err(cause) => self.0.note(index, cause, &mut attempts),
            }
        }
        Err(attempts.into_error(subject))
    }

    async fn document_once(&self, index: usize, wanted: Wanted<'_>) -> Result<Resolved, Cause> {
        let reply = self.0.exchange(index, &wanted.request(Method::GET)).await?;
        let named = named_digest(reply.headers())?;
        let media_type = reply.headers().get(CONTENT_TYPE).and_then(media_type);
        let bytes = reply.read(usize::try_from(MAX_DOCUMENT_BYTES).unwrap_or(usize::MAX)).await?;
        let digest = Digest::of(&bytes);
        let expected = match wanted {
            Wanted::Digest(digest) => Some(digest),
            Wanted::Tag(_) => named,
        };
        // T1
        match expected.filter(|expected| *expected != digest) {
            Some(expected) => {
                Err(Cause::invalid(format!("the manifest has digest {digest} and not {expected}")))
            }
            None => {
                Ok(Resolved { digest, media_type, bytes, endpoint: self.0.endpoints()[index].to_string() })
            }
        }
    }

    async fn head_once(&self, index: usize, wanted: Wanted<'_>) -> Result<Digest, Cause> {
        // Old registries lack the method or the header: then only the document itself tells.
        match self.0.exchange(index, &wanted.request(Method::HEAD)).await {
            Ok(reply) => match (named_digest(reply.headers())?, wanted) {
                (Some(named), Wanted::Digest(digest)) if named != digest => {
                    Err(Cause::invalid(format!("the manifest has digest {named} and not {digest}")))
                }
                (Some(named), _) => Ok(named),
                (None, _) => Ok(self.document_once(index, wanted).await?.digest),
            },
            Err(Cause::Status { status: 400 | 405 | 501, .. }) => {
                Ok(self.document_once(index, wanted).await?.digest)
            }
            Err(cause) => Err(cause),
        }
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<_> = self.0.endpoints().iter().map(Endpoint::to_string).collect();
        f.debug_struct("Repository")
            .field("reference", &self.0.reference)
            .field("endpoints", &endpoints)
            .finish()
    }
}

/// What a manifest is asked for by.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    Tag(&'a str),
    Digest(Digest),
}

impl Wanted<'_> {
    fn needs_resolve(self) -> bool {
        matches!(self, Self::Tag(_))
    }

    fn request(self, method: Method) -> Request {
        let path = match self {
            Self::Tag(tag) => format!("manifests/{tag}"),
            Self::Digest(digest) => format!("manifests/{digest}"),
        };
        let accept = HeaderValue::from_str(&ACCEPTED.join(", ")).expect("media types are header values");
        Request { method, path, accept: Some(accept), offset: 0, is_checked: !self.needs_resolve() }
    }
}

/// Reads the digest that the registry names; one of another algorithm than ours is as good as none.
fn named_digest(headers: &reqwest::header::HeaderMap) -> Result<Option<Digest>, Cause> {
    let Some(value) = headers.get(DIGEST_HEADER) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    match text.parse() {
        Ok(digest) => Ok(Some(digest)),
        Err(_) if text.starts_with("sha512:") => Ok(None),
        Err(error) => Err(Cause::invalid(error)),
    }
}

/// Returns the type that a header names, without parameters. Types that stand for anything say nothing.
fn media_type(value: &HeaderValue) -> Option<String> {
    let essence = value.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase();
    let generic =
        matches!(essence.as_str(), "" | "application/json" | "application/octet-stream" | "text/plain");
    (!generic).then_some(essence)
}
