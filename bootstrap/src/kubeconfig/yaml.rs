//! YAML as it was written, but for comments and layout: what a reader makes of `yes` or `0777` is the reader's business (pure).
//!
//! Values in the user's file are not interpreted: a plain scalar stays plain with the same text, any other is a string and is
//! written between double quotes. Aliases are replaced by what they stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

/// How deep lists and maps may lie in one another.
const MAX_DEPTH: usize = 64;
/// How many nodes a file may have, those that aliases repeat counted each time.
const MAX_NODES: usize = 200_000;
/// The prefix of the tags that are written with `!!`.
const CORE: &str = "tag:yaml.org,2002:";

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The line, from 1; 0 if it is about no line.
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.message),
            line => write!(f, "line {line}: {}", self.message),
        }
    }
}

/// A node. Two are equal if they are written the same way, wherever that is.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) line: usize,
    tag: Option<String>,
    pub(crate) content: Content,
}

/// What a node is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Scalar { text: String, is_plain: bool },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        (&self.tag, &self.content) == (&other.tag, &other.content)
    }
}

impl Eq for Node {}

impl Node {
    fn new(content: Content) -> Self {
        Self { line: 0, tag: None, content }
    }

    /// Makes a string.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        let is_plain = is_plainly_text(&text);
        Self::new(Content::Scalar { text, is_plain })
    }

    /// Makes a map with keys in the given order.
    pub(crate) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::new(Content::Map(entries.into_iter().map(|(key, value)| (Self::text(key), value)).collect()))
    }

    /// Makes a list.
    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::new(Content::List(items))
    }

    /// Returns the text of a scalar.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            Content::List(_) | Content::Map(_) => None,
        }
    }

    /// Tells whether it stands for nothing.
    pub(crate) fn is_null(&self) -> bool {
        let null = |text: &str| matches!(text, "" | "~" | "null" | "Null" | "NULL");
        self.tag.is_none() && matches!(&self.content, Content::Scalar { text, is_plain: true } if null(text))
    }

    /// Returns the value of a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
    }

    /// Sets the value of a key; a new one goes to the end. It does nothing to what is no map.
    pub(crate) fn set(&mut self, key: &str, value: Self) {
        let Content::Map(entries) = &mut self.content else { return };
        match entries.iter_mut().find(|(name, _)| name.as_text() == Some(key)) {
            Some((_, old)) => *old = value,
            None => entries.push((Self::text(key), value)),
        }
    }

    /// Returns the entries of a map.
    pub(crate) fn entries(&self) -> &[(Self, Self)] {
        match &self.content {
            Content::Map(entries) => entries,
            Content::Scalar { .. } | Content::List(_) => &[],
        }
    }

    fn size(&self) -> usize {
        1 + match &self.content {
            Content::Scalar { .. } => 0,
            Content::List(items) => items.iter().map(Self::size).sum::<usize>(),
            Content::Map(entries) => entries.iter().map(|(key, value)| key.size() + value.size()).sum(),
        }
    }
}

/// Tells whether a string of ours needs no quotes for any reader: it begins like a word, and none takes it for a truth value.
fn is_plainly_text(text: &str) -> bool {
    const WORDS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "null", "nan"];
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.:/@=+".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() > 1
        && text.chars().all(inner)
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// Reads a text of at most one document; `None` if there is nothing in it.
///
/// # Errors
/// It is not YAML, or has something that this cannot write again: a second document, a map or list as key, a key that is there twice.
pub(crate) fn parse(text: &str) -> Result<Option<Node>, Problem> {
    let mut reader = Reader { events: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0 };
    let mut document = None;
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::DocumentStart(..) if document.is_some() => {
                return Err(Problem::new(span.start.line(), "a second document begins here"));
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => {}
            event => document = Some(reader.node(event, span, 0)?),
        }
    }
    Ok(document.filter(|node| !node.is_null()))
}

