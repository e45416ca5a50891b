//! Answers, read with limits (T4).

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use crate::error::Cause;
use crate::limits::Limits;
use crate::retry;

/// How much of the body of a refusal is read.
const MAX_ERROR_BODY_BYTES: usize = 64 << 10;
/// How long it is waited for.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a registry's words is repeated to the user, in characters.
const MAX_MESSAGE_CHARS: usize = 300;

/// The head of an answer, and the body that is still to come.
pub(crate) struct Reply {
    response: Response,
    /// The host that answered, where redirects led away from the one that was asked.
    elsewhere: Option<String>,
    /// Between two pieces, and for a body that is read whole.
    idle_timeout: Duration,
    whole_timeout: Duration,
}

impl Reply {
    pub(super) fn new(response: Response, elsewhere: Option<String>, limits: &Limits) -> Self {
        let Limits { idle_timeout, response_timeout, .. } = *limits;
        Self { response, elsewhere, idle_timeout, whole_timeout: response_timeout }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Returns the length that the answer's head announces.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Tells whether the answer is not from the host that was asked.
    pub(crate) fn is_from_elsewhere(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// Returns the next piece of the body, or nothing at its end.
    ///
    /// # Cancellation
    /// Safe: a piece that was not returned is not lost.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Cause> {
        let limit = self.idle_timeout;
        let piece = match tokio::time::timeout(limit, self.response.chunk()).await {
            Ok(piece) => piece.map_err(network),
            Err(_) => Err(Cause::Timeout { host: None, awaited: "more data", limit }),
        };
        piece.map_err(|cause| cause.at(self.elsewhere.as_deref()))
    }

    /// Reads the body whole.
    pub(crate) async fn read(mut self, max_bytes: usize) -> Result<Bytes, Cause> {
        let (limit, host) = (self.whole_timeout, self.elsewhere.clone());
        let read = async {
            let mut body = BytesMut::new();
            while let Some(piece) = self.chunk().await? {
                if body.len() + piece.len() > max_bytes {
                    return Err(Cause::invalid(format!("the answer is larger than {max_bytes} bytes")));
                }
                body.extend_from_slice(&piece);
            }
            Ok(body.freeze())
        };
        let timed_out = |_| Err(Cause::Timeout { host, awaited: "end of the answer", limit });
        tokio::time::timeout(limit, read).await.unwrap_or_else(timed_out)
    }

    /// Returns the answer if it is a success, and otherwise what it says.
    ///
    /// A status 401 or 403 is returned as any other: who refused whom is known to the caller only.
    pub(crate) async fn into_success(self) -> Result<Self, Cause> {
        let status = self.status();
        if status.is_success() {
            return Ok(self);
        }
        let host = self.elsewhere.clone();
        let wait = self
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(retry::retry_after);
        let message = self.message().await;
        Err(match status {
            StatusCode::NOT_FOUND => Cause::NotFound { message },
            status => Cause::Status { host, status: status.as_u16(), message, retry_after: wait },
        })
    }

    /// Reads what a refusal says. A body that breaks off, is too long or takes too long has said enough.
    async fn message(mut self) -> String {
        let mut body = Vec::new();
        let read = async {
            while let Ok(Some(piece)) = self.chunk().await {
                let room = MAX_ERROR_BODY_BYTES - body.len();
                body.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.len() >= room {
                    break;
                }
            }
        };
        if tokio::time::timeout(ERROR_BODY_TIMEOUT, read).await.is_err() {
            tracing::debug!("the body of a refusal did not end");
        }
        message(&body)
    }
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<RegistryError>,
    /// The form of token services that follow OAuth2, and of some proxies.
    #[serde(default, alias = "error_description", alias = "details")]
    message: Option<String>,
}

#[derive(Deserialize)]
struct RegistryError {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// Shortens the body of a refusal to what a person can use: the codes and messages of the distribution specification,
/// or the first line of a plain text.
fn message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words = match serde_json::from_slice::<Errors>(body) {
        Ok(Errors { errors, message }) => {
            let parts = errors.into_iter().map(|error| [error.code, error.message]);
            let mut parts: Vec<String> =
                parts.map(|part| part.into_iter().flatten().collect::<Vec<_>>().join(" ")).collect();
            parts.extend(message);
            parts.retain(|part| !part.is_empty());
            parts.join(", ")
        }
        Err(_) if text.trim_start().starts_with(['<', '{', '[']) => String::new(),
        Err(_) => text.trim().lines().next().unwrap_or_default().to_owned(),
    };
    let clean: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match clean.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

/// Says in short why there was no answer, or why it broke off. The URL stays out (T5): its query may be a secret.
pub(crate) fn network(error: reqwest::Error) -> Cause {
    let source = error.without_url();
    let was_connected = !source.is_connect() && !source.is_builder();
    let problem = match innermost(&source) {
        problem if source.is_connect() || !source.is_body() && !source.is_decode() => problem,
        problem => format!("the connection broke: {problem}"),
    };
    Cause::Network { host: None, problem, was_connected, source }
}

/// Returns the message of the first cause, or the name of its kind where the system has one.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    let mut system = None;
    while let Some(source) = innermost.source() {
        innermost = source;
        if let Some(error) = source.downcast_ref::<io::Error>() {
            system = error.raw_os_error().map(|_| error.kind());
        }
    }
    match (system, error.is_timeout()) {
        (Some(kind), _) => kind.to_string(),
        (None, true) => "no connection in time".into(),
        (None, false) => innermost.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_shortened_to_what_helps() {
        let long = "x".repeat(1000);
        for (body, expected) in [
            ("", ""),
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"1"}}]}"#,
                "MANIFEST_UNKNOWN manifest unknown",
            ),
            (r#"{"errors":[{"code":"A"},{"message":"b"},{}]}"#, "A, b"),
            (r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            (r#"{"error":"invalid_grant","error_description":"expired"}"#, "expired"),
            (r#"{"errors":[{"message":"a\u001b[31m\nb"}]}"#, "a [31m b"),
            (
                "Client sent an HTTP request to an HTTPS server.\n",
                "Client sent an HTTP request to an HTTPS server.",
            ),
            ("<html>no</html>", ""),
            (r#"{"errors":7}"#, ""),
            (&long, &format!("{}…", &long[..300])),
        ] {
            assert_eq!(message(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(message(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }
}
