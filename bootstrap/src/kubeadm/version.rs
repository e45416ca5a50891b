//! Versions of Kubernetes (pure).

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The largest number in a version: more digits are no version of anything.
const MAX_NUMBER: u32 = 9999;

/// A released version of Kubernetes, such as `v1.36.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) patch: u32,
}

impl Version {
    /// Reads `v1.36.3` or `1.36.3`.
    ///
    /// # Errors
    /// It is something else: a pre-release, a word such as `stable` that has to be looked up, a version without its last number.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let invalid = |problem: &str| {
            let shown: String = text.chars().take(40).collect();
            Error::invalid(format!("Kubernetes version {shown:?}"), problem)
        };
        let digits = text.strip_prefix('v').unwrap_or(text);
        if digits.contains(['-', '+']) {
            return Err(invalid("is not a release; one is written like v1.36.3"));
        }
        let number = |part: &str| {
            let is_number =
                part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            part.parse().ok().filter(|number| is_number && *number <= MAX_NUMBER)
        };
        let parts: Option<Vec<u32>> = digits.split('.').take(4).map(number).collect();
        match parts.as_deref() {
            Some([major, minor, patch]) => Ok(Self { major: *major, minor: *minor, patch: *patch }),
            Some([_, _]) => Err(invalid("lacks its last number; it is written like v1.36.3")),
            _ => Err(invalid("is not written like v1.36.3")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_ordered() {
        for text in ["v1.36.3", "1.36.3"] {
            let version: Version = text.parse().unwrap();
            assert_eq!((version.major, version.minor, version.patch), (1, 36, 3));
            assert_eq!(version.to_string(), "v1.36.3");
        }
        let parse = |text| Version::parse(text).unwrap();
        assert!(parse("v1.9.10") < parse("v1.36.1") && parse("v1.36.1") < parse("v1.36.3"));
        assert!(parse("v1.36.10") > parse("v1.36.9"));
    }

    #[test]
    fn what_is_no_release_is_refused() {
        for (text, named) in [
            ("", "written like v1.36.3"),
            ("stable", "written like v1.36.3"),
            ("v1.36", "last number"),
            ("v1.36.3-rc.0", "not a release"),
            ("v1.36.3+k3s1", "not a release"),
            ("vv1.36.3", "written like"),
            ("v1.36.3.1", "written like"),
            ("v1.036.3", "written like"),
            ("v1.+6.3", "not a release"),
            ("v1.36.", "written like"),
            (" v1.36.3", "written like"),
            ("v1.36.99999", "written like"),
            ("v1.36.99999999999999999999", "written like"),
        ] {
            let error = Version::parse(text).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
