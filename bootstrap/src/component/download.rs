//! Downloads over HTTP: into a file that a later attempt goes on with, checked against a digest that was known before.

use std::ops::Deref;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE};
use reqwest::{Response, StatusCode, Url};
use tokio::time::timeout;

use self::partial::Partial;
use crate::error::{Error, Result};

mod partial;

/// Bounds of waiting and repeating.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// For a connection, TLS included.
    pub(crate) connect: Duration,
    /// Between a request and the head of its answer, and between two pieces of a body.
    pub(crate) idle: Duration,
    /// How often in a row a download may break without progress.
    pub(crate) failures: u32,
    /// The pause after the first failure; it doubles with each.
    pub(crate) pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            failures: 4,
            pause: Duration::from_millis(500),
        }
    }
}

/// How often a download is taken up again, progress or not.
const MAX_ATTEMPTS: u32 = 100;
/// How often a server may send us on.
const MAX_REDIRECTS: u32 = 10;
/// The largest file of text.
const MAX_TEXT_BYTES: u64 = 64 << 10;
/// The longest validator that is kept.
const MAX_VALIDATOR_BYTES: usize = 1024;
/// The largest number of header lines of an answer.
const MAX_HEADERS: usize = 128;

const USER_AGENT: &str = concat!("shim/", env!("CARGO_PKG_VERSION"));

/// What is downloaded, and to where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) url: &'a str,
    /// Where it is when it is whole and right; unfinished, it is beside that.
    pub(crate) path: &'a Path,
    pub(crate) mode: u32,
    /// SHA-256, in lower-case hexadecimal digits.
    pub(crate) sha256: &'a str,
    /// Who says that this is its SHA-256, for the error.
    pub(crate) authority: &'a str,
    pub(crate) max_bytes: u64,
}

/// Is told how many bytes are there, and of how many, where the server says that.
pub(crate) type Progress<'a> = &'a (dyn Fn(u64, Option<u64>) + Sync);

/// Why an attempt ended.
enum Failure {
    /// Another attempt may do better.
    Passing(String),
    /// None will.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// Downloads through the proxies that the environment names, trusting the authorities that the system trusts.
#[derive(Debug, Default)]
pub(crate) struct Downloader {
    limits: Limits,
    /// Without and with TLS, each through the environment's proxies and past them.
    clients: [OnceLock<reqwest::Client>; 4],
}

impl Downloader {
    /// Makes one with other limits.
    #[cfg(test)]
    fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Downloads a file. What an earlier attempt left of it is gone on with.
    ///
    /// # Errors
    /// It cannot be had, is too large, or has another digest: then nothing of it is kept.
    pub(crate) async fn fetch(&self, wanted: &Wanted<'_>, progress: Progress<'_>) -> Result<u64> {
        let mut partial = Partial::open(wanted.path)?;
        let mut is_mixed = partial.length() > 0;
        let (mut failures, mut attempts) = (0, 0);
        loop {
            let before = partial.length();
            attempts += 1;
            match self.attempt(wanted, &mut partial, progress).await {
                Ok(()) if partial.digest() == wanted.sha256 => {
                    return partial.finish(wanted.path, wanted.mode);
                }
                // Its beginning may be that of another version of the file.
                Ok(()) if std::mem::take(&mut is_mixed) => partial.restart()?,
                Ok(()) => {
                    let found = partial.digest();
                    partial.remove()?;
                    return Err(wrong_digest(wanted, &found));
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(answer)) => {
                    is_mixed |= partial.length() > 0;
                    failures = if partial.length() > before { 1 } else { failures + 1 };
                    if failures >= self.limits.failures || attempts >= MAX_ATTEMPTS {
                        return Err(refused(wanted.url, answer, true));
                    }
                    tracing::info!(url = shown(wanted.url), answer, "a download broke and is taken up again");
                    tokio::time::sleep(self.limits.pause * 2_u32.pow(failures.min(6) - 1)).await;
                }
            }
        }
    }

