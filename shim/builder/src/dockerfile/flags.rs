use super::error::Fault;
use super::keyword::Keyword;
use super::suggest;

/// What values a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `--flag`, `--flag=true` or `--flag=false`; once.
    Switch,
    /// `--flag=TEXT`; once.
    Text,
    /// `--flag=TEXT`; any number of times.
    List,
}

/// The flags that an instruction knows.
pub(super) type Known = &'static [(&'static str, Kind)];

/// The flags that were given to an instruction: each is known, and given as often as it may be.
#[derive(Debug)]
pub(super) struct Flags {
    given: Vec<(&'static str, String)>,
}

impl Flags {
    /// Checks the flag words of an instruction.
    pub(super) fn read(keyword: Keyword, words: &[String], known: Known) -> Result<Self, Fault> {
        let instruction = keyword.name();
        let mut given: Vec<(&'static str, String)> = Vec::new();
        for word in words {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (word.as_str(), None),
            };
            let bare = flag.strip_prefix("--").unwrap_or(flag);
            let Some((name, kind)) = known.iter().find(|(name, _)| *name == bare) else {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                let close = suggest::closest(bare, &names).map(|name| format!("--{name}"));
                return Err(Fault::new(format!("{instruction}: unknown flag {flag}")).suggesting(close));
            };
            if *kind != Kind::List && given.iter().any(|(other, _)| other == name) {
                return Err(Fault::new(format!("{instruction}: {flag} is given twice")));
            }
            let value = match (kind, value) {
                (Kind::Switch, value) => switch(instruction, flag, value)?.to_owned(),
                (Kind::Text | Kind::List, Some(value)) => value.to_owned(),
                (Kind::Text | Kind::List, None) => {
                    return Err(Fault::new(format!("{instruction}: {flag} needs a value ({flag}=…)")));
                }
            };
            given.push((name, value));
        }
        Ok(Self { given })
    }

    /// Checks that an instruction that knows no flags was given none.
    pub(super) fn none(keyword: Keyword, words: &[String]) -> Result<(), Fault> {
        Self::read(keyword, words, &[]).map(|_| ())
    }

    /// Returns the value of a text flag, which may be empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// Returns the value of a text flag for which an empty value means the same as none.
    pub(super) fn filled(&self, name: &str) -> Option<String> {
        self.text(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Returns the value of a switch, if it was given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| value == TRUE)
    }

    /// Returns the values of a list flag in their order.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        self.given.iter().filter(|(given, _)| *given == name).map(|(_, value)| value.as_str()).collect()
    }
}

const TRUE: &str = "true";
const FALSE: &str = "false";

fn switch(instruction: &str, flag: &str, value: Option<&str>) -> Result<&'static str, Fault> {
    match value {
        None => Ok(TRUE),
        Some(value) if value.eq_ignore_ascii_case(TRUE) => Ok(TRUE),
        Some(value) if value.eq_ignore_ascii_case(FALSE) => Ok(FALSE),
        Some(value) => Err(Fault::new(format!("{instruction}: {flag} is true or false, not {value:?}"))),
    }
}
