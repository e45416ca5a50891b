//! Variables, quotes and escapes in the arguments of instructions.
//!
//! Known forms are `$v ${v} ${v-w} ${v:-w} ${v+w} ${v:+w} ${v?m} ${v:?m} ${v#p} ${v##p} ${v%p} ${v%%p} ${v/p/r}
//! ${v//p/r}`. The words `w`, `m`, `p` and `r` are expanded in turn, whether they are needed or not; in the pattern
//! `p`, `*` is any text, `?` any character and `\` protects `*`, `?`, `\`, `}` and `/`. An unset variable is empty.
//!
//! The rules are those of the reference implementation (`frontend/dockerfile/shell` of BuildKit), not of a shell:
//! text is split into words after expansion, and the escape character protects any character outside quotes.

mod lexer;
mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::Escape;
use lexer::{Lexer, Options, Output, Quotes};

/// Deepest nesting of `${…}`.
pub const MAX_DEPTH: u32 = 64;

/// Largest result of an expansion, in bytes. Variables that are made of one another double in size with each
/// instruction; without a limit a page of text fills the memory. An argument or variable of a process cannot exceed
/// 128 KiB, and a heredoc not the size of a Dockerfile by much.
pub const MAX_EXPANDED_BYTES: usize = 1 << 20;

/// Longest pattern in `${v#p}` and its kin, in characters. Patterns become automata of that size.
pub const MAX_PATTERN_CHARS: usize = 1024;

/// Replaces variables in texts.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    escape: Escape,
    values: &'a Values<'a>,
}

/// Looks up a variable: its value, or nothing if it is not set.
pub type Values<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

impl std::fmt::Debug for Expander<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Expander").field("escape", &self.escape).finish_non_exhaustive()
    }
}

/// The result of an expansion, and the variables that it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded<T> {
    /// The result.
    pub value: T,
    /// The variables that have a value, even if it was not needed.
    pub used: BTreeSet<String>,
    /// The variables that have none, even if the text provides for it (`${v:-w}`).
    pub unset: BTreeSet<String>,
}

impl<'a> Expander<'a> {
    /// Returns an expander for a file's escape character and the variables at one instruction.
    #[must_use]
    pub const fn new(escape: Escape, values: &'a Values<'a>) -> Self {
        Self { escape, values }
    }

    /// Expands an argument to one text: quotes and escape characters are taken away, blanks stay.
    ///
    /// # Errors
    /// The argument is malformed, exceeds a limit, or refuses an unset variable (`${v?m}`).
    pub fn word(&self, text: &str) -> Result<Expanded<String>, ExpandError> {
        self.run(self.escape, Options::WORD, text, |output| output.text)
    }

    /// Expands an argument, and splits the result at white space that is neither quoted nor escaped. A word that is
    /// empty is dropped, quoted or not.
    ///
    /// # Errors
    /// As [`word`](Self::word).
    pub fn words(&self, text: &str) -> Result<Expanded<Vec<String>>, ExpandError> {
        self.run(self.escape, Options::WORD, text, Output::into_words)
    }

    /// Expands the text of a heredoc: quotes are ordinary characters. The escape character is `\`, whatever the file
    /// says, and is taken away from before any character.
    ///
    /// # Errors
    /// As [`word`](Self::word).
    pub fn body(&self, text: &str) -> Result<Expanded<String>, ExpandError> {
        self.run(Escape::Backslash, Options::BODY, text, |output| output.text)
    }

    /// Expands the source of a `RUN` for display: quotes and unset variables stay as they are. What
    /// cannot be expanded is returned as it is.
    #[must_use]
    pub fn display(&self, text: &str) -> String {
        let expanded = self.run(self.escape, Options::DISPLAY, text, |output| output.text);
        expanded.map_or_else(|_| text.to_owned(), |expanded| expanded.value)
    }

    fn run<T>(
        &self,
        escape: Escape,
        options: Options,
        text: &str,
        result: impl FnOnce(Output) -> T,
    ) -> Result<Expanded<T>, ExpandError> {
        let mut lexer = Lexer::new(text, escape, options, self.values);
        let value = result(lexer.text()?);
        Ok(Expanded { value, used: lexer.used, unset: lexer.unset })
    }
}

/// How the words of a line are returned that is split without variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// Without quotes and escape characters.
    Unquoted,
    /// With quotes, without escape characters.
    Quoted,
    /// As they stand.
    Verbatim,
}

/// Splits a line into words in which no variable is set and every one stays as it is. The escape character is `\`.
pub(super) fn lex_words(text: &str, words: Words) -> Result<Vec<String>, ExpandError> {
    let quotes = if words == Words::Unquoted { Quotes::Removed } else { Quotes::Kept };
    let options = Options { quotes, keep_escapes: words == Words::Verbatim, keep_unset: true };
    let mut lexer = Lexer::new(text, Escape::Backslash, options, &|_| None);
    lexer.text().map(Output::into_words)
}

/// Says why a text cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A `${` without its `}`.
    #[error("a variable substitution lacks its }}")]
    MissingBrace,
    /// A `${v/p` without the second slash.
    #[error("a variable substitution lacks its second /")]
    MissingSlash,
    /// `${}`, `${{` or `${:`.
    #[error("a variable substitution has no name")]
    MissingName,
    /// Something after the name that is no operator.
    #[error("a variable substitution has no operator {operator:?}")]
    UnknownOperator {
        /// What stands after the name.
        operator: String,
    },
    /// A quote that is not closed.
    #[error("a {quote} is not closed")]
    UnclosedQuote {
        /// The quote.
        quote: char,
    },
    /// A pattern with a backslash before a character that needs none.
    #[error("the pattern {pattern} protects a character other than * ? \\ }} /")]
    BadPattern {
        /// The pattern.
        pattern: String,
    },
    /// A variable that the author demands (`${v?m}`, `${v:?m}`).
    #[error("{name}: {message}")]
    Demanded {
        /// The variable.
        name: String,
        /// What the author, or else we, have to say.
        message: String,
    },
    /// More than [`MAX_DEPTH`] levels of `${…}`.
    #[error("variable substitutions are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// More than [`MAX_EXPANDED_BYTES`].
    #[error("the text has more than {MAX_EXPANDED_BYTES} bytes after expansion")]
    TooLarge,
    /// More than [`MAX_PATTERN_CHARS`].
    #[error("a pattern has more than {MAX_PATTERN_CHARS} characters")]
    PatternTooLong,
}