    /// Downloads a short text.
    ///
    /// # Errors
    /// It cannot be had, or is not short.
    pub(crate) async fn text(&self, url: &str) -> Result<String> {
        let mut failures = 0;
        loop {
            match self.text_once(url).await {
                Ok(text) => return Ok(text),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(answer)) => {
                    failures += 1;
                    if failures >= self.limits.failures {
                        return Err(refused(url, answer, true));
                    }
                    tokio::time::sleep(self.limits.pause * 2_u32.pow(failures.min(6) - 1)).await;
                }
            }
        }
    }

    /// Asks once for a short text, within a time.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn answers(&self, url: &str, limit: Duration) -> Result<(), String> {
        match timeout(limit, self.text_once(url)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Failure::Passing(answer) | Failure::Final(Error::Refused { answer, .. }))) => Err(answer),
            Ok(Err(Failure::Final(error))) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {limit:?}")),
        }
    }

    async fn text_once(&self, url: &str) -> Result<String, Failure> {
        let mut response = self.ask(url, &HeaderMap::new()).await?;
        check_status(url, response.status())?;
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(&mut response).await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > MAX_TEXT_BYTES {
                return Err(refused(url, format!("it is larger than {MAX_TEXT_BYTES} bytes"), false).into());
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Receives what is missing of a file.
    async fn attempt(
        &self,
        wanted: &Wanted<'_>,
        partial: &mut Partial,
        progress: Progress<'_>,
    ) -> Result<(), Failure> {
        let url = wanted.url;
        let mut response = self.ask(url, &headers_for(partial)).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if partial.length() > 0 => {
                if start_of(response.headers()) != Some(partial.length()) {
                    partial.restart()?;
                    return Err(Failure::Passing("the server sent another part than was asked for".into()));
                }
            }
            // It may be all there: the process died after the last byte.
            StatusCode::RANGE_NOT_SATISFIABLE if partial.length() > 0 => {
                if length_of(response.headers()) == Some(partial.length()) {
                    return Ok(());
                }
                partial.restart()?;
                return Err(Failure::Passing("the server has another file now".into()));
            }
            status => {
                check_status(url, status)?;
                partial.restart()?;
                partial.set_validator(validator(response.headers()))?;
            }
        }
        let total = response.content_length().map(|rest| partial.length().saturating_add(rest));
        let too_large = || refused(url, format!("it is larger than {} bytes", wanted.max_bytes), false);
        if total.is_some_and(|total| total > wanted.max_bytes) {
            return Err(too_large().into());
        }
        progress(partial.length(), total);
        while let Some(piece) = self.piece(&mut response).await? {
            if partial.length() + piece.len() as u64 > wanted.max_bytes {
                partial.restart()?;
                return Err(too_large().into());
            }
            partial.append(&piece)?;
            progress(partial.length(), total);
        }
        match total {
            Some(total) if total != partial.length() => Err(Failure::Passing("the connection broke".into())),
            _ => Ok(()),
        }
    }

    async fn piece(
        &self,
        response: &mut Response,
    ) -> Result<Option<impl Deref<Target = [u8]> + use<>>, Failure> {
        match timeout(self.limits.idle, response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(Failure::Passing(innermost(&error))),
            Err(_) => Err(Failure::Passing(format!("nothing came for {:?}", self.limits.idle))),
        }
    }

    /// Sends a request, and follows where the server sends us; never from TLS to none.
    async fn ask(&self, url: &str, headers: &HeaderMap) -> Result<Response, Failure> {
        let mut target = parse(url)?;
        for _ in 0..=MAX_REDIRECTS {
            let request = self.client(&target)?.get(target.clone()).headers(headers.clone()).send();
            let response = match timeout(self.limits.idle, request).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err(Failure::Passing(innermost(&error))),
                Err(_) => return Err(Failure::Passing(format!("no answer within {:?}", self.limits.idle))),
            };
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return Ok(response);
            }
            let wrong = |problem: String| Failure::Final(refused(url, problem, false));
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let location =
                location.ok_or_else(|| wrong("the server sends us on, and not where to".into()))?;
            let next = target
                .join(location)
                .ok()
                .filter(|next| matches!(next.scheme(), "http" | "https"))
                .ok_or_else(|| {
                    wrong(format!("the server sends us on to {location:?}, which is no address of HTTP"))
                })?;
            if target.scheme() == "https" && next.scheme() == "http" {
                return Err(wrong(format!(
                    "the server sends us on to {}, which is not encrypted",
                    shown(next.as_str())
                )));
            }
            target = next;
        }
        let problem = format!("the server sends us on more than {MAX_REDIRECTS} times");
        Err(Failure::Final(refused(url, problem, false)))
    }

    /// Returns the client for an address.
    fn client(&self, url: &Url) -> Result<&reqwest::Client, Failure> {
        let (is_secure, is_here) = (url.scheme() == "https", is_loopback(url));
        let place = &self.clients[usize::from(is_secure) * 2 + usize::from(is_here)];
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let client = self
            .build(is_secure, is_here)
            .map_err(|error| Error::invalid("TLS", format!("cannot be set up: {}", innermost(&error))))?;
        Ok(place.get_or_init(|| client))
    }

    fn build(&self, is_secure: bool, is_here: bool) -> reqwest::Result<reqwest::Client> {
        // Another part of this program may have installed it, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .http1_max_headers(MAX_HEADERS)
            .connect_timeout(self.limits.connect);
        if !is_secure {
            // The system's authorities are then not read, and a machine may have none.
            builder = builder.tls_certs_only([]);
        }
        if is_here {
            // A proxy's localhost is another one.
            builder = builder.no_proxy();
        }
        builder.build()
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

fn parse(url: &str) -> Result<Url, Error> {
    let parsed =
        Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    parsed.ok_or_else(|| Error::invalid(format!("address {:?}", shown(url)), "is not one of HTTP"))
}

/// Returns an address without what may be secret in it.
fn shown(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    if parsed.username().is_empty() && parsed.password().is_none() && parsed.query().is_none() {
        return url.to_owned();
    }
    // They fail for addresses without a host, which have no user either.
    parsed.set_username("").ok();
    parsed.set_password(None).ok();
    parsed.set_query(None);
    parsed.into()
}

fn check_status(url: &str, status: StatusCode) -> Result<(), Failure> {
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Err(refused(url, format!("the server does not have it ({status})"), false).into())
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(Failure::Passing(format!("the server answered {status}")))
        }
        _ if status.is_server_error() => Err(Failure::Passing(format!("the server answered {status}"))),
        _ => Err(refused(url, format!("the server answered {status}"), false).into()),
    }
}

