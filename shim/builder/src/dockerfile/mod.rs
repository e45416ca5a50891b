//! The Dockerfile language: text to typed stages, and the expansion of variables.
//!
//! [`parse`] reads a file; [`expand`] replaces the variables in what it returns; [`unsupported`] lists what the
//! builder cannot execute. All of it is pure: no file is opened and no process is asked.
//!
//! Text becomes a [`Dockerfile`] in four steps, each in a file of its own: physical lines are joined to logical lines
//! (`lines`), a logical line is split into instruction, flags and arguments (`words`), those become a typed
//! instruction (`typed`), and instructions become stages (`stages`).

mod check;
mod directive;
mod error;
pub mod expand;
mod flags;
mod health;
mod heredoc;
mod instruction;
mod keyword;
mod lines;
mod lint;
mod mount;
mod parse;
mod run;
mod stages;
mod suggest;
#[cfg(test)]
mod tests;
mod typed;
mod unsupported;
mod words;

pub use check::Check;
pub use error::SyntaxError;
pub use instruction::{
    AddInstruction, ArgDeclaration, Command, CopyInstruction, Device, Healthcheck, HealthcheckSettings,
    Heredoc, Instruction, Network, Pair, RunInstruction, Security,
};
pub use lint::{Rule, Warning};
pub use mount::{MountOption, MountOptions};
pub use parse::parse;
pub use unsupported::{Unsupported, unsupported};

/// Largest Dockerfile, in bytes. The largest in use, with scripts in heredocs, are a few hundred kilobytes; and the
/// file, its joined lines and its words are in memory at once.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Longest line, in bytes, without its ending. The reference implementation's limit: what is longer never built.
pub const MAX_LINE_BYTES: usize = (1 << 16) - 1;

/// Most instructions in a file. Generated files have some hundreds; a layer chain ends at 500 or so.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Most heredocs in one instruction.
pub const MAX_HEREDOCS: usize = 64;

/// A parsed Dockerfile. It has at least one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The escape character; needed to expand variables.
    pub escape: Escape,
    /// The front end that the `syntax` directive names. This builder has one front end and ignores it.
    pub syntax: Option<String>,
    /// Which rules are switched off, for the warnings of later code. Those of `warnings` are already dropped.
    pub check: Check,
    /// The `ARG` instructions before the first `FROM`. They are seen by every `FROM`, and by stages that declare
    /// them again.
    pub global_args: Vec<Located<Vec<ArgDeclaration>>>,
    /// The stages in their order. The last one is the default target.
    pub stages: Vec<Stage>,
    /// The rules that the file breaks, by line.
    pub warnings: Vec<Warning>,
}

/// A `FROM` and the instructions up to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The arguments of `FROM`.
    pub from: StageFrom,
    /// The lines of the `FROM`.
    pub location: Location,
    /// The text of the `FROM`, as in [`Located::source`].
    pub source: String,
    /// The instructions in their order.
    pub instructions: Vec<Located<Instruction>>,
}

/// The arguments of `FROM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageFrom {
    /// An image, an earlier stage or `scratch`; expanded with the global arguments.
    pub image: String,
    /// The name of the stage, in lower case. Several stages may have one name: the last before its use counts.
    pub name: Option<String>,
    /// `--platform`; expanded with the global arguments.
    pub platform: Option<String>,
}

/// A value, the lines that it was read from, and their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The lines of the whole instruction, with its heredocs.
    pub location: Location,
    /// The instruction as one line: continued lines joined, comments between them dropped, no blanks around it, and
    /// without the text of heredocs. The reference implementation names steps by it.
    pub source: String,
}

/// A range of lines. Lines are counted from 1; both ends are part of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Location {
    /// The first line.
    pub first_line: u32,
    /// The last line.
    pub last_line: u32,
}

impl Location {
    pub(crate) const fn line(line: u32) -> Self {
        Self { first_line: line, last_line: line }
    }
}

/// The character that continues lines and protects other characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escape {
    /// `\`.
    #[default]
    Backslash,
    /// `` ` ``, for files with Windows paths.
    Backtick,
}

impl Escape {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "\\" => Some(Self::Backslash),
            "`" => Some(Self::Backtick),
            _ => None,
        }
    }

    /// Returns the character.
    #[must_use]
    pub const fn as_char(self) -> char {
        match self {
            Self::Backslash => '\\',
            Self::Backtick => '`',
        }
    }
}
