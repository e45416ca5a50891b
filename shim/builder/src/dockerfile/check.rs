use super::directive::{first_word, name_and_value};
use super::error::Fault;
use super::{Location, Rule};

/// Most parts of a check configuration.
const MAX_OPTIONS: usize = 3;

/// Which rules the author has switched off: for the file (`# check=skip=…`), or for one instruction by the same
/// words in the comment right above it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Check {
    file: Options,
    instructions: Vec<(Location, Options)>,
}

impl Check {
    /// Reads the value of the file's `check` directive.
    pub(super) fn for_file(value: &str) -> Result<Self, Fault> {
        Ok(Self { file: Options::parse(value)?, instructions: Vec::new() })
    }

    /// Takes over what the comments above an instruction say. What cannot be read is only a comment.
    pub(super) fn add_instruction(&mut self, location: Location, comments: &[String]) {
        let values = comments.iter().filter_map(|comment| name_and_value(comment));
        let check = values.filter(|(name, _)| name == "check").map(|(_, value)| first_word(&value)).next();
        if let Some(Ok(options)) = check.map(|value| Options::parse(&value)) {
            self.instructions.push((location, options));
        }
    }

    /// Tells whether a rule is switched off for the instruction at a place.
    #[must_use]
    pub fn skips(&self, rule: Rule, location: Location) -> bool {
        let own =
            self.instructions.iter().filter(|(place, _)| *place == location).map(|(_, options)| options);
        own.chain([&self.file]).any(|options| options.skips(rule))
    }

    /// Tells whether a broken rule fails the build (`error=true`).
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.file.error
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Options {
    skip_all: bool,
    skip: Vec<String>,
    error: bool,
}

impl Options {
    /// Reads `skip=A,B;error=true`. `experimental=…` is accepted: there are no experimental rules here.
    fn parse(value: &str) -> Result<Self, Fault> {
        let mut options = Self::default();
        for part in value.splitn(MAX_OPTIONS, ';').filter(|_| !value.is_empty()) {
            let unknown = || Fault::new(format!("check has no option {part:?}"));
            let (key, value) = part.split_once('=').ok_or_else(unknown)?;
            match (key.trim(), value.trim()) {
                ("skip", "all") => options.skip_all = true,
                ("skip", rules) => {
                    options.skip = rules.split(',').map(|rule| rule.trim().to_owned()).collect()
                }
                ("experimental", _) => {}
                ("error", value) => {
                    options.error = boolean(value)
                        .ok_or_else(|| Fault::new(format!("check: error is true or false, not {value:?}")))?;
                }
                _ => return Err(unknown()),
            }
        }
        Ok(options)
    }

    fn skips(&self, rule: Rule) -> bool {
        self.skip_all || self.skip.iter().any(|name| name == rule.name())
    }
}

/// Reads a truth value in the spellings that the reference implementation (Go's `strconv.ParseBool`) takes.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Location = Location { first_line: 7, last_line: 9 };
    const THERE: Location = Location { first_line: 11, last_line: 11 };

    #[test]
    fn rules_are_skipped_by_name() {
        // value; skips UndefinedVar, skips StageNameCasing, is an error
        let rows: &[(&str, [bool; 3])] = &[
            ("", [false, false, false]),
            ("skip=all", [true, true, false]),
            ("skip=UndefinedVar", [true, false, false]),
            ("skip=undefinedvar", [false, false, false]),
            ("skip=StageNameCasing,UndefinedVar", [true, true, false]),
            ("skip= A , UndefinedVar ;error=1", [true, false, true]),
            ("error=true;skip=UndefinedVar;experimental=all", [true, false, true]),
            ("error=F", [false, false, false]),
        ];
        for (value, expected) in rows {
            let check = Check::for_file(value).expect("the rows are valid");
            let actual = [
                check.skips(Rule::UndefinedVar, HERE),
                check.skips(Rule::StageNameCasing, HERE),
                check.is_error(),
            ];
            assert_eq!(actual, *expected, "{value}");
        }
        for value in ["skip", "all", "skip=A;foo=1", "error=yes", "a=1", "skip=A;error=true;B"] {
            assert!(Check::for_file(value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_comment_speaks_for_its_instruction_only() {
        let mut check = Check::default();
        check.add_instruction(HERE, &["some words".to_owned(), "check=skip=UndefinedVar because".to_owned()]);
        check.add_instruction(THERE, &["check=nonsense".to_owned()]);
        assert!(check.skips(Rule::UndefinedVar, HERE));
        assert!(!check.skips(Rule::StageNameCasing, HERE));
        assert!(!check.skips(Rule::UndefinedVar, THERE));
    }
}
