//! Lines and paths as bytes.

/// Makes the pattern of a line: white space trimmed, the path cleaned and relative. Nothing if the line is blank.
pub(super) fn normalised(line: &[u8]) -> Option<Vec<u8>> {
    let line = trim(line);
    let (mark, path): (&[u8], _) = match line.strip_prefix(b"!") {
        Some(path) => (b"!", trim(path)),
        None => (b"", line),
    };
    if line.is_empty() {
        return None;
    }
    let path = if path.is_empty() { Vec::new() } else { clean(path) };
    let relative = path.strip_prefix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(&path);
    Some([mark, relative].concat())
}

/// Cuts white space off both ends: Unicode's, or ASCII's if the bytes are not UTF-8.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.trim_ascii(), |text| text.trim().as_bytes())
}

/// Returns the shortest path that says the same, by its text alone: no empty names, no `.`, no `..` but at the
/// beginning of a relative path. The empty path is `.`.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.last().is_some_and(|last| *last != b"..") => {
                names.pop();
            }
            b".." if rooted => {}
            name => names.push(name),
        }
    }
    let joined = names.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", &joined[..]].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        let rows: &[(&str, &str)] = &[
            ("a", "a"),
            ("", "."),
            (".", "."),
            ("./", "."),
            ("/", "/"),
            ("//", "/"),
            ("a//b/", "a/b"),
            ("./a/./b", "a/b"),
            ("a/../b", "b"),
            ("a/..", "."),
            ("../a", "../a"),
            ("../../a/..", "../.."),
            ("/../a", "/a"),
            ("/..", "/"),
            ("a/b/../../../c", "../c"),
        ];
        for (path, expected) in rows {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn lines_become_patterns() {
        let rows: &[(&[u8], Option<&[u8]>)] = &[
            (b" a ", Some(b"a")),
            (b"\t", None),
            (b"", None),
            (b"/a/b/", Some(b"a/b")),
            (b"/", Some(b"/")),
            (b"! /a", Some(b"!a")),
            (b"!", Some(b"!")),
            (b"!./a", Some(b"!a")),
            (b"./!a", Some(b"!a")),
            (b"a\r", Some(b"a")),
            ("\u{a0}a\u{2003}".as_bytes(), Some(b"a")),
            (b" \xff ", Some(b"\xff")),
        ];
        for (line, expected) in rows {
            assert_eq!(normalised(line).as_deref(), *expected, "{}", line.escape_ascii());
        }
    }
}
