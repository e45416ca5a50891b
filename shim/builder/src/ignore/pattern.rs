use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

use super::path::{clean, trim};
use super::{MAX_PATTERN_BYTES, PatternFault};
use crate::wildcard::{self, Set};

/// Largest automaton of a pattern, in bytes.
const MAX_REGEX_BYTES: usize = 16 << 20;

/// One pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Whether it takes paths back in.
    pub(super) is_exception: bool,
    form: Form,
    /// What every path that matches begins with.
    head: Vec<u8>,
}

#[derive(Debug)]
enum Form {
    /// The path itself.
    Exact,
    /// Every path that begins with the pattern's head: `a/**`.
    Prefix,
    /// Every path that ends so: `**/a`. If the text begins with `/`, also the path that is the rest of it.
    Suffix(Vec<u8>),
    /// Whatever the expression matches, among the paths that end in `tail`.
    Regex { regex: Regex, tail: Vec<u8> },
}

impl Pattern {
    /// Reads a pattern. An empty one is none.
    pub(super) fn parse(text: &[u8]) -> Result<Option<Self>, PatternFault> {
        let text = trim(text);
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternFault::TooLong);
        }
        let text = clean(text);
        let is_exception = text.starts_with(b"!");
        let path = if is_exception { &text[1..] } else { &text[..] };
        if path.is_empty() {
            return Err(PatternFault::LoneException);
        }
        let malformed = || PatternFault::Malformed { pattern: String::from_utf8_lossy(path).into_owned() };
        let tokens = tokens(path).ok_or_else(malformed)?;
        let (form, head) = form(path, &tokens).ok_or_else(malformed)?;
        Ok(Some(Self { is_exception, form, head }))
    }

    /// Tells whether the pattern matches a path itself, without regard to the directories above.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match &self.form {
            Form::Exact => path == self.head,
            Form::Prefix => path.starts_with(&self.head),
            Form::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path),
            Form::Regex { regex, tail } => {
                path.starts_with(&self.head) && path.ends_with(tail) && regex.is_match(&characters(path))
            }
        }
    }

    /// Tells whether the pattern may match a path below a directory that it does not match itself.
    pub(super) fn may_match_below(&self, directory: &[u8]) -> bool {
        let below = [directory, b"/"].concat();
        match self.form {
            Form::Exact | Form::Prefix => self.head.starts_with(&below),
            Form::Suffix(_) => true,
            Form::Regex { .. } => self.head.starts_with(&below) || below.starts_with(&self.head),
        }
    }
}

/// Reads a path as characters. A byte that is not part of one becomes a replacement character.
fn characters(path: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(path) {
        return Cow::Borrowed(text);
    }
    let chunk = |chunk: std::str::Utf8Chunk<'_>| {
        let invalid = std::iter::repeat_n(char::REPLACEMENT_CHARACTER, chunk.invalid().len());
        chunk.valid().chars().chain(invalid).collect::<String>()
    };
    Cow::Owned(path.utf8_chunks().map(chunk).collect())
}

#[derive(Debug, PartialEq)]
enum Token {
    Literal(Vec<u8>),
    /// `?`
    Any,
    /// `*`
    Star,
    /// `**`, with the `/` behind it if there is one.
    Deep {
        slash: bool,
    },
    Set(Set),
}

/// Splits a pattern into tokens; nothing if it is malformed.
fn tokens(pattern: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut literal = Vec::new();
    let mut rest = pattern;
    while let Some((byte, tail)) = rest.split_first() {
        let token = match byte {
            b'*' if tail.starts_with(b"*") => {
                let slash = tail[1..].starts_with(b"/");
                rest = &tail[1 + usize::from(slash)..];
                Token::Deep { slash }
            }
            b'*' | b'?' => {
                rest = tail;
                if *byte == b'*' { Token::Star } else { Token::Any }
            }
            b'[' => {
                let (set, tail) = wildcard::set(tail)?;
                rest = tail;
                Token::Set(set)
            }
            byte => {
                let (byte, tail) = if *byte == b'\\' { tail.split_first()? } else { (byte, tail) };
                literal.push(*byte);
                rest = tail;
                continue;
            }
        };
        push_literal(&mut tokens, &mut literal);
        tokens.push(token);
    }
    push_literal(&mut tokens, &mut literal);
    Some(tokens)
}

fn push_literal(tokens: &mut Vec<Token>, literal: &mut Vec<u8>) {
    if !literal.is_empty() {
        tokens.push(Token::Literal(std::mem::take(literal)));
    }
}

/// Chooses the form of a pattern, and finds what every path that matches begins with.
fn form(pattern: &[u8], tokens: &[Token]) -> Option<(Form, Vec<u8>)> {
    let literal = |token: Option<&Token>| match token {
        Some(Token::Literal(bytes)) => bytes.clone(),
        _ => Vec::new(),
    };
    let head = literal(tokens.first());
    let form = match tokens {
        [] | [Token::Literal(_)] => Form::Exact,
        [Token::Literal(_), Token::Deep { .. }] => Form::Prefix,
        [Token::Deep { .. }] => Form::Suffix(Vec::new()),
        // `**a` matches `xa` too, though `**a*` and `**\a` do not: so it is in the reference implementation.
        [Token::Deep { slash }, Token::Literal(text)] if *slash || !pattern.contains(&b'\\') => {
            let slash: &[u8] = if *slash { b"/" } else { b"" };
            Form::Suffix([slash, text].concat())
        }
        _ => Form::Regex { regex: regex(tokens)?, tail: literal(tokens.last()) },
    };
    Some((form, head))
}

fn regex(tokens: &[Token]) -> Option<Regex> {
    let mut source = String::from("^");
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Literal(bytes) => source.push_str(&regex::escape(&characters(bytes))),
            Token::Any => source.push_str("[^/]"),
            Token::Star => source.push_str("[^/]*"),
            Token::Deep { .. } if index + 1 == tokens.len() => source.push_str(".*"),
            Token::Deep { .. } => source.push_str("(?:.*/)?"),
            Token::Set(set) => source.push_str(&set.to_regex()),
        }
    }
    source.push('$');
    RegexBuilder::new(&source).size_limit(MAX_REGEX_BYTES).build().ok()
}
