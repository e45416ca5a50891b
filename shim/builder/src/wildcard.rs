//! Wildcards in the sources of `COPY` and `ADD`.
//!
//! The rules are those of Go's `filepath.Match`: `*` is any text without `/`, `?` any character but `/`, `[a-z]` and
//! `[^a-z]` a character of a set, and `\` protects the character behind it. The whole path must match. `**` is `*`.
//! Paths are bytes; a byte that is not part of a character counts as one character, which literals match only if they
//! are the same byte.

/// Longest pattern, in bytes: Linux has no longer paths.
pub const MAX_PATTERN_BYTES: usize = 4096;

/// Tells whether a path has wildcards, so that it stands for the paths that match it.
///
/// A `\` before any character takes its meaning away.
#[must_use]
pub fn has_wildcard(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    false
}

/// A path with wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard {
    chunks: Vec<Chunk>,
}

/// A piece of a pattern between stars.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Chunk {
    /// Whether a star stands before it.
    star: bool,
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Byte(u8),
    /// `?`
    Any,
    Set(Set),
}

/// Says that a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WildcardError {
    /// A set is not closed or empty, a `-` in it lacks a side, or a `\` stands at the end.
    #[error("the pattern {pattern} is malformed")]
    Malformed {
        /// The pattern.
        pattern: String,
    },
    /// It is longer than [`MAX_PATTERN_BYTES`].
    #[error("the pattern is longer than {MAX_PATTERN_BYTES} bytes")]
    TooLong,
}

impl Wildcard {
    /// Parses a pattern. Unlike `filepath.Match`, which stops at the first difference to a path, all of it.
    ///
    /// # Errors
    /// The pattern is malformed or too long.
    pub fn parse(pattern: &str) -> Result<Self, WildcardError> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(WildcardError::TooLong);
        }
        let chunks = chunks(pattern.as_bytes());
        let malformed = || WildcardError::Malformed { pattern: pattern.to_owned() };
        chunks.map(|chunks| Self { chunks }).ok_or_else(malformed)
    }

    /// Tells whether a path matches.
    ///
    /// Costs at most the product of the lengths: what the chunks so far have matched is never tried again, because a
    /// later star can take up whatever an earlier one could.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut rest = path;
        for (index, chunk) in self.chunks.iter().enumerate() {
            let is_last = index + 1 == self.chunks.len();
            if chunk.star && chunk.items.is_empty() {
                return !rest.contains(&b'/');
            }
            match chunk.find(rest, is_last) {
                Some(tail) => rest = tail,
                None => return false,
            }
        }
        rest.is_empty()
    }
}

impl Chunk {
    /// Finds the first place where the chunk matches, and returns what follows.
    fn find<'p>(&self, path: &'p [u8], is_last: bool) -> Option<&'p [u8]> {
        let accepted = |tail: &&[u8]| !is_last || tail.is_empty();
        if let Some(tail) = self.matches_at(path).filter(accepted) {
            return Some(tail);
        }
        let skippable = if self.star { path.iter().take_while(|byte| **byte != b'/').count() } else { 0 };
        (1..=skippable).find_map(|skip| self.matches_at(&path[skip..]).filter(accepted))
    }

    fn matches_at<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let mut rest = path;
        for item in &self.items {
            rest = match item {
                Item::Byte(byte) => rest.strip_prefix(std::slice::from_ref(byte))?,
                Item::Any => decode(rest).filter(|(char, _)| *char != '/')?.1,
                Item::Set(set) => decode(rest).filter(|(char, _)| set.contains(*char))?.1,
            };
        }
        Some(rest)
    }
}

/// Takes the first character off. A byte that is not part of one is a replacement character.
fn decode(bytes: &[u8]) -> Option<(char, &[u8])> {
    let head = &bytes[..bytes.len().min(4)];
    let char = head.utf8_chunks().next()?.valid().chars().next();
    let (char, length) = char.map_or((char::REPLACEMENT_CHARACTER, 1), |char| (char, char.len_utf8()));
    Some((char, &bytes[length..]))
}

/// Splits a pattern at its stars; nothing if it is malformed.
fn chunks(pattern: &[u8]) -> Option<Vec<Chunk>> {
    let mut chunks = Vec::new();
    let mut chunk = Chunk::default();
    let mut rest = pattern;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'*' => {
                if chunk.star || !chunk.items.is_empty() {
                    chunks.push(std::mem::take(&mut chunk));
                }
                rest = &tail[tail.iter().take_while(|byte| **byte == b'*').count()..];
                chunk.star = true;
            }
            b'?' => chunk.items.push(Item::Any),
            b'[' => {
                let (set, tail) = set(tail)?;
                rest = tail;
                chunk.items.push(Item::Set(set));
            }
            b'\\' => {
                let (byte, tail) = tail.split_first()?;
                rest = tail;
                chunk.items.push(Item::Byte(*byte));
            }
            byte => chunk.items.push(Item::Byte(*byte)),
        }
    }
    if chunk.star || !chunk.items.is_empty() {
        chunks.push(chunk);
    }
    Some(chunks)
}

/// A set of characters: `[a-z]` or `[^a-z]`. It may contain `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    negated: bool,
    /// First and last character of each range. A range that goes backwards is empty.
    ranges: Vec<(char, char)>,
}

