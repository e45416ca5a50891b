use super::check::Check;
use super::directive;
use super::error::{Fault, SyntaxError};
use super::heredoc;
use super::instruction::{Heredoc, Instruction};
use super::keyword::Keyword;
use super::lines::{LogicalLine, Reader};
use super::stages::Assembly;
use super::words::{Arguments, split};
use super::{Dockerfile, Location, MAX_FILE_BYTES, MAX_HEREDOCS, typed};

/// One instruction with its arguments, not yet typed.
#[derive(Debug)]
pub(super) struct Statement {
    /// The instruction's name as it was written.
    pub(super) word: String,
    pub(super) flags: Vec<String>,
    pub(super) arguments: Arguments,
    pub(super) heredocs: Vec<Heredoc>,
    /// The joined lines, without blanks around them.
    pub(super) source: String,
    pub(super) location: Location,
}

/// Parses a Dockerfile.
///
/// # Errors
/// [`SyntaxError`] says what is wrong in which lines. Only the first fault is reported.
pub fn parse(text: &[u8]) -> Result<Dockerfile, SyntaxError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(
            Fault::new(format!("the Dockerfile is larger than {MAX_FILE_BYTES} bytes")).at(Location::line(1))
        );
    }
    let directives = directive::scan(text)?;
    let check = match &directives.check {
        Some((value, location)) => Check::for_file(value).map_err(|fault| fault.at(*location))?,
        None => Check::default(),
    };
    let mut assembly = Assembly::new(check);
    let mut reader = Reader::new(text, &directives);
    let escape = directives.escape.as_char();
    while let Some(line) = reader.logical_line()? {
        assembly.note_line(&line);
        let statement = statement(line, &mut reader, escape)?;
        let location = statement.location;
        assembly.add(statement).map_err(|fault| fault.at(location))?;
    }
    let end = Location::line(reader.line().max(1));
    let mut dockerfile = assembly.finish().map_err(|fault| fault.at(end))?;
    dockerfile.escape = directives.escape;
    dockerfile.syntax = directives.syntax;
    Ok(dockerfile)
}

/// Splits a line, and reads the heredocs that it starts.
fn statement(line: LogicalLine, reader: &mut Reader<'_>, escape: char) -> Result<Statement, SyntaxError> {
    let parts = split(&line.text, escape);
    let keyword = Keyword::find(parts.keyword);
    let arguments =
        Arguments::read(keyword, parts.arguments, escape).map_err(|fault| fault.at(line.location))?;
    let mut location = line.location;
    let mut heredocs = Vec::new();
    if takes_heredocs(keyword, &arguments, escape) {
        let words = heredoc::in_line(&line.text);
        if words.len() > MAX_HEREDOCS {
            return Err(
                Fault::new(format!("the instruction has more than {MAX_HEREDOCS} heredocs")).at(location)
            );
        }
        for word in words {
            let content = reader.heredoc(&word.name, word.strip_tabs, location.first_line)?;
            let (expand, strip_tabs) = (word.expand, word.strip_tabs);
            heredocs.push(Heredoc { name: word.name, expand, strip_tabs, content });
        }
        location.last_line = reader.line();
    }
    Ok(Statement {
        word: parts.keyword.to_owned(),
        flags: parts.flags,
        arguments,
        heredocs,
        source: line.text.trim().to_owned(),
        location,
    })
}

/// Tells whether `<<` starts a heredoc: in shell form, and also below `ONBUILD`.
fn takes_heredocs(keyword: Option<Keyword>, arguments: &Arguments, escape: char) -> bool {
    match (keyword, arguments) {
        (Some(Keyword::Onbuild), Arguments::Text(text)) => {
            let trigger = split(text, escape);
            let inner = Keyword::find(trigger.keyword).filter(|keyword| keyword.takes_heredocs());
            inner.is_some_and(|inner| {
                Arguments::read(Some(inner), trigger.arguments, escape).is_ok_and(|read| !read.is_json())
            })
        }
        (Some(keyword), arguments) => keyword.takes_heredocs() && !arguments.is_json(),
        (None, _) => false,
    }
}

/// What a statement turns out to be.
#[derive(Debug)]
pub(super) enum Typed {
    From(super::StageFrom),
    Instruction(Instruction),
}

impl Statement {
    /// Types the statement.
    pub(super) fn typed(self) -> Result<(Keyword, Typed), Fault> {
        let Some(keyword) = Keyword::find(&self.word) else {
            let close = Keyword::closest(&self.word);
            return Err(Fault::new(format!("unknown instruction {}", self.word)).suggesting(close));
        };
        typed::typed(keyword, self).map(|typed| (keyword, typed))
    }
}