fn headers_for(partial: &Partial) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if partial.length() > 0 {
        if let Ok(range) = format!("bytes={}-", partial.length()).parse() {
            headers.insert(RANGE, range);
        }
        // Without it the digest tells whether both parts are of one file.
        if let Some(validator) = partial.validator().and_then(|validator| validator.parse().ok()) {
            headers.insert(IF_RANGE, validator);
        }
    }
    headers
}

/// Returns what names this version of a file: a strong tag, or a time (RFC 9110, section 13.1.5).
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let tag = text(ETAG).filter(|tag| !tag.starts_with("W/"));
    tag.or_else(|| text(LAST_MODIFIED)).filter(|text| text.len() <= MAX_VALIDATOR_BYTES).map(str::to_owned)
}

/// Reads where a part begins: `bytes 5-9/10`.
fn start_of(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.parse().ok()
}

/// Reads how long the whole is: `bytes */10`.
fn length_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes */")?.parse().ok()
}

fn refused(url: &str, answer: String, may_pass: bool) -> Error {
    Error::Refused { asked: format!("cannot download {}", shown(url)), answer, may_pass }
}

fn wrong_digest(wanted: &Wanted<'_>, found: &str) -> Error {
    let Wanted { url, sha256, authority, .. } = wanted;
    Error::invalid(
        shown(url),
        format!(
            "has the SHA-256 {found}, and not {sha256}, which {authority}; what was downloaded is removed"
        ),
    )
}

/// Returns what the system or the other side said, without the layers around it.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests;
