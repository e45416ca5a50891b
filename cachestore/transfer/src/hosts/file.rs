//! The grammar of `hosts.toml`. Pure: text in, entries out; no file is read.
//!
//! The format is containerd's (its `docs/hosts.md`). It accepts keys that it does not know; here they are errors, see
//! the crate's decisions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::Capabilities;
use super::tls::ONE_IDENTITY;

/// The largest number of hosts in one file.
const MAX_HOSTS: usize = 32;
/// The longest `dial_timeout` that is taken at its word.
const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(600);

/// What a file says of one endpoint.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where the API begins; nothing where the file leaves the registry's own address to the defaults.
    pub(super) root: Option<Url>,
    pub(super) capabilities: Capabilities,
    pub(super) ca: Vec<PathBuf>,
    pub(super) client: Option<ClientPair>,
    pub(super) skip_verify: Option<bool>,
    pub(super) headers: HeaderMap,
    pub(super) connect_timeout: Option<Duration>,
}

/// A client certificate; its key is in the same file unless another is named.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientPair {
    pub(super) certificate: PathBuf,
    pub(super) key: Option<PathBuf>,
}

/// The keys of one host, and of the file's top level beside `server` and `host`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    capabilities: Option<Vec<String>>,
    ca: Option<Strings>,
    client: Option<Client>,
    skip_verify: Option<bool>,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: BTreeMap<String, Strings>,
    dial_timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum Strings {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a file, a list of files, or a list of [certificate, key] pairs")]
enum Client {
    File(String),
    Files(Vec<ClientFiles>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ClientFiles {
    One(String),
    Pair(String, String),
}

/// Parses a file; `base` is the directory that its relative paths start from.
///
/// The hosts come in the order of the file, then the registry itself: `server`, or the default.
///
/// # Errors
/// A sentence that names the table and the key.
pub(super) fn parse(text: &str, base: &Path) -> Result<Vec<Entry>, String> {
    let mut top: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let server = top.remove("server").map(|value| string(value, "server")).transpose()?;
    let hosts = match top.remove("host") {
        Some(toml::Value::Table(hosts)) => hosts,
        Some(_) => return Err("host: expected tables [host.\"URL\"]".into()),
        None => toml::Table::new(),
    };
    if hosts.len() > MAX_HOSTS {
        return Err(format!("more than {MAX_HOSTS} hosts"));
    }
    let mut entries = Vec::new();
    for (url, value) in hosts {
        let entry = Table::deserialize(value)
            .map_err(|error| error.message().to_owned())
            .and_then(|table| table.into_entry(Some(&url), base))
            .map_err(|problem| format!("[host.{url:?}]: {problem}"))?;
        entries.push(entry);
    }
    let own = Table::deserialize(toml::Value::Table(top)).map_err(|error| error.message().to_owned())?;
    entries.push(own.into_entry(server.as_deref(), base)?);
    Ok(entries)
}

fn string(value: toml::Value, key: &str) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text),
        _ => Err(format!("{key}: expected a string")),
    }
}

impl Table {
    fn into_entry(self, url: Option<&str>, base: &Path) -> Result<Entry, String> {
        let root =
            url.filter(|url| !url.is_empty()).map(|url| api_root(url, self.override_path)).transpose()?;
        Ok(Entry {
            root,
            capabilities: self.capabilities.map_or(Ok(Capabilities::ALL), |names| capabilities(&names))?,
            ca: self.ca.map_or_else(Vec::new, Strings::into_vec).iter().map(|path| base.join(path)).collect(),
            client: self.client.map(|client| client.into_pair(base)).transpose()?.flatten(),
            skip_verify: self.skip_verify,
            headers: headers(self.header)?,
            connect_timeout: self.dial_timeout.as_deref().map(duration).transpose()?,
        })
    }
}

impl Strings {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

impl Client {
    fn into_pair(self, base: &Path) -> Result<Option<ClientPair>, String> {
        let mut files = match self {
            Self::File(file) => vec![ClientFiles::One(file)],
            Self::Files(files) => files,
        };
        let pair = match files.pop() {
            None => return Ok(None),
            Some(ClientFiles::One(file)) => ClientPair { certificate: base.join(file), key: None },
            Some(ClientFiles::Pair(certificate, key)) => {
                let key = Some(key).filter(|key| !key.is_empty()).map(|key| base.join(key));
                ClientPair { certificate: base.join(certificate), key }
            }
        };
        if files.is_empty() { Ok(Some(pair)) } else { Err(format!("client: {ONE_IDENTITY}")) }
    }
}

/// Names of all of containerd's capabilities are accepted; those that only a push or a search needs have no effect.
fn capabilities(names: &[String]) -> Result<Capabilities, String> {
    if names.is_empty() {
        return Ok(Capabilities::ALL);
    }
    let mut found = Capabilities { pull: false, resolve: false };
    for name in names {
        match name.to_ascii_lowercase().as_str() {
            "pull" => found.pull = true,
            "resolve" => found.resolve = true,
            "push" | "referrers" => {}
            _ => return Err(format!("capabilities: unknown capability {name:?}")),
        }
    }
    Ok(found)
}

/// A host without a scheme is HTTPS; a path that does not end in `/v2` gets it, unless the path is overridden.
fn api_root(text: &str, override_path: bool) -> Result<Url, String> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let mut url = Url::parse(&with_scheme).map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{text:?} is neither http nor https"));
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(format!("{text:?} may have a scheme, a host, a port and a path, and nothing else"));
    }
    let mut path = url.path().trim_end_matches('/').to_owned();
    if !override_path && !path.ends_with("/v2") {
        path.push_str("/v2");
    }
    url.set_path(&path);
    Ok(url)
}

fn headers(table: BTreeMap<String, Strings>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, values) in table {
        let wrong = || format!("header: {name:?} is not a header, or its value has forbidden characters");
        for value in values.into_vec() {
            let mut value = HeaderValue::from_str(&value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.append(HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value);
        }
    }
    Ok(headers)
}

/// Reads a duration as Go writes it: `30s`, `1m30s`, `1.5h`, `200ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("dial_timeout: {text:?} is not a duration between 1ms and 600s, such as \"30s\"");
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let unit_end =
            rest[number_end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| number_end + end);
        let number: f64 = rest[..number_end].parse().map_err(|_| wrong())?;
        seconds += number
            * match &rest[number_end..unit_end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(wrong()),
            };
        rest = &rest[unit_end..];
    }
    let found = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    let allowed = Duration::from_millis(1)..=MAX_CONNECT_TIMEOUT;
    if allowed.contains(&found) { Ok(found) } else { Err(wrong()) }
}
