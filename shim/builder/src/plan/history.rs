//! The texts of history entries, as BuildKit writes them.

use cachestore::oci::config::History;

use super::State;
use super::args::Variables;

/// What BuildKit's Dockerfile front end writes as the comment of its entries.
const COMMENT: &str = "buildkit.dockerfile.v0";

impl State {
    /// Adds an entry; its time is filled in when the layers are there.
    pub(super) fn commit(&mut self, created_by: String, makes_layer: bool) {
        self.image.history.push(History {
            created_by,
            comment: COMMENT.into(),
            empty_layer: !makes_layer,
            ..History::default()
        });
    }
}

/// The command line of a `RUN`, behind the arguments that it sees: `|1 A=1 /bin/sh -c …`.
pub(super) fn run(args: &[String], declared: &[(String, Option<String>)], env: &Variables) -> String {
    let mut seen: Vec<(&str, String)> = Vec::new();
    for (name, value) in declared {
        let value = env.get(name).or(value.as_deref()).unwrap_or_default();
        let pair = format!("{name}={value}");
        match seen.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = pair,
            None => seen.push((name, pair)),
        }
    }
    let count = (!seen.is_empty()).then(|| format!("|{}", seen.len()));
    let words = count.into_iter().chain(seen.into_iter().map(|(_, pair)| pair)).chain(args.iter().cloned());
    words.collect::<Vec<_>>().join(" ")
}

/// A list as Go prints it with `%v`.
pub(super) fn plain_list<S: AsRef<str>>(items: &[S]) -> String {
    let items: Vec<_> = items.iter().map(AsRef::as_ref).collect();
    format!("[{}]", items.join(" "))
}

/// A list as Go prints it with `%q`.
pub(super) fn quoted_list(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(" "))
}

/// A text as Go quotes it (`strconv.Quote`).
fn quoted(text: &str) -> String {
    let mut output = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => output.extend(['\\', character]),
            '\u{7}' => output.push_str("\\a"),
            '\u{8}' => output.push_str("\\b"),
            '\u{c}' => output.push_str("\\f"),
            '\n' => output.push_str("\\n"),
            '\r' => output.push_str("\\r"),
            '\t' => output.push_str("\\t"),
            '\u{b}' => output.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => output.push_str(&format!("\\x{:02x}", c as u32)),
            c if !is_printable(c) && (c as u32) < 0x1_0000 => {
                output.push_str(&format!("\\u{:04x}", c as u32))
            }
            c if !is_printable(c) => output.push_str(&format!("\\U{:08x}", c as u32)),
            c => output.push(c),
        }
    }
    output.push('"');
    output
}

/// Go prints letters, marks, numbers, punctuation, symbols and the ASCII space. Blanks and controls are what else there
/// is in texts that people write.
fn is_printable(character: char) -> bool {
    character == ' '
        || !(character.is_control()
            || character.is_whitespace()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_gos() {
        let list = |items: &[&str]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (items, expected) in [
            (&["/usr/local/bin/hello"][..], r#"["/usr/local/bin/hello"]"#),
            (&["sh", "-c", "echo \"a\"\t\\"], r#"["sh" "-c" "echo \"a\"\t\\"]"#),
            (&["é\u{a0}\u{1}\u{1f600}\u{7f}"], "[\"é\\u00a0\\x01\u{1f600}\\x7f\"]"),
            (&[], "[]"),
        ] {
            assert_eq!(quoted_list(&list(items)), expected);
        }
        assert_eq!(plain_list(&["/a", "/b"]), "[/a /b]");
    }

    #[test]
    fn arguments_come_before_the_command() {
        let args = ["/bin/sh".to_owned(), "-c".to_owned(), "true".to_owned()];
        let mut env = Variables::default();
        env.set("A", "from env");
        let declared =
            [("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), None), ("A".to_owned(), None)];
        assert_eq!(run(&args, &[], &env), "/bin/sh -c true");
        assert_eq!(run(&args, &declared, &env), "|2 A=from env B= /bin/sh -c true");
    }
}
