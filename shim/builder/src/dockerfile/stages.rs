use std::collections::HashSet;

use super::check::Check;
use super::error::Fault;
use super::instruction::Instruction;
use super::keyword::Keyword;
use super::lines::LogicalLine;
use super::lint::{Rule, Warning};
use super::parse::{Statement, Typed};
use super::words::Arguments;
use super::{Dockerfile, Escape, Located, Location, MAX_INSTRUCTIONS, Stage};

/// Stage names that already mean something else in `--from`.
const RESERVED_STAGE_NAMES: [&str; 2] = ["context", "scratch"];

/// Puts the statements of a file together to stages, and notes which rules they break.
#[derive(Debug)]
pub(super) struct Assembly {
    dockerfile: Dockerfile,
    count: usize,
    stage_names: HashSet<String>,
    /// The names of the stages' instructions as they were written.
    written: Vec<(String, Location)>,
}

impl Assembly {
    pub(super) fn new(check: Check) -> Self {
        let dockerfile = Dockerfile {
            escape: Escape::default(),
            syntax: None,
            check,
            global_args: Vec::new(),
            stages: Vec::new(),
            warnings: Vec::new(),
        };
        Self { dockerfile, count: 0, stage_names: HashSet::new(), written: Vec::new() }
    }

    /// Notes what only the lines show.
    pub(super) fn note_line(&mut self, line: &LogicalLine) {
        self.dockerfile.check.add_instruction(line.location, &line.comments);
        if line.has_empty_continuation {
            self.warn(Rule::NoEmptyContinuation, line.location, "empty line after a line that is continued");
        }
    }

    /// Adds the next statement.
    pub(super) fn add(&mut self, statement: Statement) -> Result<(), Fault> {
        self.count += 1;
        if self.count > MAX_INSTRUCTIONS {
            return Err(Fault::new(format!("the Dockerfile has more than {MAX_INSTRUCTIONS} instructions")));
        }
        let location = statement.location;
        let source = statement.source.clone();
        let word = statement.word.clone();
        self.note_statement(&statement);
        let (keyword, typed) = statement.typed()?;
        match (typed, self.dockerfile.stages.last_mut()) {
            (Typed::From(from), _) => {
                self.note_stage_name(from.name.as_deref(), location);
                self.dockerfile.stages.push(Stage { from, location, source, instructions: Vec::new() });
            }
            (Typed::Instruction(value), Some(stage)) => {
                stage.instructions.push(Located { value, location, source });
            }
            (Typed::Instruction(Instruction::Arg(value)), None) => {
                self.dockerfile.global_args.push(Located { value, location, source });
                return Ok(());
            }
            (Typed::Instruction(_), None) => {
                return Err(Fault::new(format!("{} stands before the first FROM", keyword.name()))
                    .with_hint("only ARG may stand there"));
            }
        }
        self.written.push((word, location));
        Ok(())
    }

    /// Returns the whole, or what it lacks.
    pub(super) fn finish(mut self) -> Result<Dockerfile, Fault> {
        if self.count == 0 {
            return Err(Fault::new("the Dockerfile has no instructions"));
        }
        if self.dockerfile.stages.is_empty() {
            return Err(Fault::new("the Dockerfile has no FROM"));
        }
        self.note_casing();
        let Dockerfile { check, warnings, .. } = &mut self.dockerfile;
        warnings.retain(|warning| !check.skips(warning.rule, warning.location));
        warnings.sort_by_key(|warning| warning.location.first_line);
        Ok(self.dockerfile)
    }

    fn note_statement(&mut self, statement: &Statement) {
        let location = statement.location;
        let Some(keyword) = Keyword::find(&statement.word) else { return };
        match (keyword, &statement.arguments) {
            (Keyword::Maintainer, _) => {
                self.warn(Rule::MaintainerDeprecated, location, "MAINTAINER is deprecated: use LABEL");
            }
            (Keyword::Env | Keyword::Label, Arguments::Pairs { legacy: true, .. }) => {
                let name = keyword.name();
                let message = format!("write {name} key=value instead of {name} key value");
                self.warn(Rule::LegacyKeyValueFormat, location, message);
            }
            (Keyword::From, Arguments::Words(words)) => {
                if let [_, as_word, name] = &words[..] {
                    self.note_from_casing(&statement.word, as_word, name, location);
                }
            }
            _ => {}
        }
    }

    fn note_from_casing(&mut self, from: &str, as_word: &str, name: &str, location: Location) {
        if name.to_lowercase() != name {
            self.warn(Rule::StageNameCasing, location, format!("the stage name {name} should be lower case"));
        }
        let differs = match casing(from) {
            Some(Casing::Lower) => as_word != as_word.to_lowercase(),
            Some(Casing::Upper) => as_word != as_word.to_uppercase(),
            None => false,
        };
        if differs {
            self.warn(
                Rule::FromAsCasing,
                location,
                format!("{from} and {as_word} are written in different cases"),
            );
        }
    }

    fn note_stage_name(&mut self, name: Option<&str>, location: Location) {
        let Some(name) = name else { return };
        if RESERVED_STAGE_NAMES.contains(&name) {
            self.warn(Rule::ReservedStageName, location, format!("the stage name {name} is reserved"));
        }
        if !self.stage_names.insert(name.to_owned()) {
            self.warn(Rule::DuplicateStageName, location, format!("a second stage is called {name}"));
        }
    }

    /// Holds every instruction of the stages to the case that most of them have; to capitals if it is a draw.
    fn note_casing(&mut self) {
        let count = |wanted| self.written.iter().filter(|(word, _)| casing(word) == Some(wanted)).count();
        let common = if count(Casing::Lower) > count(Casing::Upper) { Casing::Lower } else { Casing::Upper };
        for (word, location) in std::mem::take(&mut self.written) {
            if casing(&word) != Some(common) {
                let name = if common == Casing::Lower { "lower case" } else { "capitals" };
                let message = format!("{word} should be in {name} like most instructions");
                self.warn(Rule::ConsistentInstructionCasing, location, message);
            }
        }
    }

    fn warn(&mut self, rule: Rule, location: Location, message: impl Into<String>) {
        self.dockerfile.warnings.push(Warning { rule, message: message.into(), location });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Casing {
    Lower,
    Upper,
}

fn casing(word: &str) -> Option<Casing> {
    if word == word.to_lowercase() {
        Some(Casing::Lower)
    } else if word == word.to_uppercase() {
        Some(Casing::Upper)
    } else {
        None
    }
}
