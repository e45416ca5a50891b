//! `COPY`, as far as it can be said without looking at a file.

use super::{StagePlanner, StepKind, path};
use crate::dockerfile::{CopyInstruction, Instruction, Located};
use crate::error::{BuildError, Result};
use crate::graph::Source;
use crate::step::chmod::SymbolicMode;
use crate::wildcard::{Wildcard, has_wildcard};

/// What a `COPY` does.
#[derive(Clone, Debug)]
pub(crate) struct CopyStep {
    pub(crate) from: SourceTree,
    /// Absolute within the source, clean.
    pub(crate) sources: Vec<String>,
    pub(crate) destination: Destination,
    pub(crate) chown: Option<Owner>,
    pub(crate) chmod: Option<Chmod>,
}

/// Where a `COPY` copies from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceTree {
    /// The build context.
    Context,
    /// A stage, an image, or nothing.
    Stack(Source),
}

/// Where a `COPY` copies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// Absolute, clean.
    pub(crate) path: String,
    /// Whether it was written as a directory.
    pub(crate) is_directory: bool,
}

/// `--chown`: users and groups are looked up in the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner(pub(crate) String);

/// `--chmod`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chmod {
    /// For everything that is copied, and for the directories made above it.
    Octal(u32),
    /// A change of what each file has.
    Symbolic(SymbolicMode),
}

impl StagePlanner<'_> {
    pub(super) fn copy(
        &mut self,
        index: usize,
        copy: &CopyInstruction,
        instruction: &Located<Instruction>,
    ) -> Result<()> {
        let location = instruction.location;
        let mut sources = Vec::new();
        for source in &copy.sources {
            sources.push(self.word(source, location)?);
        }
        let destination = self.word(&copy.destination, location)?;
        let chown = copy.chown.as_ref().map(|text| self.word(text, location)).transpose()?;
        let chmod = copy.chmod.as_ref().map(|text| self.word(text, location)).transpose()?;
        let mut shown = vec!["COPY".to_owned()];
        shown.extend(chown.iter().filter(|text| !text.is_empty()).map(|text| format!("--chown={text}")));
        shown.extend(chmod.iter().filter(|text| !text.is_empty()).map(|text| format!("--chmod={text}")));
        shown.extend(sources.iter().cloned());
        shown.push(destination.clone());
        let node = &self.planner.graph.stages[self.number];
        let step = CopyStep {
            from: node.copies.get(&index).map_or(SourceTree::Context, |source| SourceTree::Stack(*source)),
            sources: sources.iter().map(|source| clean_source(source)).collect::<Result<_>>()?,
            destination: self.destination(&destination),
            chown: chown.filter(|text| !text.is_empty()).map(Owner),
            chmod: chmod.filter(|text| !text.is_empty()).map(|text| parse_chmod(&text)).transpose()?,
        };
        self.push(instruction, StepKind::Copy(step));
        self.state.commit(format!("{} # buildkit", shown.join(" ")), true);
        Ok(())
    }

    fn destination(&self, text: &str) -> Destination {
        let text = if matches!(text, "" | ".") { "./" } else { text };
        let full = path::normalise(&self.state.working_dir(), text);
        Destination { is_directory: full.ends_with('/') || full.ends_with("/."), path: path::clean(&full) }
    }
}

fn clean_source(source: &str) -> Result<String> {
    if source.starts_with("http://") || source.starts_with("https://") {
        return Err(BuildError::invalid("source can't be a URL for COPY"));
    }
    let clean = path::clean(source);
    if has_wildcard(&clean) {
        Wildcard::parse(&clean).map_err(|error| BuildError::invalid(format!("COPY {source}: {error}")))?;
    }
    Ok(clean)
}

fn parse_chmod(text: &str) -> Result<Chmod> {
    let wrong = || {
        BuildError::invalid(format!(
            "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        ))
    };
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| mode <= 0o7777);
        return mode.map(Chmod::Octal).ok_or_else(wrong);
    }
    SymbolicMode::parse(text).map(Chmod::Symbolic).ok_or_else(wrong)
}
