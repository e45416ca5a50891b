//! What is too large is refused, and the largest that is not too large is parsed.

use super::*;

#[test]
fn files_are_limited() {
    let padded = |size: usize| {
        let mut text = b"FROM a\n".to_vec();
        text.resize(size, b'\n');
        error_of(&text)
    };
    assert_eq!(padded(MAX_FILE_BYTES), None);
    assert_eq!(
        padded(MAX_FILE_BYTES + 1).as_deref(),
        Some("line 1: the Dockerfile is larger than 1048576 bytes")
    );
}

#[test]
fn lines_are_limited() {
    let prefix = "FROM a\nRUN ";
    let with = |length: usize| error_of(format!("{prefix}{}\n", "x".repeat(length - 4)).as_bytes());
    assert_eq!(with(MAX_LINE_BYTES), None);
    let expected = Some("line 2: the line is longer than 65535 bytes");
    assert_eq!(with(MAX_LINE_BYTES + 1).as_deref(), expected);
    let comment = format!("FROM a\n#{}", "x".repeat(MAX_LINE_BYTES));
    assert_eq!(error_of(comment.as_bytes()).as_deref(), expected);
    // Lines that are joined may be longer together.
    let joined = format!("FROM a\nRUN {x}\\\n{x}\\\n{x}", x = "x".repeat(MAX_LINE_BYTES - 10));
    assert_eq!(error_of(joined.as_bytes()), None);
}

#[test]
fn instructions_are_limited() {
    let with = |count: usize| error_of(format!("FROM a\n{}", "USER b\n".repeat(count - 1)).as_bytes());
    assert_eq!(with(MAX_INSTRUCTIONS), None);
    let expected = "line 4097: the Dockerfile has more than 4096 instructions";
    assert_eq!(with(MAX_INSTRUCTIONS + 1).as_deref(), Some(expected));
}

#[test]
fn heredocs_are_limited() {
    let with = |count: usize| {
        error_of(format!("FROM a\nRUN x{}\n{}", " <<E".repeat(count), "E\n".repeat(count)).as_bytes())
    };
    assert_eq!(with(MAX_HEREDOCS), None);
    let expected = "line 2: the instruction has more than 64 heredocs";
    assert_eq!(with(MAX_HEREDOCS + 1).as_deref(), Some(expected));
}

#[test]
fn triggers_do_not_nest() {
    let text = format!("FROM a\n{}RUN x", "ONBUILD ".repeat(8000));
    assert_eq!(error_of(text.as_bytes()).as_deref(), Some("line 2: ONBUILD ONBUILD is not allowed"));
}

#[test]
fn only_comments_need_not_be_utf8() {
    let rows: &[(&[u8], Option<&str>)] = &[
        (b"# M\xfcller\nFROM a\n", None),
        (b"FROM a\nRUN x \\\n # M\xfcller\n y", None),
        (b"# nul \0\nFROM a\n", None),
        (b"FROM a\nLABEL x=M\xfcller\n", Some("line 2: the line is not UTF-8")),
        (b"FROM a\nRUN x \\\n M\xfcller\n y", Some("line 3: the line is not UTF-8")),
        (b"FROM a\nRUN <<E\n\xfc\nE\n", Some("line 3: the line is not UTF-8")),
        (b"FROM a\nRUN x \0\n", Some("line 2: the line has a NUL byte")),
    ];
    for (text, expected) in rows {
        assert_eq!(error_of(text).as_deref(), *expected, "{}", text.escape_ascii());
    }
}

#[test]
fn files_without_instructions_are_refused() {
    let rows: &[(&str, &str)] = &[
        ("", "line 1: the Dockerfile has no instructions"),
        ("\n# only\n\n", "line 3: the Dockerfile has no instructions"),
        ("ARG a\nARG b", "line 2: the Dockerfile has no FROM"),
    ];
    for (text, expected) in rows {
        assert_eq!(error_of(text.as_bytes()).as_deref(), Some(*expected), "{text:?}");
    }
}
