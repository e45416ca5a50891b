use super::Location;

/// States what is wrong with a Dockerfile, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}: {message}", location.first_line)]
pub struct SyntaxError {
    /// What is wrong; lower case, without the line number.
    pub message: String,
    /// The lines of the instruction, directive or heredoc at fault.
    pub location: Location,
    /// What the author may have meant, for example `did you mean RUN?`.
    pub hint: Option<String>,
}

/// A fault in one statement, before the place of the statement is added.
///
/// The functions that read one statement do not know where it stands; the caller that does turns the fault into
/// a [`SyntaxError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    message: String,
    hint: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds the closest known name as a hint, if one is close enough.
    pub(super) fn suggesting(mut self, name: Option<String>) -> Self {
        self.hint = name.map(|name| format!("did you mean {name}?"));
        self
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn at(self, location: Location) -> SyntaxError {
        SyntaxError { message: self.message, location, hint: self.hint }
    }
}
