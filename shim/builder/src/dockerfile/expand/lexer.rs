use std::collections::BTreeSet;

use super::super::Escape;
use super::{ExpandError, MAX_DEPTH, MAX_EXPANDED_BYTES, Values, pattern};

/// What happens to quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// They group and are taken away.
    Removed,
    /// They group and stay.
    Kept,
    /// They are ordinary characters.
    Ordinary,
}

/// What happens to quotes, to escape characters and to variables that are not set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) quotes: Quotes,
    pub(super) keep_escapes: bool,
    pub(super) keep_unset: bool,
}

impl Options {
    pub(super) const WORD: Self = Self { quotes: Quotes::Removed, keep_escapes: false, keep_unset: false };
    pub(super) const BODY: Self = Self { quotes: Quotes::Ordinary, keep_escapes: false, keep_unset: false };
    pub(super) const DISPLAY: Self = Self { quotes: Quotes::Kept, keep_escapes: false, keep_unset: true };
}

/// Where a text ends, and what becomes of escape characters in it.
#[derive(Debug, Clone, Copy)]
struct Frame {
    /// The character that ends the text; nothing: the text ends with the input.
    stop: Option<char>,
    keep_escapes: bool,
    /// The text is a pattern, in which `\` has a meaning of its own: one that stood in quotes is doubled.
    is_pattern: bool,
}

/// Reads one text.
pub(super) struct Lexer<'t, 'v> {
    rest: &'t str,
    escape: char,
    options: Options,
    values: &'v Values<'v>,
    depth: u32,
    /// Whether escape characters are kept just now.
    keep_escapes: bool,
    /// How many texts were read so far: the whole, and the words in substitutions.
    frames: u64,
    pub(super) used: BTreeSet<String>,
    pub(super) unset: BTreeSet<String>,
}

impl<'t, 'v> Lexer<'t, 'v> {
    pub(super) fn new(text: &'t str, escape: Escape, options: Options, values: &'v Values<'v>) -> Self {
        Self {
            rest: text,
            escape: escape.as_char(),
            options,
            values,
            depth: 0,
            keep_escapes: options.keep_escapes,
            frames: 0,
            used: BTreeSet::new(),
            unset: BTreeSet::new(),
        }
    }

    /// Reads the whole text.
    pub(super) fn text(&mut self) -> Result<Output, ExpandError> {
        self.until(Frame { stop: None, keep_escapes: self.options.keep_escapes, is_pattern: false })
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.rest = &self.rest[char.len_utf8()..];
        Some(char)
    }

    fn eat(&mut self, char: char) -> bool {
        let found = self.peek() == Some(char);
        if found {
            self.next();
        }
        found
    }

    /// Reads up to and over the character that ends the frame.
    fn until(&mut self, frame: Frame) -> Result<Output, ExpandError> {
        self.frames += 1;
        let outer = std::mem::replace(&mut self.keep_escapes, frame.keep_escapes);
        let output = self.frame(frame);
        self.keep_escapes = outer;
        output
    }

    fn frame(&mut self, frame: Frame) -> Result<Output, ExpandError> {
        let mut output = Output::default();
        while let Some(char) = self.peek() {
            if frame.stop.is_some() && self.peek() == frame.stop {
                self.next();
                return Ok(output);
            }
            let frames = self.frames;
            let (text, separates) = match char {
                '$' => (self.dollar()?, true),
                '<' => (self.heredoc_start().to_owned(), false),
                '\'' if self.options.quotes != Quotes::Ordinary => (self.single_quoted(frame)?, false),
                '"' if self.options.quotes != Quotes::Ordinary => (self.double_quoted(frame)?, false),
                _ if char == self.escape => (self.escaped(), false),
                _ => (self.plain(frame).to_owned(), true),
            };
            if self.frames != frames {
                output.forget_word();
            }
            output.push(&text, separates)?;
        }
        match frame.stop {
            Some('/') => Err(ExpandError::MissingSlash),
            Some(_) => Err(ExpandError::MissingBrace),
            None => Ok(output),
        }
    }

