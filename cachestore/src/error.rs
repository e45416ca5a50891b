//! The error of this crate: variants by what the caller can do about them.

use std::io;
use std::path::{Path, PathBuf};

/// What stands for the database's path where it is not known.
pub(crate) const DATABASE: &str = "the metadata database";

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The thing named is not in the store.
    #[error("{kind} {name} not found")]
    NotFound {
        /// The noun: `image`, `blob`, `snapshot` …
        kind: &'static str,
        /// Which one.
        name: String,
    },
    /// The thing named is there already, and may not be made again.
    #[error("{kind} {name} already exists")]
    AlreadyExists {
        /// The noun.
        kind: &'static str,
        /// Which one.
        name: String,
    },
    /// The thing named is needed by something else.
    #[error("{kind} {name} is in use by {user}")]
    InUse {
        /// The noun.
        kind: &'static str,
        /// Which one.
        name: String,
        /// What needs it.
        user: String,
    },
    /// The input is wrong; nothing was changed.
    #[error("invalid {kind} {input:?}: {problem}")]
    Invalid {
        /// The noun.
        kind: &'static str,
        /// The input, or the part of it that is wrong.
        input: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Bytes are not what their digest or record says.
    #[error("{subject} is damaged: {problem}")]
    Corrupt {
        /// What is damaged.
        subject: String,
        /// How it shows.
        problem: String,
    },
    /// The disk is full.
    #[error("no space left on the disk while writing {}; free some, for instance with `shimctl prune`", path.display())]
    NoSpace {
        /// What was being written.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error("the store {} is in use by {holder}", path.display())]
    Busy {
        /// The store.
        path: PathBuf,
        /// Who has it, as it wrote itself down.
        holder: String,
    },
    /// The store was written by a version that knows more, or the input needs a feature that is not here.
    #[error("{subject}: {problem}")]
    Unsupported {
        /// What cannot be handled.
        subject: String,
        /// Why.
        problem: String,
    },
    /// The operating system refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// A verb: `open`, `sync` …
        operation: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The metadata database failed.
    #[error("cannot {operation} in the metadata database")]
    Database {
        /// A verb and a noun: `record image` …
        operation: &'static str,
        /// Why it failed.
        source: rusqlite::Error,
    },
}

impl Error {
    /// Makes an [`Error::NotFound`].
    pub fn not_found(kind: &'static str, name: impl ToString) -> Self {
        Self::NotFound { kind, name: name.to_string() }
    }

    /// Makes an [`Error::Invalid`].
    pub fn invalid(kind: &'static str, input: impl ToString, problem: impl ToString) -> Self {
        Self::Invalid { kind, input: input.to_string(), problem: problem.to_string() }
    }

    /// Makes an [`Error::Corrupt`].
    pub fn corrupt(subject: impl ToString, problem: impl ToString) -> Self {
        Self::Corrupt { subject: subject.to_string(), problem: problem.to_string() }
    }

    /// Makes an [`Error::Io`], or an [`Error::NoSpace`] where that is the reason.
    pub fn io(operation: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.as_ref().to_path_buf(), source.into());
        if is_no_space(&source) { Self::NoSpace { path } } else { Self::Io { operation, path, source } }
    }

    /// Tells whether the thing asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// Tells whether there is no space left on the disk, or none for this user.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns an error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Adds what was done, and to what, to the result of a system call.
pub trait IoContext<T> {
    /// Turns the error into [`Error::Io`] with this operation and path.
    ///
    /// # Errors
    /// The error that was there, with its context.
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::io(operation, path, source))
    }
}

/// Adds what was being done to the result of a database call.
pub(crate) trait DatabaseContext<T> {
    /// Turns the error into [`Error::Database`], or [`Error::NoSpace`] where that is the reason.
    fn doing(self, operation: &'static str) -> Result<T>;
}

impl<T> DatabaseContext<T> for rusqlite::Result<T> {
    fn doing(self, operation: &'static str) -> Result<T> {
        self.map_err(|source| match source.sqlite_error() {
            Some(found) if is_full(found) => Error::NoSpace { path: DATABASE.into() },
            _ => Error::Database { operation, source },
        })
    }
}

/// The file that SQLite shares among its users is made when the database is opened; that there is no room for it has another name.
fn is_full(error: &rusqlite::ffi::Error) -> bool {
    error.code == rusqlite::ErrorCode::DiskFull || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        for (error, expected) in [
            (Error::io("write", "/s/x", io::Error::from(io::ErrorKind::StorageFull)), true),
            (Error::io("write", "/s/x", io::Error::from(io::ErrorKind::QuotaExceeded)), true),
            (Error::io("write", "/s/x", io::Error::from(io::ErrorKind::PermissionDenied)), false),
        ] {
            assert_eq!(matches!(error, Error::NoSpace { .. }), expected, "{error:?}");
        }
        for (code, expected) in
            [(ffi::SQLITE_FULL, true), (ffi::SQLITE_IOERR_SHMSIZE, true), (ffi::SQLITE_IOERR_READ, false)]
        {
            let failed: rusqlite::Result<()> =
                Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
            let error = failed.doing("open").unwrap_err();
            assert_eq!(matches!(error, Error::NoSpace { .. }), expected, "{error:?}");
        }
    }
}
