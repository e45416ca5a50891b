//! The error of this crate: variants by what the caller can do about them.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The result of whatever can fail here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while an instance is brought up or down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something that was given is wrong; nothing was changed.
    #[error("{subject}: {problem}")]
    Invalid { subject: String, problem: String },
    /// The machine lacks something. Each line says what, and the remedy mends all of it.
    #[error("this machine lacks {}", missing.join("; "))]
    Lacking { missing: Vec<String>, remedy: String },
    /// Something else uses what is needed; nothing was changed.
    #[error("{subject}: {problem}")]
    Conflict { subject: String, problem: String, remedy: String },
    /// A program that was run to its end did not succeed.
    #[error("`{line}` {outcome}{}", after_colon(stderr))]
    Command { line: String, outcome: String, stderr: String },
    /// A daemon ended while it was waited for.
    #[error("{program} ended while it started: {outcome}")]
    Ended { program: String, outcome: String },
    /// A daemon or a server did not do what it was asked for.
    #[error("{asked}: {answer}")]
    Refused { asked: String, answer: String, may_pass: bool },
    /// Something did not become true in time.
    #[error("waited {limit:?} for {awaited}; last seen: {seen}")]
    Timeout { awaited: String, seen: String, limit: Duration },
    /// The user interrupted it.
    #[error("interrupted")]
    Interrupted,
    /// Some things could not be undone; the rest was.
    #[error("{}", problems.join("; "))]
    Remains { problems: Vec<String> },
    /// The disk is full.
    #[error("no space left on the disk of {}; free some, for instance with `shimctl prune`", path.display())]
    NoSpace { path: PathBuf },
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    pub(crate) fn invalid(subject: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { subject: subject.into(), problem: problem.into() }
    }

    /// Tells whether the same attempt may succeed a moment later.
    pub(crate) const fn is_transient(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::Refused { may_pass: true, .. })
    }

    /// Returns what the user can do, where that is known.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::Lacking { remedy, .. } | Self::Conflict { remedy, .. } => Some(remedy),
            Self::Remains { .. } => Some("repeat `down`"),
            Self::Interrupted
            | Self::Invalid { .. }
            | Self::Command { .. }
            | Self::Ended { .. }
            | Self::Refused { .. }
            | Self::Timeout { .. }
            | Self::NoSpace { .. }
            | Self::Io { .. } => None,
        }
    }
}

fn after_colon(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

/// Says which operation on which file failed.
pub(crate) trait IoContext<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| {
            let path = path.as_ref().to_path_buf();
            match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::NoSpace { path },
                _ => Error::Io { operation, path, source },
            }
        })
    }
}

impl<T> IoContext<T> for rustix::io::Result<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(io::Error::from).at(operation, path)
    }
}
