//! The bounds of waiting and of repeating. Sizes and counts are constants beside the code that they bound.

use std::time::Duration;

/// The bounds of waiting and of repeating.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For a connection, TLS included, unless a `hosts.toml` says otherwise.
    pub connect_timeout: Duration,
    /// Between a request and the head of its answer, and again to the end of a manifest or a token.
    pub response_timeout: Duration,
    /// Between two pieces of a body. There is no limit for a whole blob.
    pub idle_timeout: Duration,
    /// For the caller to find credentials.
    pub credential_timeout: Duration,
    /// How often the last endpoint is asked the same thing while it is out of order. The others are asked once.
    pub tries: u32,
    /// How often in a row a blob's stream is taken up again without progress.
    pub resumes: u32,
    /// The pause before the first repetition; it doubles with each.
    pub backoff: Duration,
    /// The longest `Retry-After` that is waited for. A longer one is reported instead.
    pub retry_after: Duration,
    /// How many blobs are transferred from one endpoint at once; at least 1.
    pub parallel_blobs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            credential_timeout: Duration::from_secs(60),
            tries: 4,
            resumes: 7,
            backoff: Duration::from_millis(250),
            retry_after: Duration::from_secs(30),
            parallel_blobs: 6,
        }
    }
}
