//! How a logical line falls into instruction, flags and arguments.

use super::error::Fault;
use super::instruction::Pair;
use super::keyword::Keyword;

/// Blanks between words and before flags. The other white space of Unicode separates only the words of `ENV`,
/// `LABEL` and `ARG`.
const BLANKS: [char; 5] = ['\t', '\x0b', '\x0c', '\r', ' '];

/// A line's instruction as written, its flag words, and the text of its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split<'a> {
    pub(super) keyword: &'a str,
    pub(super) flags: Vec<String>,
    pub(super) arguments: &'a str,
}

/// Splits a logical line.
pub(super) fn split(line: &str, escape: char) -> Split<'_> {
    let line = line.trim();
    let (keyword, rest) = at_blanks(line).unwrap_or((line, ""));
    let (flags, arguments) = flags(rest, escape);
    Split { keyword, flags, arguments: arguments.trim() }
}

/// Splits a text at its first run of blanks.
fn at_blanks(text: &str) -> Option<(&str, &str)> {
    let (head, tail) = text.split_once(BLANKS)?;
    Some((head, tail.trim_start_matches(BLANKS)))
}

/// Takes the words that begin with `--` off the front; a word that is only `--` ends them. Quotes group and vanish,
/// the escape character protects any character.
fn flags(text: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start_matches(BLANKS);
    while rest.starts_with("--") {
        let (word, tail) = flag_word(rest, escape);
        if word == "--" {
            return (flags, tail);
        }
        flags.push(word);
        rest = tail.trim_start_matches(BLANKS);
    }
    (flags, rest)
}

/// Reads one word, without its quotes; returns it and what follows.
fn flag_word(text: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((index, char)) = chars.next() {
        if char == escape {
            word.extend(chars.next().map(|(_, escaped)| escaped));
        } else if quote == Some(char) {
            quote = None;
        } else if quote.is_none() && matches!(char, '\'' | '"') {
            quote = Some(char);
        } else if quote.is_none() && BLANKS.contains(&char) {
            return (word, &text[index..]);
        } else {
            word.push(char);
        }
    }
    (word, "")
}

/// An instruction's arguments, in the form that the instruction has them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arguments {
    /// A text; empty if there are none.
    Text(String),
    /// Words.
    Words(Vec<String>),
    /// The strings of a JSON array.
    Json(Vec<String>),
    /// `NAME VALUE` or `NAME=VALUE …`; empty if there are none.
    Pairs { pairs: Vec<Pair>, legacy: bool },
}

impl Arguments {
    /// Reads the arguments of an instruction. An unknown instruction has a text.
    pub(super) fn read(keyword: Option<Keyword>, text: &str, escape: char) -> Result<Self, Fault> {
        let Some(keyword) = keyword else { return Ok(Self::Text(text.to_owned())) };
        match keyword {
            Keyword::Add | Keyword::Copy | Keyword::Volume => {
                Ok(json(keyword, text)?.map_or_else(|| Self::Words(blank_words(text)), Self::Json))
            }
            Keyword::Cmd | Keyword::Entrypoint | Keyword::Run | Keyword::Shell => {
                Ok(json(keyword, text)?.map_or_else(|| Self::Text(text.to_owned()), Self::Json))
            }
            Keyword::Expose | Keyword::From => Ok(Self::Words(blank_words(text))),
            Keyword::Arg => Ok(Self::Words(shell_words(text, escape))),
            Keyword::Env | Keyword::Label => pairs(keyword, text, escape),
            Keyword::Healthcheck => {
                json(keyword, healthcheck(text).1)?;
                Ok(Self::Text(text.to_owned()))
            }
            Keyword::Onbuild => {
                let trigger = split(text, escape);
                // A second ONBUILD is refused later, whatever it says.
                let inner = Keyword::find(trigger.keyword).filter(|keyword| *keyword != Keyword::Onbuild);
                Self::read(inner, trigger.arguments, escape)?;
                Ok(Self::Text(text.to_owned()))
            }
            Keyword::Maintainer | Keyword::StopSignal | Keyword::User | Keyword::Workdir => {
                Ok(Self::Text(text.to_owned()))
            }
        }
    }

    pub(super) const fn is_json(&self) -> bool {
        matches!(self, Self::Json(_))
    }
}

/// Splits the arguments of `HEALTHCHECK` into its kind and the rest.
pub(super) fn healthcheck(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((kind, rest)) => (kind, rest.trim_start()),
        None => (text, ""),
    }
}

/// Reads a JSON array of strings. Text that is not a JSON array is none; an array with anything else in it is wrong.
pub(super) fn json(keyword: Keyword, text: &str) -> Result<Option<Vec<String>>, Fault> {
    if !text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text.trim_start()) else {
        return Ok(None);
    };
    let name = keyword.name();
    let string = |value| match value {
        serde_json::Value::String(text) if text.contains('\0') => {
            Err(Fault::new(format!("{name}: the JSON array has a NUL character")))
        }
        serde_json::Value::String(text) => Ok(text),
        other => {
            Err(Fault::new(format!("{name}: the JSON array may hold only strings, not {}", kind(&other))))
        }
    };
    values.into_iter().map(string).collect::<Result<_, _>>().map(Some)
}

const fn kind(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}

