use regex::{Regex, RegexBuilder};

use super::lexer::append;
use super::{ExpandError, MAX_PATTERN_CHARS};

/// Largest automaton of a pattern, in bytes. A pattern of [`MAX_PATTERN_CHARS`] wildcards stays below.
const MAX_REGEX_BYTES: usize = 8 << 20;

/// Cuts what a pattern matches off the front of a value.
pub(super) fn without_prefix(pattern: &str, value: &str, longest: bool) -> Result<String, ExpandError> {
    let end = regex(pattern, longest, true)?.find(value).map_or(0, |found| found.end());
    Ok(value[end..].to_owned())
}

/// Cuts what a pattern matches off the end of a value.
///
/// Searching finds the leftmost match, not the shortest that reaches the end; so pattern and value are searched
/// backwards.
pub(super) fn without_suffix(pattern: &str, value: &str, longest: bool) -> Result<String, ExpandError> {
    let backwards: String = value.chars().rev().collect();
    let rest = without_prefix(&backwards_pattern(pattern), &backwards, longest)?;
    Ok(rest.chars().rev().collect())
}

/// Replaces what a pattern matches, once or everywhere, by a literal text.
pub(super) fn replaced(pattern: &str, value: &str, text: &str, all: bool) -> Result<String, ExpandError> {
    let mut output = String::new();
    let mut end = 0;
    for found in regex(pattern, true, false)?.find_iter(value).take(if all { usize::MAX } else { 1 }) {
        append(&mut output, &value[end..found.start()])?;
        append(&mut output, text)?;
        end = found.end();
    }
    append(&mut output, &value[end..])?;
    Ok(output)
}

/// Turns a pattern round; a backslash stays before the character that it protects.
fn backwards_pattern(pattern: &str) -> String {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        tokens.push((char, (char == '\\').then(|| chars.next()).flatten()));
    }
    tokens.iter().rev().flat_map(|(char, escaped)| [Some(*char), *escaped]).flatten().collect()
}

fn regex(pattern: &str, longest: bool, anchored: bool) -> Result<Regex, ExpandError> {
    if pattern.chars().count() > MAX_PATTERN_CHARS {
        return Err(ExpandError::PatternTooLong);
    }
    let mut source = String::with_capacity(pattern.len() + 4);
    source.push_str(if anchored { "^" } else { "" });
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '*' => source.push_str(if longest { ".*" } else { ".*?" }),
            '?' => source.push('.'),
            // The backslash before } and / is only for the reader of ${…}, and no part of the pattern.
            '\\' if matches!(chars.peek(), Some('}' | '/')) => {}
            '\\' => match chars.next() {
                Some(escaped @ ('*' | '?' | '\\')) => source.extend(['\\', escaped]),
                _ => return Err(ExpandError::BadPattern { pattern: pattern.to_owned() }),
            },
            literal => source.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4]))),
        }
    }
    let compiled = RegexBuilder::new(&source).size_limit(MAX_REGEX_BYTES).build();
    compiled.map_err(|_| ExpandError::PatternTooLong)
}
