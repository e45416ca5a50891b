use std::borrow::Cow;

use super::directive::{BYTE_ORDER_MARK, Directives};
use super::error::{Fault, SyntaxError};
use super::{Location, MAX_LINE_BYTES};

/// An instruction's lines, joined, without comments; heredocs not included.
#[derive(Debug)]
pub(super) struct LogicalLine {
    /// The text; blanks before it are cut, blanks after it are not.
    pub(super) text: String,
    pub(super) location: Location,
    /// The comments above it.
    pub(super) comments: Vec<String>,
    /// Whether an empty line stands inside it.
    pub(super) has_empty_continuation: bool,
}

/// A line of the file.
#[derive(Debug)]
struct Line<'a> {
    /// The line without its ending. Owned, with replacement characters, if it is not UTF-8.
    text: Cow<'a, str>,
    /// Carriage returns and the newline.
    ending: &'a str,
}

/// Reads a Dockerfile's lines, and joins those that are continued.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// The number of the line read last.
    line: u32,
    escape: char,
    directive_lines: u32,
    comments: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8], directives: &Directives) -> Self {
        Self {
            rest: text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text),
            line: 0,
            escape: directives.escape.as_char(),
            directive_lines: directives.lines,
            comments: Vec::new(),
        }
    }

    /// The number of the line read last.
    pub(super) const fn line(&self) -> u32 {
        self.line
    }

    /// Reads the next instruction's lines.
    pub(super) fn logical_line(&mut self) -> Result<Option<LogicalLine>, SyntaxError> {
        while let Some(line) = self.physical_line()? {
            let start = line.text.trim_start();
            if start.starts_with('#') {
                self.comment(&line.text);
                continue;
            }
            if start.is_empty() {
                continue;
            }
            self.require_text(&line)?;
            return self.joined(start).map(Some);
        }
        Ok(None)
    }

    /// Reads the lines that continue one. Only the first of them has the blanks at its beginning cut.
    fn joined(&mut self, start: &str) -> Result<LogicalLine, SyntaxError> {
        let first_line = self.line;
        let mut has_empty_continuation = false;
        let mut text = String::new();
        let mut continued = self.append(&mut text, start);
        while continued && let Some(line) = self.physical_line()? {
            let content = line.text.trim_start();
            if content.starts_with('#') {
                continue;
            }
            if content.is_empty() {
                has_empty_continuation = true;
                continue;
            }
            self.require_text(&line)?;
            continued = self.append(&mut text, &line.text);
        }
        let location = Location { first_line, last_line: self.line };
        let comments = std::mem::take(&mut self.comments);
        Ok(LogicalLine { text, location, comments, has_empty_continuation })
    }

    /// Appends a line; tells whether it is continued.
    ///
    /// A line is continued if it ends in one escape character, with or without blanks behind it; two are an escaped
    /// escape character.
    fn append(&self, text: &mut String, line: &str) -> bool {
        let head = line.trim_end_matches([' ', '\t']).strip_suffix(self.escape);
        let continued = head.filter(|head| !head.ends_with(self.escape));
        text.push_str(continued.unwrap_or(line));
        continued.is_some()
    }

    /// Reads the lines of a heredoc, up to the line that ends it.
    pub(super) fn heredoc(
        &mut self,
        delimiter: &str,
        strip_tabs: bool,
        first_line: u32,
    ) -> Result<String, SyntaxError> {
        let mut content = String::new();
        while let Some(line) = self.physical_line()? {
            self.require_text(&line)?;
            let candidate = if strip_tabs { line.text.trim_start_matches('\t') } else { &line.text };
            if candidate == delimiter {
                return Ok(content);
            }
            content.push_str(&line.text);
            content.push_str(line.ending);
        }
        let location = Location { first_line, last_line: self.line };
        Err(Fault::new(format!("the heredoc {delimiter} is not ended"))
            .with_hint(format!("a line that is exactly {delimiter:?} ends it"))
            .at(location))
    }

    fn physical_line(&mut self) -> Result<Option<Line<'a>>, SyntaxError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let end = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |index| index + 1);
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.line = self.line.saturating_add(1);
        if line.strip_suffix(b"\n").unwrap_or(line).len() > MAX_LINE_BYTES {
            return Err(self.fault(format!("the line is longer than {MAX_LINE_BYTES} bytes")));
        }
        let text = line.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |index| index + 1);
        let (text, ending) = line.split_at(text);
        let ending = std::str::from_utf8(ending).unwrap_or_default();
        Ok(Some(Line { text: String::from_utf8_lossy(text), ending }))
    }

    /// Keeps a comment for the instruction that follows. An empty one separates.
    fn comment(&mut self, line: &str) {
        match line.strip_prefix('#').map(str::trim) {
            _ if self.line <= self.directive_lines => {}
            Some("") => self.comments.clear(),
            Some(text) => self.comments.push(text.to_owned()),
            None => {}
        }
    }

    /// Refuses what can be in a comment only.
    fn require_text(&self, line: &Line<'_>) -> Result<(), SyntaxError> {
        match &line.text {
            Cow::Borrowed(text) if text.contains('\0') => Err(self.fault("the line has a NUL byte")),
            Cow::Borrowed(_) => Ok(()),
            Cow::Owned(_) => Err(self.fault("the line is not UTF-8")),
        }
    }

    fn fault(&self, message: impl Into<String>) -> SyntaxError {
        Fault::new(message).at(Location::line(self.line))
    }
}
