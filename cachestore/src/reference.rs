//! Image references: the grammar of `distribution/reference`, and docker's rules for what may be left out.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The longest name (host and path) that the grammar allows.
const MAX_NAME_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;
const DEFAULT_HOST: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";

/// A normalised reference: host and path always, then a tag, a digest, or both.
///
/// `hellodocker`, `docker.io/hellodocker` and `docker.io/library/hellodocker` parse to the same value. Where neither
/// tag nor digest is written, the tag is `latest`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns the registry host, with its port if it has one: `docker.io`, `localhost:5000`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the path within the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the manifest digest.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Returns host and path: `docker.io/library/busybox`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// Returns the repository as docker shows it: without `docker.io/` and `library/`.
    pub fn familiar_repository(&self) -> String {
        if self.host != DEFAULT_HOST {
            return self.repository();
        }
        match self.path.split_once('/') {
            Some((DEFAULT_NAMESPACE, rest)) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// Returns the whole reference as docker shows it.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_repository())
    }

    /// Returns the same repository with this digest and no tag.
    #[must_use]
    pub fn pinned_to(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Returns the name under which the store records it: the tag alone where there is one, since a digest beside a
    /// tag says only what the tag must mean.
    #[must_use]
    pub fn record_name(&self) -> Self {
        match self.tag {
            Some(_) => Self { digest: None, ..self.clone() },
            None => self.clone(),
        }
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(&digest.to_string());
        }
        name
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.repository()))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |problem: &str| Error::invalid("image reference", text, problem);
        if is_hex_id(text) || text.parse::<Digest>().is_ok() {
            return Err(wrong("that is a digest or an image ID, not a name"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("the tag may have letters, digits, '_', '.' and '-', 128 characters at most"));
        }
        let (host, path) = split_host(name);
        if !is_host(&host) {
            return Err(wrong("the registry is not a host name with an optional port"));
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(wrong("the repository name must be lower case"));
        }
        if !is_path(&path) {
            return Err(wrong("the repository name is not of the form name[/name]…"));
        }
        if host.len() + 1 + path.len() > MAX_NAME_BYTES {
            return Err(wrong("the name is longer than 255 characters"));
        }
        let tag = match (tag, digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { host, path, tag, digest })
    }
}

/// Tells whether the text is 64 lower-case hexadecimal digits: a full image ID without its algorithm.
pub fn is_hex_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

/// Tells whether the text consists of lower-case hexadecimal digits only.
pub fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A colon starts a tag only behind the last slash; before it, it is a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rfind(':') {
        Some(colon) if !text[colon..].contains('/') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    }
}

/// The first component is a host if it looks like one; otherwise the host is docker.io.
fn split_host(name: &str) -> (String, String) {
    let (host, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first =>
        {
            (first, rest)
        }
        _ => (DEFAULT_HOST, name),
    };
    let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
    let path = match (host, path.contains('/')) {
        (DEFAULT_HOST, false) => format!("{DEFAULT_NAMESPACE}/{path}"),
        _ => path.to_owned(),
    };
    (host.to_owned(), path)
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG_BYTES
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let in_address = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
            if address.is_empty() || !address.bytes().all(in_address) {
                return false;
            }
            ("", port.strip_prefix(':').or(port.is_empty().then_some("0")))
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("0")),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (name.is_empty() && host.starts_with('[') || name.split('.').all(is_label)) && port.is_some_and(is_port)
}

/// Components of lower-case letters and digits, with one `.`, one or two `_`, or any number of `-` between them.
fn is_path(path: &str) -> bool {
    path.split('/').all(|component| {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = component.as_bytes();
        let ends_in_words =
            bytes.first().copied().is_some_and(is_word) && bytes.last().copied().is_some_and(is_word);
        ends_in_words
            && component
                .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                .filter(|separator| !separator.is_empty())
                .all(|separator| {
                    matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
                })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_may_be_left_out_is_filled_in() {
        for (input, full, familiar) in [
            ("hellodocker", "docker.io/library/hellodocker:latest", "hellodocker:latest"),
            ("docker.io/hellodocker", "docker.io/library/hellodocker:latest", "hellodocker:latest"),
            ("index.docker.io/library/a:b", "docker.io/library/a:b", "a:b"),
            ("user/app:1.0", "docker.io/user/app:1.0", "user/app:1.0"),
            ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
            (
                "[::1]:5000/a_b/c__d/e--f.g",
                "[::1]:5000/a_b/c__d/e--f.g:latest",
                "[::1]:5000/a_b/c__d/e--f.g:latest",
            ),
            ("Host/app", "Host/app:latest", "Host/app:latest"),
        ] {
            let reference: Reference = input.parse().unwrap();
            assert_eq!(
                (reference.to_string().as_str(), reference.familiar().as_str()),
                (full, familiar),
                "{input}"
            );
            assert_eq!(reference, full.parse().unwrap(), "normal form is a fixed point");
        }
    }

    #[test]
    fn a_digest_needs_no_tag() {
        let by_digest: Reference = format!("a@{DIGEST}").parse().unwrap();
        assert_eq!((by_digest.tag(), by_digest.to_string()), (None, format!("docker.io/library/a@{DIGEST}")));
        let both: Reference = format!("a:1@{DIGEST}").parse().unwrap();
        assert_eq!(both.record_name().to_string(), "docker.io/library/a:1");
        assert_eq!(both.pinned_to(both.digest().unwrap()), by_digest);
    }

    #[test]
    fn bad_names_are_refused() {
        let long = "a".repeat(250);
        for bad in [
            "",
            ":",
            "a:",
            "a:-x",
            "A",
            "user/App",
            "a//b",
            "/a",
            "a/",
            "a..b",
            "a___b",
            "a-",
            "-a",
            "a b",
            "a@",
            "a@b",
            "a:b:c",
            "é",
            "host:port/a",
            "-h.x/a",
            "[]:1/a",
            "[::1/a",
            &long,
            &DIGEST[7..],
            DIGEST,
            "a:b/c:d/e",
            "..",
            "../a",
            "a\0b",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }
}
