//! Errors: variants by what the caller can do about them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The result of an operation on a registry.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the caller's own, from its answer to a question for credentials.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why something could not be had from a registry.
///
/// The variants with attempts name every endpoint that was tried and what each of them said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Every endpoint answered that there is no such thing.
    #[error("cannot pull {subject} {attempts}")]
    NotFound {
        /// What was asked for.
        subject: String,
        /// Who said so.
        attempts: Attempts,
    },
    /// The registry wants credentials, or better ones.
    #[error("cannot pull {subject} {attempts}")]
    Unauthorized {
        /// What was asked for.
        subject: String,
        /// Who said what.
        attempts: Attempts,
    },
    /// The network or the registry failed; the same request may succeed later.
    #[error("cannot pull {subject} {attempts}")]
    Unavailable {
        /// What was asked for.
        subject: String,
        /// Who said what.
        attempts: Attempts,
    },
    /// The answers made no sense: wrong digest or size, too large, an unexpected status.
    #[error("cannot pull {subject} {attempts}")]
    Invalid {
        /// What was asked for.
        subject: String,
        /// Who said what.
        attempts: Attempts,
    },
    /// The request was refused here, before anything was sent.
    #[error("cannot pull {subject}: {problem}")]
    Refused {
        /// What was asked for.
        subject: String,
        /// Why it cannot be served.
        problem: String,
    },
    /// A file that describes registry hosts cannot be used.
    #[error("cannot use {}: {problem}", path.display())]
    Hosts {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The client cannot be set up in this process.
    #[error("cannot set up the registry client: {problem}")]
    Setup {
        /// What is missing.
        problem: String,
    },
}

impl Error {
    /// Returns how long the registry asked to be left alone, if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        let attempts = match self {
            Self::NotFound { attempts, .. }
            | Self::Unauthorized { attempts, .. }
            | Self::Unavailable { attempts, .. }
            | Self::Invalid { attempts, .. } => attempts,
            Self::Refused { .. } | Self::Hosts { .. } | Self::Setup { .. } => return None,
        };
        let waits = attempts.0.iter().filter_map(|attempt| match attempt.cause {
            Cause::Status { retry_after, .. } => retry_after,
            _ => None,
        });
        waits.max()
    }

    /// Tells whether every endpoint answered that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// The endpoints that were tried (T6), in the order in which they failed, each with its latest failure.
#[derive(Debug, Default)]
pub struct Attempts(Vec<Attempt>);

/// One endpoint's failure.
#[derive(Debug)]
pub struct Attempt {
    /// The endpoint: `https://registry-1.docker.io`.
    pub endpoint: String,
    /// What went wrong there.
    pub cause: Cause,
}

impl Attempts {
    /// Records a failure, in place of an earlier one of the same endpoint: so there are never more than endpoints.
    pub(crate) fn record(&mut self, endpoint: &str, cause: Cause) {
        self.0.retain(|attempt| attempt.endpoint != endpoint);
        self.0.push(Attempt { endpoint: endpoint.to_owned(), cause });
    }

    /// Adds later failures.
    pub(crate) fn add(&mut self, later: Self) {
        later.0.into_iter().for_each(|attempt| self.record(&attempt.endpoint, attempt.cause));
    }

    /// Returns the failures.
    pub fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.0.iter()
    }

    /// Sorts the failures into an error: that of the last endpoint that did not merely lack the thing, since one that
    /// did not answer might have had it.
    pub(crate) fn into_error(self, subject: String) -> Error {
        let mut kinds = self.0.iter().rev().map(|attempt| attempt.cause.kind());
        let kind =
            kinds.find(|kind| *kind != Kind::NotFound).or((!self.0.is_empty()).then_some(Kind::NotFound));
        match kind {
            Some(Kind::NotFound) => Error::NotFound { subject, attempts: self },
            Some(Kind::Unauthorized) => Error::Unauthorized { subject, attempts: self },
            Some(Kind::Unavailable) => Error::Unavailable { subject, attempts: self },
            Some(Kind::Invalid) => Error::Invalid { subject, attempts: self },
            None => Error::Refused { subject, problem: "no registry endpoint may serve this".into() },
        }
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Attempt { endpoint, cause }) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}from {endpoint}: {cause}")?;
        }
        Ok(())
    }
}

