use super::error::{Fault, SyntaxError};
use super::{Escape, Location};

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The parser directives: comments `# name=value` before everything else in the file.
#[derive(Debug, Default)]
pub(super) struct Directives {
    pub(super) escape: Escape,
    pub(super) syntax: Option<String>,
    /// The value of `check` and the line it stands in.
    pub(super) check: Option<(String, Location)>,
    /// How many lines at the top of the file are directives, and so not comments of the first instruction. None
    /// after a `#!` line.
    pub(super) lines: u32,
}

/// Reads the directives at the top of a file.
///
/// A blank line, an instruction, an ordinary comment and an unknown directive end them. After a `#!` line `syntax`
/// and `check` are still recognised, but not `escape`.
pub(super) fn scan(text: &[u8]) -> Result<Directives, SyntaxError> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let shebang = text.starts_with(b"#!");
    let mut found = Directives::default();
    let mut escape = None;
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate().skip(usize::from(shebang)) {
        let Some((name, value)) = std::str::from_utf8(line).ok().and_then(directive) else { break };
        let location = Location::line(u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1));
        let is_new = match name.as_str() {
            "syntax" => set(&mut found.syntax, first_word(&value)),
            "check" => set(&mut found.check, (first_word(&value), location)),
            "escape" => set(&mut escape, (value, location)),
            _ => break,
        };
        match (is_new, shebang) {
            (true, false) => found.lines = location.first_line,
            (true, true) => {}
            (false, true) => break,
            (false, false) => {
                return Err(Fault::new(format!("the directive {name} is given twice")).at(location));
            }
        }
    }
    if let Some((value, location)) = escape
        && !shebang
    {
        found.escape = Escape::parse(&value).ok_or_else(|| {
            Fault::new(format!("the escape character is \\ or `, not {value}")).at(location)
        })?;
    }
    Ok(found)
}

/// Sets a directive, unless it is set.
fn set<T>(directive: &mut Option<T>, value: T) -> bool {
    let is_new = directive.is_none();
    if is_new {
        *directive = Some(value);
    }
    is_new
}

/// Splits a comment line into the name, in lower case, and the value of a directive.
fn directive(line: &str) -> Option<(String, String)> {
    name_and_value(line.trim_start().strip_prefix('#')?)
}

/// Splits `name = value`, the text of a comment, as a directive. A name is a letter, then letters and digits.
pub(super) fn name_and_value(comment: &str) -> Option<(String, String)> {
    let (name, value) = comment.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_name && !value.is_empty()).then(|| (name.to_lowercase(), value.to_owned()))
}

/// Returns what counts of the value of `syntax` and `check`: all up to the first blank.
pub(super) fn first_word(value: &str) -> String {
    value.split(' ').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(text: &str) -> Result<(char, Option<String>, Option<String>, u32), String> {
        let found = scan(text.as_bytes()).map_err(|error| error.to_string())?;
        Ok((found.escape.as_char(), found.syntax, found.check.map(|(value, _)| value), found.lines))
    }

    #[test]
    fn directives_stand_at_the_top() {
        type Row<'a> = (&'a str, char, Option<&'a str>, Option<&'a str>, u32);
        let rows: &[Row] = &[
            ("FROM a", '\\', None, None, 0),
            ("# escape=`\nFROM a", '`', None, None, 1),
            ("#ESCAPE = `  \r\nFROM a", '`', None, None, 1),
            ("  # escape=`\nFROM a", '`', None, None, 1),
            ("\u{feff}# escape=`", '`', None, None, 1),
            ("# syntax=docker/dockerfile:1\n# escape=`\n", '`', Some("docker/dockerfile:1"), None, 2),
            ("# syntax = a b\n#check=skip=X;error=true\n", '\\', Some("a"), Some("skip=X;error=true"), 2),
            ("# hello\n# escape=`\n", '\\', None, None, 0),
            ("\n# escape=`\n", '\\', None, None, 0),
            ("# unknown=1\n# escape=`\n", '\\', None, None, 0),
            ("FROM a\n# escape=`\n", '\\', None, None, 0),
            ("#!/usr/bin/env docker\n# syntax=a\n# escape=`\n", '\\', Some("a"), None, 0),
            ("#!/bin/sh\n# syntax=a\n# syntax=b\n", '\\', Some("a"), None, 0),
            ("# escape=\nFROM a", '\\', None, None, 0),
            ("# es cape=`\nFROM a", '\\', None, None, 0),
        ];
        for (text, escape, syntax, check, lines) in rows {
            let expected = (*escape, syntax.map(str::to_owned), check.map(str::to_owned), *lines);
            assert_eq!(summary(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn wrong_directives_are_refused() {
        let rows: &[(&str, &str)] = &[
            ("# escape=x\n", "line 1: the escape character is \\ or `, not x"),
            ("# syntax=a\n# escape=\\\\\n", "line 2: the escape character is \\ or `, not \\\\"),
            ("# escape=`\n# syntax=a\n#Escape=`\n", "line 3: the directive escape is given twice"),
            ("# syntax=a\n# syntax=a\n", "line 2: the directive syntax is given twice"),
        ];
        for (text, expected) in rows {
            assert_eq!(summary(text), Err((*expected).to_owned()), "{text:?}");
        }
    }
}
