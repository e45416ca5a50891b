//! `.dockerignore`: which paths of a build context are left out.
//!
//! The rules are those of moby's `patternmatcher` and `ignorefile`, which are not those of git: a pattern is anchored
//! at the root of the context, what matches a directory matches all below it, the last pattern that matches decides,
//! and `!` takes back in also below a directory that is left out.
//!
//! A pattern is a path in which `*` is any text without `/`, `?` any character but `/`, `[a-z]` and `[^a-z]` a
//! character of a set, `**` any number of directories, and `\` protects the character behind it.
//!
//! Paths are bytes, relative to the root, with `/` between names: names on Linux need not be UTF-8. A byte that is
//! not part of a character counts as one character, which only a wildcard matches.

mod path;
mod pattern;
#[cfg(test)]
mod tests;

use pattern::Pattern;

/// Largest ignore file, in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Most patterns. Each is tried on each path.
pub const MAX_PATTERNS: usize = 4096;

/// Longest pattern, in bytes: Linux has no longer paths.
pub const MAX_PATTERN_BYTES: usize = 4096;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The patterns of an ignore file, ready to be matched.
#[derive(Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// What is known of a directory: whether it is left out, and which patterns match it or a directory above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    excluded: bool,
    /// For each pattern, whether it matches; empty for the root, which nothing matches.
    matched: Vec<bool>,
}

impl Verdict {
    /// The verdict on the root of the context, which is never left out: where a walk begins.
    pub const ROOT: Self = Self { excluded: false, matched: Vec::new() };

    /// Tells whether the path is left out.
    #[must_use]
    pub const fn is_excluded(&self) -> bool {
        self.excluded
    }
}

impl Ignore {
    /// Parses an ignore file.
    ///
    /// A line is a pattern, unless it is blank or has `#` in its first column. White space around a pattern and a `/`
    /// before it are dropped, and the path is cleaned (`a//b/../c` is `a/c`).
    ///
    /// # Errors
    /// A pattern is malformed, or a limit is exceeded.
    pub fn parse(text: &[u8]) -> Result<Self, PatternError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(PatternError { line: None, fault: PatternFault::FileTooLarge });
        }
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let mut ignore = Self::default();
        for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
            if line.starts_with(b"#") {
                continue;
            }
            let added = path::normalised(line).map_or(Ok(()), |pattern| ignore.add(&pattern));
            added.map_err(|fault| PatternError { line: Some(number), fault })?;
        }
        Ok(ignore)
    }

    /// Takes patterns from elsewhere, such as `COPY --exclude`. Unlike in a file, a leading `/` counts: such a
    /// pattern matches nothing.
    ///
    /// # Errors
    /// A pattern is malformed, or a limit is exceeded.
    pub fn from_patterns<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, PatternError> {
        let mut ignore = Self::default();
        for pattern in patterns {
            ignore.add(pattern.as_bytes()).map_err(|fault| PatternError { line: None, fault })?;
        }
        Ok(ignore)
    }

    /// Tells whether there are no patterns, so that nothing is left out.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Tells whether any pattern takes paths back in (`!`).
    #[must_use]
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.is_exception)
    }

    /// Returns the verdict on a path, given the verdict on its directory ([`Verdict::ROOT`] at the top).
    ///
    /// Each pattern is tried on the path itself only; what matched above is taken from the parent. So the cost of a
    /// walk is linear in the number of paths, however deep they lie.
    #[must_use]
    pub fn matches(&self, path: &[u8], parent: &Verdict) -> Verdict {
        let mut matched = vec![false; self.patterns.len()];
        let excluded = self.decide(path, parent, |index| matched[index] = true);
        Verdict { excluded, matched }
    }

    /// Tells whether a path that is not a directory is left out: as [`matches`](Self::matches), with nothing to pass
    /// on.
    #[must_use]
    pub fn excludes(&self, path: &[u8], parent: &Verdict) -> bool {
        self.decide(path, parent, |_| ())
    }

    /// Tells whether a path is left out, without a walk that led to it.
    #[must_use]
    pub fn excludes_path(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
        let parent = ends.fold(Verdict::ROOT, |parent, end| self.matches(&path[..end], &parent));
        self.excludes(path, &parent)
    }

    /// Tells whether a path below a directory that is left out may be taken back in. If not, the walk need not enter
    /// the directory.
    #[must_use]
    pub fn may_include_below(&self, directory: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| pattern.is_exception && pattern.may_match_below(directory))
    }

    fn decide(&self, path: &[u8], parent: &Verdict, mut note: impl FnMut(usize)) -> bool {
        let mut excluded = false;
        for (index, pattern) in self.patterns.iter().enumerate() {
            let inherited = parent.matched.get(index).copied().unwrap_or_default();
            // A pattern that cannot change the verdict is not tried, and does not count as matching for what lies
            // below: the reference implementation's results depend on it.
            let matters = pattern.is_exception == excluded;
            if inherited || matters && pattern.matches(path) {
                note(index);
                excluded = !pattern.is_exception;
            }
        }
        excluded
    }

    fn add(&mut self, text: &[u8]) -> Result<(), PatternFault> {
        let Some(pattern) = Pattern::parse(text)? else { return Ok(()) };
        if self.patterns.len() == MAX_PATTERNS {
            return Err(PatternFault::TooMany);
        }
        self.patterns.push(pattern);
        Ok(())
    }
}

/// Says which pattern cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{fault}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct PatternError {
    /// The line of the pattern, from 1, if it stands in a file.
    pub line: Option<u32>,
    /// What is wrong.
    pub fault: PatternFault,
}

/// Says why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// It is malformed: a set that is not closed or empty, a range that goes backwards, or a `\` at the end.
    #[error("the pattern {pattern} is malformed")]
    Malformed {
        /// The pattern.
        pattern: String,
    },
    /// It is a lone `!`.
    #[error("the pattern ! takes nothing back in")]
    LoneException,
    /// It is longer than [`MAX_PATTERN_BYTES`].
    #[error("the pattern is longer than {MAX_PATTERN_BYTES} bytes")]
    TooLong,
    /// It is one more than [`MAX_PATTERNS`].
    #[error("there are more than {MAX_PATTERNS} patterns")]
    TooMany,
    /// The file is larger than [`MAX_FILE_BYTES`].
    #[error("the file is larger than {MAX_FILE_BYTES} bytes")]
    FileTooLarge,
}