struct Reader<P> {
    events: P,
    /// What anchors stand for, once that was read whole.
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl<'a, P: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> Reader<P> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Problem> {
        let mut events = self.events.by_ref().filter(|event| !matches!(event, Ok((Event::Comment(..), _))));
        events.next().transpose().map_err(|error| Problem::new(error.marker().line(), error.info()))
    }

    /// Returns the next event, unless it ends the list or map that is being read.
    fn within(&mut self) -> Result<Option<(Event<'a>, Span)>, Problem> {
        match self.next()? {
            None => Err(Problem::new(0, "ends too early")),
            Some((Event::SequenceEnd | Event::MappingEnd, _)) => Ok(None),
            other => Ok(other),
        }
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), Problem> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(Problem::new(line, format!("has more than {MAX_NODES} values up to here")));
        }
        Ok(())
    }

    /// Reads the node that begins with an event.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        let line = span.start.line();
        if depth > MAX_DEPTH {
            return Err(Problem::new(line, format!("is more than {MAX_DEPTH} levels deep")));
        }
        let (content, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_nothing = style == ScalarStyle::Plain && span.start.index() == span.end.index();
                // Nothing at all is null, but a tag may make something else of it.
                let content = match (is_nothing, &tag) {
                    (true, None) => Content::Scalar { text: "null".into(), is_plain: true },
                    (true, Some(_)) => Content::Scalar { text: String::new(), is_plain: false },
                    // A plain scalar of several lines is a string for every reader.
                    _ => Content::Scalar {
                        is_plain: style == ScalarStyle::Plain && !text.contains('\n'),
                        text: text.into_owned(),
                    },
                };
                (content, anchor, tag)
            }
            Event::SequenceStart(_, anchor, tag) => (self.list(depth)?, anchor, tag),
            Event::MappingStart(_, anchor, tag) => (self.map(depth)?, anchor, tag),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Problem::new(line, "an alias stands for what it is in"));
                };
                self.count(node.size(), line)?;
                return Ok(node);
            }
            _ => return Err(Problem::new(line, "is not understood")),
        };
        self.count(1, line)?;
        let node = Node { line, tag: tag.map(|tag| resolved(&tag)), content };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Content, Problem> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.within()? {
            items.push(self.node(event, span, depth + 1)?);
        }
        Ok(Content::List(items))
    }

    fn map(&mut self, depth: usize) -> Result<Content, Problem> {
        let (mut entries, mut keys) = (Vec::new(), BTreeSet::new());
        while let Some((event, span)) = self.within()? {
            let key = self.node(event, span, depth + 1)?;
            let Some(text) = key.as_text() else {
                return Err(Problem::new(key.line, "a key is not a single value"));
            };
            if !keys.insert(text.to_owned()) {
                return Err(Problem::new(key.line, format!("the key {text:?} is there twice")));
            }
            let Some((event, span)) = self.within()? else {
                return Err(Problem::new(key.line, "a key has no value"));
            };
            entries.push((key, self.node(event, span, depth + 1)?));
        }
        Ok(Content::Map(entries))
    }
}

fn resolved(tag: &Tag) -> String {
    format!("{}{}", tag.handle(), tag.suffix())
}

/// Writes a document, in the style of `kubectl`: a list is as deep as its key.
///
/// # Errors
/// What was written would not be read as the same again.
pub(crate) fn write(node: &Node) -> Result<String, Problem> {
    let mut text = String::new();
    block(node, 0, &mut text);
    match parse(&text) {
        Ok(Some(reread)) if reread == *node => Ok(text),
        _ => Err(Problem::new(0, "has something in it that cannot be written again")),
    }
}

/// Writes a node that begins on a line of its own.
fn block(node: &Node, indent: usize, text: &mut String) {
    match &node.content {
        Content::Map(entries) if !entries.is_empty() => {
            for (index, (key, value)) in entries.iter().enumerate() {
                // The first key stands where the node begins.
                if index > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                inline(key, text);
                text.push(':');
                after(value, indent, text);
            }
        }
        Content::List(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                text.push('-');
                if is_block(item) && item.tag.is_none() {
                    text.push(' ');
                    block(item, indent + 2, text);
                } else {
                    after(item, indent + 2, text);
                }
            }
        }
        _ => {
            inline(node, text);
            text.push('\n');
        }
    }
}

/// Writes what follows a key, or the dash of an item that has a tag or is one value.
fn after(value: &Node, indent: usize, text: &mut String) {
    text.push(' ');
    if !is_block(value) {
        inline(value, text);
        text.push('\n');
        return;
    }
    tag(value, text);
    // No space at the end of the line.
    text.truncate(text.trim_end_matches(' ').len());
    let indent = if matches!(value.content, Content::List(_)) { indent } else { indent + 2 };
    text.push('\n');
    text.push_str(&" ".repeat(indent));
    block(value, indent, text);
}

const fn is_block(node: &Node) -> bool {
    match &node.content {
        Content::Scalar { .. } => false,
        Content::List(items) => !items.is_empty(),
        Content::Map(entries) => !entries.is_empty(),
    }
}

fn tag(node: &Node, text: &mut String) {
    let Some(tag) = &node.tag else { return };
    match (tag.strip_prefix(CORE), tag.starts_with('!')) {
        (Some(core), _) => text.push_str(&format!("!!{core} ")),
        (None, true) => text.push_str(&format!("{tag} ")),
        (None, false) => text.push_str(&format!("!<{tag}> ")),
    }
}

fn inline(node: &Node, text: &mut String) {
    tag(node, text);
    match &node.content {
        Content::Scalar { text: plain, is_plain: true } => text.push_str(plain),
        Content::Scalar { text: value, is_plain: false } => quote(value, text),
        Content::List(_) => text.push_str("[]"),
        Content::Map(_) => text.push_str("{}"),
    }
}

/// Writes a string between double quotes.
fn quote(value: &str, text: &mut String) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            // Line ends of other readers, and what is no character of a text.
            '\u{2028}' | '\u{2029}' | '\u{feff}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}
