//! The error of a build: what its user is told.

use std::fmt;
use std::io;
use std::path::Path;

use cachestore::error::is_no_space;

use crate::dockerfile::{Location, SyntaxError};
use crate::host::HostError;

/// The result of a part of a build.
pub(crate) type Result<T, E = BuildError> = std::result::Result<T, E>;

/// Why a build failed.
#[derive(Debug)]
pub struct BuildError {
    /// What kind of failure it is.
    pub kind: Kind,
    /// What happened, to what.
    pub message: String,
    /// Which lines of the Dockerfile are to blame.
    pub location: Option<Location>,
    /// What would help.
    pub hint: Option<String>,
}

/// Kinds of failures, by who can do something about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The Dockerfile, the context or the arguments are wrong; nothing was run.
    Invalid,
    /// A command of the Dockerfile failed with this exit code.
    Command(i32),
    /// A step could not be done.
    Failed,
    /// The build was cancelled.
    Cancelled,
}

impl BuildError {
    pub(crate) fn new(kind: Kind, message: impl ToString) -> Self {
        Self { kind, message: message.to_string(), location: None, hint: None }
    }

    pub(crate) fn invalid(message: impl ToString) -> Self {
        Self::new(Kind::Invalid, message)
    }

    pub(crate) fn failed(message: impl ToString) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(Kind::Cancelled, "the build was cancelled")
    }

    /// Makes an error of the surroundings' error, with all its causes.
    pub(crate) fn host(doing: impl fmt::Display, error: &HostError) -> Self {
        Self::failed(format!("{doing}: {}", cachestore::error::chain(&**error)))
    }

    /// Makes an error of a system call's; a full disk has the store's words.
    pub(crate) fn io(operation: &str, path: impl AsRef<Path>, error: io::Error) -> Self {
        if is_no_space(&error) {
            return cachestore::Error::io("write", path, error).into();
        }
        Self::failed(format!("cannot {operation} {}: {error}", path.as_ref().display()))
    }

    /// Blames these lines, unless others are blamed already.
    pub(crate) fn at(mut self, location: Location) -> Self {
        self.location = self.location.or(Some(location));
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BuildError {}

impl From<cachestore::Error> for BuildError {
    fn from(error: cachestore::Error) -> Self {
        Self::failed(cachestore::error::chain(&error))
    }
}

impl From<SyntaxError> for BuildError {
    fn from(error: SyntaxError) -> Self {
        Self { kind: Kind::Invalid, message: error.message, location: Some(error.location), hint: error.hint }
    }
}

/// Adds what was done, and to what, to the result of a system call.
pub(crate) trait IoDoing<T> {
    fn doing(self, operation: &str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoDoing<T> for std::result::Result<T, E> {
    fn doing(self, operation: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|error| BuildError::io(operation, path, error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_the_words_of_the_store() {
        for (kind, expected) in [
            (io::ErrorKind::StorageFull, "no space left on the disk while writing /t/x; free some, "),
            (io::ErrorKind::PermissionDenied, "cannot create /t/x: permission denied"),
        ] {
            let error = Err::<(), _>(io::Error::from(kind)).doing("create", "/t/x").unwrap_err();
            assert!(error.message.starts_with(expected), "{error}");
        }
    }
}
