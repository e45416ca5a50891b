//! Docker's `config.json`, as far as it is about credentials.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use proto::control as api;
use serde::Deserialize;

use super::base64;

/// The largest configuration that is read.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The configuration. What it has beyond these fields is not for us.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Config {
    #[serde(skip)]
    path: PathBuf,
    auths: BTreeMap<String, Stored>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

/// What the file itself has for a registry.
#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct Stored {
    /// `user:password` in base64.
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// Shows that there is something, not what.
impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").finish_non_exhaustive()
    }
}

impl Config {
    /// Reads a configuration; none is an empty one.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let mut text = Vec::new();
        match std::fs::File::open(path) {
            Ok(file) => {
                let read = file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut text);
                read.with_context(|| format!("read {}", path.display()))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
        }
        let size = text.len() as u64;
        ensure!(size <= MAX_CONFIG_BYTES, "{} has more than {MAX_CONFIG_BYTES} bytes", path.display());
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let config: Self = serde_json::from_slice(&text)
            .map_err(|error| anyhow!("parse {}: {}", path.display(), without_content(&error)))?;
        Ok(Self { path: path.to_owned(), ..config })
    }

    /// Returns the helper that is responsible for a host, and the name under which that helper knows it.
    pub(super) fn helper(&self, names: &[String]) -> Option<(String, String)> {
        for name in names {
            if let Some(helper) = self.cred_helpers.get(name) {
                return Some((helper.clone(), name.clone()));
            }
        }
        let usual = names.first().filter(|_| !self.creds_store.is_empty())?;
        Some((self.creds_store.clone(), usual.clone()))
    }

    /// Returns what the file itself has: under one of the names as it is, else under an address of that host.
    pub(super) fn stored(&self, names: &[String]) -> anyhow::Result<api::Credential> {
        let exact = names.iter().find_map(|name| self.auths.get_key_value(name));
        let by_host = || self.auths.iter().find(|(key, _)| names.iter().any(|name| name == host_of(key)));
        match exact.or_else(by_host) {
            Some((key, stored)) => stored.credential().map_err(|problem| {
                anyhow!("parse {}: the entry {key:?} in \"auths\" {problem}", self.path.display())
            }),
            None => Ok(api::Credential::default()),
        }
    }
}

impl Stored {
    fn credential(&self) -> Result<api::Credential, &'static str> {
        let mut credential = api::Credential {
            username: self.username.clone(),
            password: self.password.clone(),
            identity_token: self.identitytoken.clone(),
            registry_token: self.registrytoken.clone(),
            ..Default::default()
        };
        if !self.auth.is_empty() {
            let login = base64::decode(&self.auth).ok_or("has an \"auth\" that is not base64")?;
            let login = String::from_utf8(login).map_err(|_| "has an \"auth\" that is not UTF-8")?;
            let (user, password) = login.split_once(':').ok_or("has an \"auth\" without a colon")?;
            user.clone_into(&mut credential.username);
            // Some tools pad the password with zeros.
            password.trim_matches('\0').clone_into(&mut credential.password);
        }
        Ok(credential)
    }
}

/// Describes a fault. Faults of form say what was found, and that may be a password.
fn without_content(error: &serde_json::Error) -> String {
    if error.is_data() {
        format!("not in docker's form at line {} column {}", error.line(), error.column())
    } else {
        error.to_string()
    }
}

/// Returns the host of an address such as `https://registry.example/v1/`.
fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split_once('/').map_or(rest, |(host, _)| host)
}
