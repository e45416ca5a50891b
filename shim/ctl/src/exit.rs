//! How commands end: the exit codes, and what is said when something went wrong.
//!
//! 0 done · 1 failed · 2 used wrongly · 3 the daemon cannot be reached · 130 interrupted.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use tonic::{Code, Status};

use crate::output::text;

/// The exit code of a command that did not do what it was asked to.
const FAILED: u8 = 1;
/// The exit code of a command that was used wrongly; clap's own is the same.
const USAGE: u8 = 2;
/// The exit code of a command whose daemon cannot be reached.
const UNREACHABLE: u8 = 3;
/// The exit code of a command that was interrupted, as shells count it: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It failed.
    Failed(anyhow::Error),
    /// It cannot mean anything as it was typed.
    Usage(String),
    /// Nobody serves the socket, or the connection broke. The message says what to type.
    Unreachable(String),
    /// The user interrupted it, which has been said.
    Interrupted,
    /// It ended with this code, and everything has been said.
    Reported(u8),
}

impl Failure {
    /// Wraps a message: lower case, no final period.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(anyhow::Error::msg(message.into()))
    }

    /// Stands for a failure whose message has been printed.
    pub(crate) const fn reported() -> Self {
        Self::Reported(FAILED)
    }

    /// Returns what has to be said, if anything has.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            // A reader that went away, as `head` does, needs no explanation.
            Self::Failed(error) if is_broken_pipe(error) => None,
            Self::Failed(error) => Some(format!("{error:#}")),
            Self::Usage(message) | Self::Unreachable(message) => Some(message.clone()),
            Self::Interrupted | Self::Reported(_) => None,
        }
    }

    /// Prints what has to be said to standard error and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if let Some(message) = self.message() {
            // Where standard error is closed, the exit code has to do.
            writeln!(std::io::stderr(), "Error: {}", text::printable(&message)).ok();
        }
        ExitCode::from(self.code())
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => FAILED,
            Self::Usage(_) => USAGE,
            Self::Unreachable(_) => UNREACHABLE,
            Self::Interrupted => INTERRUPTED,
            Self::Reported(code) => *code,
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind =
        |cause: &(dyn Error + 'static)| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    error.chain().any(|cause| kind(cause) == Some(std::io::ErrorKind::BrokenPipe))
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Status> for Failure {
    /// Tells an answer of the daemon from a connection that broke: only the latter has a cause on this side.
    fn from(status: Status) -> Self {
        match status.source() {
            Some(cause) => {
                Self::Unreachable(format!("the connection to the daemon broke: {}", innermost(cause)))
            }
            None => Self::failed(message(&status)),
        }
    }
}

/// Returns the daemon's words, or at least the kind of its answer.
pub(crate) fn message(status: &Status) -> String {
    match (status.message(), status.code()) {
        ("", Code::Unimplemented) => {
            "the daemon does not know this request; is it of another version?".to_owned()
        }
        ("", code) => format!("the daemon answered: {code}").to_lowercase(),
        (message, _) => message.to_owned(),
    }
}

/// Returns the last error of a chain: the one that says what happened.
pub(crate) fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_messages() {
        let broken =
            anyhow::Error::new(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).context("write");
        let rows: [(Failure, Option<&str>, u8); 7] = [
            (Failure::failed("no such image"), Some("no such image"), 1),
            (Failure::Failed(broken), None, 1),
            (Failure::Usage("x".into()), Some("x"), 2),
            (Failure::Unreachable("shimd does not run".into()), Some("shimd does not run"), 3),
            (Failure::Interrupted, None, 130),
            (Failure::Reported(7), None, 7),
            (Status::not_found("image x is not here").into(), Some("image x is not here"), 1),
        ];
        for (failure, message, code) in rows {
            assert_eq!((failure.message().as_deref(), failure.code()), (message, code));
        }
    }

    #[test]
    fn statuses_without_words_get_some() {
        let known = Status::new(Code::DataLoss, "");
        assert_eq!(message(&known), "the daemon answered: unrecoverable data loss or corruption");
        assert!(message(&Status::unimplemented("")).contains("another version"));
    }

    #[test]
    fn a_broken_connection_is_not_an_answer() {
        let status = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert!(
            matches!(Failure::from(status), Failure::Unreachable(message) if message.ends_with("broke: reset"))
        );
    }
}
