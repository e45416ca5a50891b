/// Edits between two words that still count as a slip of the fingers.
const MAX_DISTANCE: usize = 2;

/// Longest word that is compared. Nothing in the language has a longer name, and the comparison is quadratic.
const MAX_WORD_CHARS: usize = 64;

/// Returns the option closest to a word, if one is at most [`MAX_DISTANCE`] edits away; the first of equals.
///
/// Returns nothing when the word is one of the options: then something else is wrong.
pub(super) fn closest<'o>(word: &str, options: &[&'o str]) -> Option<&'o str> {
    if word.chars().count() > MAX_WORD_CHARS || options.contains(&word) {
        return None;
    }
    let scored = options.iter().map(|option| (distance(word, option), *option));
    scored
        .min_by_key(|(edits, _)| *edits)
        .filter(|(edits, _)| *edits <= MAX_DISTANCE)
        .map(|(_, option)| option)
}

/// Counts the insertions, deletions and replacements of a character, and the exchanges of two neighbours, that turn
/// one word into another.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    // edits[i][j]: from the first i characters of one to the first j of the other.
    let mut edits = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            edits[i][j] = match (i, j) {
                (i, 0) => i,
                (0, j) => j,
                (i, j) => {
                    let replaced = edits[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                    replaced.min(edits[i - 1][j] + 1).min(edits[i][j - 1] + 1)
                }
            };
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                edits[i][j] = edits[i][j].min(edits[i - 2][j - 2] + 1);
            }
        }
    }
    edits[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_close_words_are_suggested() {
        let options = ["from", "chown", "chmod", "link"];
        let rows: &[(&str, Option<&str>)] = &[
            ("form", Some("from")),
            ("chwon", Some("chown")),
            ("chmd", Some("chmod")),
            ("lnk", Some("link")),
            ("linkkk", Some("link")),
            ("linkkkk", None),
            ("parents", None),
            ("", None),
            ("from", None),
        ];
        for (word, expected) in rows {
            assert_eq!(closest(word, &options), *expected, "{word}");
        }
        assert_eq!(closest(&"f".repeat(MAX_WORD_CHARS + 1), &options), None);
    }

    #[test]
    fn distance_counts_edits() {
        let rows = [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("ab", "ba", 1), ("rnu", "run", 1)];
        for (from, to, edits) in rows {
            assert_eq!(distance(from, to), edits, "{from} {to}");
        }
    }
}
