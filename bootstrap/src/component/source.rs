//! Where the components come from, as users write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What an archive's name begins with on the command line.
const BUNDLE: &str = "bundle=";

/// Where the components come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Source {
    /// The first of `release` and `build` that works.
    #[default]
    Auto,
    /// The images and programs that the Kubernetes project publishes.
    Release,
    /// Go modules, compiled here.
    Build,
    /// An archive that `shimctl bundle` wrote.
    Bundle(PathBuf),
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match (text, text.strip_prefix(BUNDLE)) {
            ("auto", _) => Ok(Self::Auto),
            ("release", _) => Ok(Self::Release),
            ("build", _) => Ok(Self::Build),
            (_, Some(path)) if !path.is_empty() => Ok(Self::Bundle(path.into())),
            _ => Err(Error::invalid(
                format!("source of components {text:?}"),
                "is none of auto, release, build and bundle=FILE",
            )),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Release => formatter.write_str("release"),
            Self::Build => formatter.write_str("build"),
            Self::Bundle(path) => write!(formatter, "{BUNDLE}{}", path.display()),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_as_they_are_written() {
        for (text, source) in [
            ("auto", Source::Auto),
            ("release", Source::Release),
            ("build", Source::Build),
            ("bundle=/a/b.tar", Source::Bundle("/a/b.tar".into())),
            ("bundle=x=y", Source::Bundle("x=y".into())),
        ] {
            assert_eq!(text.parse::<Source>().unwrap(), source);
            assert_eq!(source.to_string(), text);
        }
        for text in ["", "Auto", "bundle", "bundle=", "built", "release "] {
            let error = text.parse::<Source>().unwrap_err().to_string();
            assert!(error.contains("auto, release, build and bundle=FILE"), "{error}");
        }
    }
}
