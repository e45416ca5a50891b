//! Which wins when a name that was made here is pulled: the local image, or the registry.

use cachestore::Reference;
use cachestore::images::Image;
use serde::Deserialize;

/// What a pull of a name that was made here means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PullPolicy {
    /// The image that is here; `:latest`, with its default policy Always, works without a network.
    #[default]
    Local,
    /// Whatever the registry has.
    Registry,
}

impl PullPolicy {
    /// Returns the word of the configuration file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Registry => "registry",
        }
    }
}

/// The policy of the names that match a pattern.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamePolicy {
    /// A normalised name with `*` for any text: `docker.io/library/hello*`.
    pub(crate) pattern: String,
    pub(crate) pull: PullPolicy,
}

/// The policies of all names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    default: PullPolicy,
    names: Vec<NamePolicy>,
}

impl Policies {
    pub(crate) fn new(default: PullPolicy, names: Vec<NamePolicy>) -> Self {
        Self { default, names }
    }

    /// Returns the policy of a name: that of the first pattern that matches, else the default.
    pub(crate) fn of(&self, reference: &Reference) -> PullPolicy {
        let name = reference.to_string();
        let matching = self.names.iter().find(|policy| matches(&policy.pattern, &name));
        matching.map_or(self.default, |policy| policy.pull)
    }

    /// Tells whether a pull of this name is answered with this image, which has the name.
    pub(crate) fn answers(&self, reference: &Reference, image: &Image) -> bool {
        let name = reference.record_name();
        let local = image.names.iter().any(|known| known.local && known.reference == name);
        local && self.of(reference) == PullPolicy::Local
    }
}

/// Matches a pattern in which `*` stands for any text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*b*c", "abbc", true),
            ("ab*b", "ab", false),
            ("a*b*c", "acb", false),
            ("docker.io/library/*", "docker.io/library/x:1", true),
            ("docker.io/library/*:1", "docker.io/library/x:2", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_matching_pattern_counts() {
        let policy = |pattern: &str, pull| NamePolicy { pattern: pattern.into(), pull };
        let policies = Policies::new(
            PullPolicy::Local,
            vec![policy("*/library/keep*", PullPolicy::Local), policy("docker.io/*", PullPolicy::Registry)],
        );
        let of = |name: &str| policies.of(&name.parse().unwrap());
        assert_eq!(of("keep:1"), PullPolicy::Local);
        assert_eq!(of("other"), PullPolicy::Registry);
        assert_eq!(of("localhost/other"), PullPolicy::Local);
    }
}