/// Why one endpoint did not deliver.
///
/// `host` is set where it is not the endpoint itself that failed, but a host that it had named: a redirect's target or
/// the realm of its tokens.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// Status 404.
    #[error("not found{}", Detail(message))]
    NotFound {
        /// What the registry said, shortened.
        message: String,
    },
    /// Status 401 or 403.
    #[error("{}{}; {credentials}", Status(*status), Detail(message))]
    Denied {
        /// The HTTP status.
        status: u16,
        /// What the registry said, shortened.
        message: String,
        /// What it had been shown.
        credentials: Shown,
    },
    /// Any other status that is not a success.
    #[error("{}{}{}{}", At(host), Status(*status), Detail(message), Later(*retry_after))]
    Status {
        /// Who answered.
        host: Option<String>,
        /// The HTTP status.
        status: u16,
        /// What it said, shortened.
        message: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The connection could not be made, or broke.
    #[error("{}{problem}", At(host))]
    Network {
        /// Who could not be reached.
        host: Option<String>,
        /// What happened, in short.
        problem: String,
        /// Whether a connection had been made before.
        was_connected: bool,
        /// What happened, in full.
        source: reqwest::Error,
    },
    /// Nothing came for too long.
    #[error("{}no {awaited} within {limit:?}", At(host))]
    Timeout {
        /// Who was waited for.
        host: Option<String>,
        /// What was waited for.
        awaited: &'static str,
        /// For how long.
        limit: Duration,
    },
    /// The answer was complete before the blob was.
    #[error("it ended after {position} of {size_bytes} bytes")]
    Ended {
        /// Where it ended.
        position: u64,
        /// Where it should have ended.
        size_bytes: u64,
    },
    /// The answer cannot be used.
    #[error("{problem}")]
    Invalid {
        /// What is wrong with it.
        problem: String,
    },
    /// The caller could not say which credentials to use.
    #[error("cannot get credentials for {host}: {source}")]
    Credentials {
        /// For whom they were wanted.
        host: String,
        /// Why there are none.
        source: BoxError,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    NotFound,
    Unauthorized,
    Unavailable,
    Invalid,
}

impl Cause {
    pub(crate) fn invalid(problem: impl ToString) -> Self {
        Self::Invalid { problem: problem.to_string() }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } => Kind::NotFound,
            Self::Denied { .. } | Self::Credentials { .. } => Kind::Unauthorized,
            Self::Status { status: 408 | 429 | 500..=599, .. }
            | Self::Network { .. }
            | Self::Timeout { .. }
            | Self::Ended { .. } => Kind::Unavailable,
            Self::Status { .. } | Self::Invalid { .. } => Kind::Invalid,
        }
    }

    /// Tells whether the endpoint should be asked last from now on. One that lacks a thing may still have the next.
    pub(crate) fn discredits(&self) -> bool {
        self.kind() != Kind::NotFound
    }

    /// Tells whether the endpoint may do better later.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.kind() == Kind::Unavailable
    }

    /// Says that it was not the endpoint itself, but this host that it had named.
    pub(crate) fn at(mut self, elsewhere: Option<&str>) -> Self {
        if let Self::Status { host, .. } | Self::Network { host, .. } | Self::Timeout { host, .. } = &mut self
        {
            *host = elsewhere.map(str::to_owned);
        }
        self
    }
}

/// What a registry that refused had been shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// No credentials for this host are known.
    Nothing {
        /// For whom they would be.
        host: String,
    },
    /// The credentials for this host.
    Credentials {
        /// For whom they are.
        host: String,
    },
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { host } => write!(
                f,
                "no credentials for {host} were given: log in there, or check the name, since a repository that does \
                 not exist may look the same"
            ),
            Self::Credentials { host } => write!(f, "the credentials for {host} were not accepted"),
        }
    }
}

struct Detail<'a>(&'a str);
struct Status(u16);
struct At<'a>(&'a Option<String>);
struct Later(Option<Duration>);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match reqwest::StatusCode::from_u16(self.0) {
            Ok(status) => write!(f, "{status}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |host| write!(f, "{host}: "))
    }
}

impl fmt::Display for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |wait| write!(f, " (retry after {} s)", wait.as_secs()))
    }
}