    /// Reads a character that is nothing special here, and those after it up to one that may be.
    fn plain(&mut self, frame: Frame) -> &'t str {
        let is_special = |char: char| {
            matches!(char, '$' | '<' | '\'' | '"') || char == self.escape || Some(char) == frame.stop
        };
        let first = self.peek().map_or(0, char::len_utf8);
        let length = self.rest[first..].find(is_special).map_or(self.rest.len(), |index| first + index);
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        text
    }

    /// Reads an escape character and what it protects. One at the very end protects nothing and is dropped.
    fn escaped(&mut self) -> String {
        let escape = self.next().filter(|_| self.keep_escapes);
        escape.into_iter().chain(self.next()).collect()
    }

    /// Reads `<`, or `<<` and the blanks behind it, which do not separate words.
    fn heredoc_start(&mut self) -> &'t str {
        let tail = match self.rest.strip_prefix("<<") {
            Some(tail) => tail.trim_start_matches(['\t', '\r', ' ']),
            None => &self.rest[1..],
        };
        let (start, rest) = self.rest.split_at(self.rest.len() - tail.len());
        self.rest = rest;
        start
    }

    /// Reads `'…'`, in which nothing is special.
    fn single_quoted(&mut self, frame: Frame) -> Result<String, ExpandError> {
        self.next();
        let unclosed = ExpandError::UnclosedQuote { quote: '\'' };
        let (content, rest) = self.rest.split_once('\'').ok_or(unclosed)?;
        self.rest = rest;
        let content = match frame.is_pattern {
            true => content.replace(self.escape, &String::from_iter([self.escape; 2])),
            false => content.to_owned(),
        };
        Ok(if self.options.quotes == Quotes::Kept { format!("'{content}'") } else { content })
    }

    /// Reads `"…"`, in which variables are expanded and the escape character protects `"`, `$` and itself.
    fn double_quoted(&mut self, frame: Frame) -> Result<String, ExpandError> {
        let keep_quotes = self.options.quotes == Quotes::Kept;
        let mut output = String::new();
        self.next();
        if keep_quotes {
            output.push('"');
        }
        while let Some(char) = self.peek() {
            if char == '$' {
                let value = self.dollar()?;
                append(&mut output, &value)?;
                continue;
            }
            self.next();
            if char == '"' {
                if keep_quotes {
                    output.push('"');
                }
                return Ok(output);
            }
            if char != self.escape {
                output.push(char);
                continue;
            }
            match self.peek() {
                Some(special) if matches!(special, '"' | '$') || special == self.escape => {
                    if self.keep_escapes {
                        output.push(char);
                    }
                    self.next();
                    output.push(special);
                }
                Some(_) => {
                    output.push(char);
                    if self.keep_escapes && (!keep_quotes || frame.is_pattern) {
                        output.push(char);
                    }
                }
                None => {}
            }
        }
        Err(ExpandError::UnclosedQuote { quote: '"' })
    }

    /// Reads a variable and returns what it stands for. A `$` before anything else is a `$`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.next();
        if self.eat('{') {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(ExpandError::TooDeep);
            }
            let value = self.braces();
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(match self.value(name) {
            None if self.options.keep_unset => format!("${name}"),
            value => value.unwrap_or_default().to_owned(),
        })
    }

    /// Reads a substitution after its `${`.
    fn braces(&mut self) -> Result<String, ExpandError> {
        match self.peek() {
            None => return Err(ExpandError::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandError::MissingName),
            Some(_) => {}
        }
        let name = self.name();
        match self.next().ok_or(ExpandError::MissingBrace)? {
            '}' => Ok(match self.value(name) {
                None if self.options.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default().to_owned(),
            }),
            '/' => self.replacement(name),
            ':' => {
                let operator = self.next().ok_or(ExpandError::MissingBrace)?;
                if matches!(operator, '-' | '+' | '?') {
                    return self.alternative(name, operator, true);
                }
                Err(ExpandError::UnknownOperator { operator: format!(":{operator}") })
            }
            operator @ ('-' | '+' | '?') => self.alternative(name, operator, false),
            operator @ ('#' | '%') => self.trimmed(name, operator),
            operator => Err(ExpandError::UnknownOperator { operator: operator.to_string() }),
        }
    }

    /// Reads `w}` of `${v-w}`, `${v+w}` and `${v?w}`. With a colon, an empty variable counts as unset.
    fn alternative(&mut self, name: &str, operator: char, colon: bool) -> Result<String, ExpandError> {
        let word = self.until(Frame { stop: Some('}'), keep_escapes: false, is_pattern: false })?.text;
        let value = self.value(name);
        if value.is_none() && self.options.keep_unset {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let present = value.filter(|value| !colon || !value.is_empty());
        match (operator, present) {
            ('+', Some(_)) | ('-', None) => Ok(word),
            ('+', None) => Ok(String::new()),
            ('?', None) => {
                let state = if value.is_none() { "is not set" } else { "is empty" };
                let message = if word.is_empty() { state.to_owned() } else { word };
                Err(ExpandError::Demanded { name: name.to_owned(), message })
            }
            (_, present) => Ok(present.unwrap_or_default().to_owned()),
        }
    }

    /// Reads `p}` of `${v#p}` and `${v%p}`. A doubled operator asks for the longest match.
    fn trimmed(&mut self, name: &str, operator: char) -> Result<String, ExpandError> {
        let word = self.until(Frame { stop: Some('}'), keep_escapes: true, is_pattern: true })?.text;
        let value = self.value(name);
        if value.is_none() && self.options.keep_unset {
            return Ok(format!("${{{name}{operator}{word}}}"));
        }
        let value = value.unwrap_or_default();
        let longest = word.strip_prefix(operator);
        let (pattern, is_longest) = (longest.unwrap_or(&word), longest.is_some());
        match operator {
            '#' => pattern::without_prefix(pattern, value, is_longest),
            _ => pattern::without_suffix(pattern, value, is_longest),
        }
    }

    /// Reads `p/r}` or `/p/r}` of `${v/p/r}` and `${v//p/r}`.
    fn replacement(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.eat('/');
        let pattern = self.until(Frame { stop: Some('/'), keep_escapes: true, is_pattern: true })?.text;
        let replacement = self.until(Frame { stop: Some('}'), keep_escapes: true, is_pattern: false })?.text;
        let value = self.value(name);
        if value.is_none() && self.options.keep_unset {
            let slashes = if all { "//" } else { "/" };
            return Ok(format!("${{{name}{slashes}{pattern}/{replacement}}}"));
        }
        pattern::replaced(&pattern, value.unwrap_or_default(), &replacement, all)
    }

    /// Reads a name: letters, digits and `_`; or digits only; or one of the shell's special parameters. May be empty.
    fn name(&mut self) -> &'t str {
        let end_of =
            |matches: fn(char) -> bool| self.rest.find(|char| !matches(char)).unwrap_or(self.rest.len());
        let length = match self.peek() {
            Some(first) if first.is_ascii_digit() => end_of(|char| char.is_ascii_digit()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => end_of(|char| char.is_alphabetic() || char.is_ascii_digit() || char == '_'),
        };
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        name
    }

    /// Looks a variable up, and notes that it was asked for.
    fn value(&mut self, name: &str) -> Option<&'v str> {
        let value = (self.values)(name);
        let seen = if value.is_some() { &mut self.used } else { &mut self.unset };
        if !seen.contains(name) {
            seen.insert(name.to_owned());
        }
        value
    }
}

