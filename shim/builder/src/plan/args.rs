//! Build arguments and variables: ordered, each name once.

use std::collections::BTreeMap;

use crate::dockerfile::Dockerfile;
use crate::dockerfile::expand::Expander;
use crate::error::{BuildError, Result};

/// Variables in the order in which they were first set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables(Vec<(String, String)>);

impl Variables {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Sets a variable; one that is set already keeps its place.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Reads `NAME=value`.
    pub(crate) fn set_pair(&mut self, pair: &str) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        self.set(name, value);
    }

    /// Returns `NAME=value` for each.
    pub(crate) fn pairs(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// Returns the arguments that every `FROM` sees: those of the platform, and those before the first `FROM`.
pub(crate) fn globals(
    file: &Dockerfile,
    build_args: &BTreeMap<String, String>,
    target: &str,
) -> Result<Variables> {
    let mut variables = platform(build_args, target);
    for declared in &file.global_args {
        for argument in &declared.value {
            let before = variables.clone();
            let values = |name: &str| before.get(name);
            let default = argument.default.as_deref();
            let expanded = match (build_args.get(&argument.name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => {
                    let expanded = Expander::new(file.escape, &values).word(default);
                    Some(expanded.map_err(|error| BuildError::invalid(error).at(declared.location))?.value)
                }
                (None, None) => None,
            };
            if let Some(value) = expanded {
                variables.set(&argument.name, &value);
            }
        }
    }
    Ok(variables)
}

/// The arguments that say for which platform is built; `--build-arg` may override them.
fn platform(build_args: &BTreeMap<String, String>, target: &str) -> Variables {
    let host = cachestore::oci::platform::Target::host();
    // The one variant of arm64 is not written, as in containerd's normal form.
    let variant = if host.architecture == "arm64" { "" } else { &host.variant };
    let target = if target.is_empty() { "default" } else { target };
    let name = host.name();
    let mut variables = Variables::default();
    for (argument, value) in [
        ("BUILDPLATFORM", name.as_str()),
        ("BUILDOS", &host.os),
        ("BUILDOSVERSION", ""),
        ("BUILDARCH", &host.architecture),
        ("BUILDVARIANT", variant),
        ("TARGETPLATFORM", &name),
        ("TARGETOS", &host.os),
        ("TARGETOSVERSION", ""),
        ("TARGETARCH", &host.architecture),
        ("TARGETVARIANT", variant),
        ("TARGETSTAGE", target),
    ] {
        variables.set(argument, build_args.get(argument).map_or(value, String::as_str));
    }
    variables
}

/// The proxy arguments, which steps see without declaring them, and which are in no cache key and no history.
pub(crate) fn proxies(build_args: &BTreeMap<String, String>) -> Vec<String> {
    let mut pairs = Vec::new();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"] {
        let given = build_args.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name));
        if let Some((_, value)) = given {
            pairs.push(format!("{name}={value}"));
            pairs.push(format!("{}={value}", name.to_lowercase()));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::parse;

    #[test]
    fn globals_are_expanded_in_order_and_overridden() {
        let file = parse(b"ARG A=1\nARG B=${A}2 C\nARG TARGETARCH=x\nFROM scratch\n").unwrap();
        let args =
            BTreeMap::from([("A".to_owned(), "9".to_owned()), ("TARGETOS".to_owned(), "plan9".to_owned())]);
        let globals = globals(&file, &args, "").unwrap();
        assert_eq!((globals.get("A"), globals.get("B"), globals.get("C")), (Some("9"), Some("92"), None));
        assert_eq!((globals.get("TARGETOS"), globals.get("TARGETSTAGE")), (Some("plan9"), Some("default")));
        assert_eq!(globals.get("TARGETARCH"), Some("x"));
    }

    #[test]
    fn proxies_come_in_both_cases() {
        let args = BTreeMap::from([
            ("https_proxy".to_owned(), "http://p".to_owned()),
            ("X".to_owned(), "y".to_owned()),
        ]);
        assert_eq!(proxies(&args), ["HTTPS_PROXY=http://p", "https_proxy=http://p"]);
    }
}
