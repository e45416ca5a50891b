//! Text from elsewhere, made fit for a terminal, a column or a shell.

use std::borrow::Cow;

/// Replaces what a terminal would act on, apart from line ends and tabs.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(acts) { text.replace(acts, "\u{fffd}").into() } else { text.into() }
}

/// Makes one line of a text: everything that is not to be seen becomes a blank.
pub(crate) fn single_line(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) { text.replace(char::is_control, " ").into() } else { text.into() }
}

/// Returns how many columns a text without control characters takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { console::measure_text_width(text) }
}

/// Cuts a text where it would take more columns than these.
pub(crate) fn fit(text: &str, columns: usize) -> &str {
    // No character has more columns than bytes.
    if text.len() <= columns {
        return text;
    }
    let mut used = 0;
    let mut buffer = [0; 4];
    for (at, c) in text.char_indices() {
        used += width(c.encode_utf8(&mut buffer));
        if used > columns {
            return &text[..at];
        }
    }
    text
}

/// Shortens a text to so many characters, the last of which then is an ellipsis, as docker does.
pub(crate) fn ellipsis(text: &str, characters: usize) -> Cow<'_, str> {
    if text.chars().count() <= characters {
        return text.into();
    }
    let mut short: String = text.chars().take(characters.saturating_sub(1)).collect();
    short.push('…');
    short.into()
}

/// Writes a word so that a POSIX shell reads it as it is.
pub(crate) fn shell_word(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { shell_quoted(word).into() }
}

/// Writes a word in single quotes for a POSIX shell.
pub(crate) fn shell_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Writes a word in single quotes for fish, where a backslash has a meaning in them.
pub(crate) fn fish_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters() {
        assert_eq!(printable("a\x1b[31mb\n\tc\r"), "a\u{fffd}[31mb\n\tc\u{fffd}");
        assert_eq!(printable("as it is"), "as it is");
        assert_eq!(single_line("RUN a\tb\nc\u{85}"), "RUN a b c ");
    }

    #[test]
    fn widths() {
        let rows = [
            ("abc", 2, "ab"),
            ("abc", 3, "abc"),
            ("日本", 3, "日"),
            ("日本", 4, "日本"),
            ("é", 1, "é"),
            ("x", 0, ""),
        ];
        for (text, columns, expected) in rows {
            assert_eq!(fit(text, columns), expected, "{text} {columns}");
        }
        assert_eq!(width("日本"), 4);
        assert_eq!(width("naïve"), 5);
    }

    #[test]
    fn ellipses_count() {
        assert_eq!(ellipsis("abcdef", 6), "abcdef");
        assert_eq!(ellipsis("abcdefg", 6), "abcde…");
        assert_eq!(ellipsis("日本語日本", 3), "日本…");
    }

    #[test]
    fn quoting() {
        assert_eq!(shell_word("/srv/two-1.0"), "/srv/two-1.0");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(fish_quoted(r"it's \ here"), r"'it\'s \\ here'");
    }
}
