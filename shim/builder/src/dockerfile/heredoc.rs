use super::expand::lex_words;

/// A word that starts a heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeredocWord {
    pub(super) name: String,
    pub(super) expand: bool,
    pub(super) strip_tabs: bool,
}

/// Finds the heredocs that a line starts. Words are those of a shell; its escape character is always `\`.
pub(super) fn in_line(line: &str) -> Vec<HeredocWord> {
    if !line.contains("<<") {
        return Vec::new();
    }
    // A line that is no sequence of shell words has no heredocs; what is wrong with it is for others to say.
    let words = lex_words(line, super::expand::Words::Verbatim).unwrap_or_default();
    words.iter().filter_map(|word| word_of(word)).collect()
}

/// Reads a word as the start of a heredoc: digits, `<<` or `<<-`, blanks, and a delimiter without `<`.
pub(super) fn word_of(word: &str) -> Option<HeredocWord> {
    let (descriptor, rest) = word.split_once("<<")?;
    if !descriptor.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let strip_tabs = rest.starts_with('-');
    let delimiter =
        rest.strip_prefix('-').unwrap_or(rest).trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']);
    if delimiter.is_empty() || delimiter.contains('<') {
        return None;
    }
    let [name] = <[String; 1]>::try_from(lex_words(delimiter, super::expand::Words::Unquoted).ok()?).ok()?;
    let [raw] = <[String; 1]>::try_from(lex_words(delimiter, super::expand::Words::Quoted).ok()?).ok()?;
    // If any quotes went away, a part of the delimiter was quoted.
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expand = quotes(&name) == quotes(&raw);
    Some(HeredocWord { name, expand, strip_tabs })
}
