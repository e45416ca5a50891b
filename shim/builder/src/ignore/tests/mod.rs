mod rows;

use std::collections::BTreeSet;

use super::*;

fn ignore(text: &str) -> Ignore {
    Ignore::parse(text.as_bytes()).expect("the pattern is valid")
}

#[test]
fn malformed_patterns_are_refused() {
    let malformed = |pattern: &str| PatternFault::Malformed { pattern: pattern.to_owned() };
    let rows: Vec<(&[u8], u32, PatternFault)> = vec![
        (b"a\n[", 2, malformed("[")),
        (b"[]", 1, malformed("[]")),
        (b"[]a]", 1, malformed("[]a]")),
        (b"a/[a-]", 1, malformed("a/[a-]")),
        (b"[-a]", 1, malformed("[-a]")),
        (b"a*b[", 1, malformed("a*b[")),
        (b"[z-a]", 1, malformed("[z-a]")),
        (b"a\\", 1, malformed("a\\")),
        (b"[\xff]", 1, malformed("[\u{fffd}]")),
        (b"!", 1, PatternFault::LoneException),
        (b"a\n\n! \t", 3, PatternFault::LoneException),
        (b"!/", 1, PatternFault::LoneException),
    ];
    for (text, line, fault) in rows {
        let expected = PatternError { line: Some(line), fault };
        assert_eq!(Ignore::parse(text).err(), Some(expected), "{}", text.escape_ascii());
    }
    let error = Ignore::parse(b"a\n[").err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("line 2: the pattern [ is malformed"));
    let error = Ignore::from_patterns(["a", "["]).err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("the pattern [ is malformed"));
}

#[test]
fn files_and_patterns_are_limited() {
    let long = |length: usize| Ignore::parse("a".repeat(length).as_bytes()).err().map(|error| error.fault);
    assert_eq!(long(MAX_PATTERN_BYTES), None);
    assert_eq!(long(MAX_PATTERN_BYTES + 1), Some(PatternFault::TooLong));
    let many = |count: usize| Ignore::parse("a\n".repeat(count).as_bytes()).err().map(|error| error.fault);
    assert_eq!(many(MAX_PATTERNS), None);
    assert_eq!(many(MAX_PATTERNS + 1), Some(PatternFault::TooMany));
    let large = |size: usize| Ignore::parse("\n".repeat(size).as_bytes()).err().map(|error| error.fault);
    assert_eq!(large(MAX_FILE_BYTES), None);
    assert_eq!(large(MAX_FILE_BYTES + 1), Some(PatternFault::FileTooLarge));
}

#[test]
fn paths_need_not_be_utf8() {
    let rows: &[(&[u8], &[u8], bool)] = &[
        (b"*.o", b"\xff.o", true),
        (b"?", b"\xff", true),
        (b"?", b"\xff\xfe", false),
        (b"??", b"\xff\xfe", true),
        // The first two bytes of a character of three are two, each for itself.
        (b"??", b"\xe2\x82", true),
        (b"a\xff", b"a\xff", true),
        (b"a\xff", b"a\xfe", false),
        (b"**/\xff", b"x/\xff", true),
        (b"\xff/**", b"\xff/x", true),
        (b"[a-z]", b"\xff", false),
        (b"[^a]", b"\xff", true),
    ];
    for (text, path, expected) in rows {
        let ignore = Ignore::parse(text).expect("the rows are valid");
        assert_eq!(ignore.excludes_path(path), *expected, "{} {}", text.escape_ascii(), path.escape_ascii());
    }
}

#[test]
fn patterns_from_flags_are_taken_as_they_are() {
    let rows: &[(&[&str], &str, bool)] = &[
        (&["a"], "a", true),
        (&["*.o", "!keep.o"], "x.o", true),
        (&["*.o", "!keep.o"], "keep.o", false),
        (&["#a"], "#a", true),
        (&["/a"], "a", false),
        (&["", " "], "a", false),
        (&[" a/b/ "], "a/b", true),
    ];
    for (patterns, path, expected) in rows {
        let ignore = Ignore::from_patterns(patterns.iter().copied()).expect("the rows are valid");
        assert_eq!(ignore.excludes_path(path.as_bytes()), *expected, "{patterns:?} {path}");
    }
}

#[test]
fn what_is_in_a_file_is_known() {
    let rows = [("", true, false), ("# a\n\n", true, false), ("a", false, false), ("a\n!b", false, true)];
    for (text, is_empty, has_exceptions) in rows {
        let ignore = ignore(text);
        assert_eq!((ignore.is_empty(), ignore.has_exceptions()), (is_empty, has_exceptions), "{text:?}");
    }
}

#[test]
fn directories_without_exceptions_below_need_no_walk() {
    let rows: &[(&str, &str, bool)] = &[
        ("*", "a", false),
        ("*\n!a", "a", false),
        ("*\n!a/b/c", "a", true),
        ("*\n!a/b/c", "a/b", true),
        ("*\n!a/b/c", "a/b/c", false),
        ("*\n!a/b/c", "a/x", false),
        ("*\n!a/b/c", "ab", false),
        ("*\n!a/**", "a", true),
        ("*\n!a/**", "b", false),
        ("*\n!a/*.md", "a", true),
        ("*\n!a/*.md", "b", false),
        ("*\n!a*/x", "abc", true),
        ("*\n!a*/x", "b", false),
        ("*\n!**/x", "b", true),
        ("*\n!**/*.md", "b/c", true),
        ("*\n!*/x", "b", true),
    ];
    for (text, directory, expected) in rows {
        assert_eq!(ignore(text).may_include_below(directory.as_bytes()), *expected, "{text:?} {directory}");
    }
}

const NAMES: [&str; 4] = ["a", "b", "ab", "x.md"];

/// Walks a tree in which each directory has [`NAMES`], three deep; returns what is not left out.
fn walk(ignore: &Ignore, pruned: bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![(String::new(), Verdict::ROOT, 0)];
    while let Some((directory, verdict, depth)) = waiting.pop() {
        for name in NAMES {
            let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            let own = ignore.matches(path.as_bytes(), &verdict);
            assert_eq!(own.is_excluded(), ignore.excludes(path.as_bytes(), &verdict), "{path}");
            assert_eq!(own.is_excluded(), ignore.excludes_path(path.as_bytes()), "{path}");
            if !own.is_excluded() {
                found.insert(path.clone());
            }
            let skipped = pruned && own.is_excluded() && !ignore.may_include_below(path.as_bytes());
            if depth < 2 && !skipped {
                waiting.push((path, own, depth + 1));
            }
        }
    }
    found
}

#[test]
fn leaving_directories_out_of_a_walk_changes_nothing() {
    const PARTS: [&str; 9] = ["a", "b", "ab", "*", "**", "*.md", "a*", "?", "[ab]"];
    let mut state: u32 = 1;
    let mut next = |limit: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(state >> 16).expect("16 bits") % limit
    };
    for _ in 0..300 {
        let lines: Vec<String> = (0..=next(4))
            .map(|_| {
                let parts: Vec<&str> = (0..=next(3)).map(|_| PARTS[next(PARTS.len())]).collect();
                format!("{}{}", ["", "!"][next(2)], parts.join("/"))
            })
            .collect();
        let ignore = ignore(&lines.join("\n"));
        assert_eq!(walk(&ignore, true), walk(&ignore, false), "{lines:?}");
    }
}