/// Splits a text at runs of blanks.
fn blank_words(text: &str) -> Vec<String> {
    text.split(BLANKS).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Splits a text at white space outside quotes. Quotes and escape characters stay in the words.
fn shell_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if quote.is_none() && char.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        if char == escape && quote != Some('\'') {
            // One at the very end protects nothing and is dropped.
            if let Some(escaped) = chars.next() {
                word.extend([char, escaped]);
            }
            continue;
        }
        if quote == Some(char) {
            quote = None;
        } else if quote.is_none() && matches!(char, '\'' | '"') {
            quote = Some(char);
        }
        word.push(char);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Reads `NAME=VALUE …`, or, if the first word has no `=`, the old `NAME VALUE` whose value is the rest of the line.
fn pairs(keyword: Keyword, text: &str, escape: char) -> Result<Arguments, Fault> {
    let name = keyword.name();
    let words = shell_words(text, escape);
    let legacy = words.first().is_some_and(|word| !word.contains('='));
    if legacy {
        let (key, value) = at_blanks(text)
            .ok_or_else(|| Fault::new(format!("{name} requires two arguments, or one with = in it")))?;
        let pair = Pair { name: key.to_owned(), value: value.to_owned() };
        return Ok(Arguments::Pairs { pairs: vec![pair], legacy });
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) => Ok(Pair { name: key.to_owned(), value: value.to_owned() }),
        None => {
            Err(Fault::new(format!("{name}: {word:?} has no =")).with_hint("quote a value that has blanks"))
        }
    };
    Ok(Arguments::Pairs { pairs: words.iter().map(pair).collect::<Result<_, _>>()?, legacy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_stand_before_the_arguments() {
        let rows: &[(&str, &str, &[&str], &str)] = &[
            ("COPY a b", "COPY", &[], "a b"),
            ("  copy\t --from=x   a  b ", "copy", &["--from=x"], "a  b"),
            ("RUN --a --b=c d --e", "RUN", &["--a", "--b=c"], "d --e"),
            ("RUN -- --a", "RUN", &[], "--a"),
            ("RUN --a --", "RUN", &["--a"], ""),
            ("RUN --a", "RUN", &["--a"], ""),
            ("RUN -a", "RUN", &[], "-a"),
            ("RUN -", "RUN", &[], "-"),
            (r#"RUN --m="a b",'c "d' x"#, "RUN", &[r#"--m=a b,c "d"#], "x"),
            (r"RUN --m=a\ b\\\'c x", "RUN", &[r"--m=a b\'c"], "x"),
            (r#"RUN --m="a\"b" x"#, "RUN", &[r#"--m=a"b"#], "x"),
            (r"RUN --m=a\", "RUN", &["--m=a"], ""),
            (r#"RUN --m="open x"#, "RUN", &["--m=open x"], ""),
            ("COPY --chown=ö:à a", "COPY", &["--chown=ö:à"], "a"),
            ("CMD \u{a0}--a b", "CMD", &[], "--a b"),
            ("CMD --a\u{a0}b c", "CMD", &["--a\u{a0}b"], "c"),
            ("RUN", "RUN", &[], ""),
            ("", "", &[], ""),
        ];
        for (line, keyword, flags, arguments) in rows {
            let actual = split(line, '\\');
            assert_eq!((actual.keyword, actual.arguments), (*keyword, *arguments), "{line}");
            assert_eq!(actual.flags, *flags, "{line}");
        }
        assert_eq!(split(r"COPY --from=C:\x` y a b", '`').flags, [r"--from=C:\x y"]);
    }

    #[test]
    fn shell_words_keep_their_quotes() {
        let rows: &[(&str, &[&str])] = &[
            ("a=b c", &["a=b", "c"]),
            ("  a\u{a0}b ", &["a", "b"]),
            (r#"a="b c" d='e f'"#, &[r#"a="b c""#, "d='e f'"]),
            (r#""" x"#, &[r#""""#, "x"]),
            (r"a\ b c", &[r"a\ b", "c"]),
            (r#"a\"b c"#, &[r#"a\"b"#, "c"]),
            (r#""a\" b" c"#, &[r#""a\" b""#, "c"]),
            (r"'a\' b", &[r"'a\'", "b"]),
            (r"a\", &["a"]),
            (r#""a b"#, &[r#""a b"#]),
            (r#""a\"#, &[r#""a"#]),
            ("", &[]),
        ];
        for (text, expected) in rows {
            assert_eq!(shell_words(text, '\\'), *expected, "{text}");
        }
    }

    #[test]
    fn json_is_an_array_of_strings_or_no_json() {
        let rows: &[(&str, Result<Option<&str>, ()>)] = &[
            (r#"["a", "b c"]"#, Ok(Some("a|b c"))),
            ("[]", Ok(Some(""))),
            (r#"["\u00e9\n\ud83d\ude00"]"#, Ok(Some("é\n😀"))),
            ("['a']", Ok(None)),
            ("[ -f x ] && y", Ok(None)),
            (r#"["a",]"#, Ok(None)),
            (r#"["a"] b"#, Ok(None)),
            (r#"{"a": 1}"#, Ok(None)),
            ("a", Ok(None)),
            ("", Ok(None)),
            (r#"["a", 1]"#, Err(())),
            ("[null]", Err(())),
            ("[[]]", Err(())),
            (r#"["\u0000"]"#, Err(())),
        ];
        for (text, expected) in rows {
            let actual = json(Keyword::Cmd, text).map_err(|_| ());
            let actual = actual.map(|list| list.map(|list| list.join("|")));
            assert_eq!(actual.as_ref().map(Option::as_deref), expected.as_ref().copied(), "{text}");
        }
    }
}