/// An expanded text, and the words that it falls into.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) text: String,
    words: Vec<String>,
    word: String,
}

impl Output {
    /// Appends text, which may have white space that separates words.
    fn push(&mut self, text: &str, separates: bool) -> Result<(), ExpandError> {
        append(&mut self.text, text)?;
        if !separates {
            self.word.push_str(text);
            return Ok(());
        }
        for char in text.chars() {
            if !char.is_whitespace() {
                self.word.push(char);
            } else if !self.word.is_empty() {
                self.words.push(std::mem::take(&mut self.word));
            }
        }
        Ok(())
    }

    /// Drops what stands in a word before a substitution with an operator: of `80${x:-80}` the word is `80`, though
    /// the text is `8080`. A mistake of the reference implementation that its users build on: without it
    /// `$((1 << ${x:-2}))` would start a heredoc.
    fn forget_word(&mut self) {
        self.word.clear();
    }

    /// Returns the words; empty ones do not count.
    pub(super) fn into_words(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

/// Appends within the limit.
pub(super) fn append(output: &mut String, text: &str) -> Result<(), ExpandError> {
    if output.len() + text.len() > MAX_EXPANDED_BYTES {
        return Err(ExpandError::TooLarge);
    }
    output.push_str(text);
    Ok(())
}