impl Set {
    fn contains(&self, char: char) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&char)) != self.negated
    }

    /// Returns the regular expression of the set. A range that goes backwards makes it malformed.
    pub(crate) fn to_regex(&self) -> String {
        let range = |(first, last): &(char, char)| {
            format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(*first), u32::from(*last))
        };
        let ranges: String = self.ranges.iter().map(range).collect();
        format!("[{}{ranges}]", if self.negated { "^" } else { "" })
    }
}

/// Reads a set after its `[`; returns it and what follows its `]`.
pub(crate) fn set(pattern: &[u8]) -> Option<(Set, &[u8])> {
    let negated = pattern.starts_with(b"^");
    let mut rest = &pattern[usize::from(negated)..];
    let mut ranges = Vec::new();
    loop {
        if let Some(tail) = rest.strip_prefix(b"]")
            && !ranges.is_empty()
        {
            return Some((Set { negated, ranges }, tail));
        }
        let (first, tail) = set_member(rest)?;
        let (last, tail) = match tail.strip_prefix(b"-") {
            Some(tail) => set_member(tail)?,
            None => (first, tail),
        };
        ranges.push((first, last));
        rest = tail;
    }
}

/// Reads a character of a set. It is never the last of the pattern.
fn set_member(pattern: &[u8]) -> Option<(char, &[u8])> {
    let pattern = match pattern.first()? {
        b'-' | b']' => return None,
        b'\\' => &pattern[1..],
        _ => pattern,
    };
    let head = &pattern[..pattern.len().min(4)];
    let char = head.utf8_chunks().next()?.valid().chars().next()?;
    Some((char, &pattern[char.len_utf8()..])).filter(|(_, tail)| !tail.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_as_a_whole() {
        let rows: &[(&str, &str, bool)] = &[
            ("abc", "abc", true),
            ("abc", "ab", false),
            ("abc", "abcd", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("*", "a/b", false),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "a/b", true),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d", "axbxcxdxd", true),
            ("a*b*c*d", "axbxcxdxe", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("**", "ab", true),
            ("**", "a/b", false),
            ("a/**/b", "a/x/b", true),
            ("a/**/b", "a/b", false),
            ("?", "a", true),
            ("?", "é", true),
            ("?", "/", false),
            ("??", "é", false),
            ("*?", "é", true),
            ("a?b", "a/b", false),
            ("[abc]", "b", true),
            ("[a-c]", "b", true),
            ("[a-c]", "d", false),
            ("[^a-c]", "d", true),
            ("[^a-c]", "b", false),
            ("[^a]", "/", true),
            ("[!a]", "!", true),
            ("[a-cx-z]*", "yes", true),
            ("[z-a]", "m", false),
            ("[é-ü]", "ö", true),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[a\\-c]", "b", false),
            ("]]", "]]", true),
            ("[*]", "*", true),
            ("[?]", "x", false),
            ("a[/]b", "a/b", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\b", "ab", true),
            ("a\\\\b", "a\\b", true),
            ("{a,b}", "a", false),
            ("*.go", "main.go", true),
            ("*.go", ".go", true),
            ("src/*.go", "src/main.go", true),
            ("src/*.go", "src/a/main.go", false),
        ];
        for (pattern, path, expected) in rows {
            let wildcard = Wildcard::parse(pattern).expect("the rows are valid");
            assert_eq!(wildcard.matches(path.as_bytes()), *expected, "{pattern} {path}");
        }
    }

    #[test]
    fn paths_need_not_be_utf8() {
        let rows: &[(&str, &[u8], bool)] = &[
            ("?", b"\xff", true),
            ("?", b"\xff\xfe", false),
            ("??", b"\xff\xfe", true),
            ("??", b"\xe2\x82", true),
            ("*.o", b"\xff.o", true),
            ("[^a]", b"\xff", true),
            ("[a-z]", b"\xff", false),
            ("\u{fffd}", b"\xff", false),
        ];
        for (pattern, path, expected) in rows {
            let wildcard = Wildcard::parse(pattern).expect("the rows are valid");
            assert_eq!(wildcard.matches(path), *expected, "{pattern} {}", path.escape_ascii());
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for pattern in
            ["[", "[]", "[]a]", "[a", "[a-", "[a-]", "[-a]", "[^]", "[^", "a\\", "[\\", "x*y[", "[a-\\"]
        {
            let expected = WildcardError::Malformed { pattern: pattern.to_owned() };
            assert_eq!(Wildcard::parse(pattern), Err(expected), "{pattern}");
        }
        assert_eq!(Wildcard::parse(&"a".repeat(MAX_PATTERN_BYTES + 1)), Err(WildcardError::TooLong));
        assert!(Wildcard::parse(&"a".repeat(MAX_PATTERN_BYTES)).is_ok());
    }

    #[test]
    fn wildcards_are_recognised() {
        let rows = [
            ("a/b", false),
            ("", false),
            ("*", true),
            ("a?", true),
            ("a[b", true),
            ("a]", false),
            ("a\\*b", false),
            ("a\\\\*", true),
            ("a\\", false),
            ("\\[a]*", true),
        ];
        for (path, expected) in rows {
            assert_eq!(has_wildcard(path), expected, "{path}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_their_product() {
        // With one try per way to cut the path, this would outlast the universe.
        let wildcard = Wildcard::parse(&"*a".repeat(1000)).expect("the pattern is valid");
        assert!(!wildcard.matches(format!("{}b", "a".repeat(4000)).as_bytes()));
    }
}
