//! `bootstrap.toml`: the whole file, and the one change that is made to it by a program.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::error::{Error, Result};
use crate::files;
use crate::network::subnet::Subnet;

/// How long the name of a user can be.
const MAX_USER_BYTES: usize = 256;

/// The file. Without one every default holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) control: Control,
    pub(crate) network: Network,
    pub(crate) components: Components,
}

/// `[control]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Control {
    /// Users, besides root, who may use control.sock; equivalent to root.
    pub(crate) users: Vec<String>,
}

/// `[network]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Network {
    /// The network between machine and box; without it one is chosen.
    pub(crate) subnet: Option<Subnet>,
}

/// `[components]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Components {
    /// The directory of what was downloaded and built, which several instances may share; without it, the instance's own.
    pub(crate) cache: Option<PathBuf>,
    /// Where the published programs are, instead of the Kubernetes project's own server.
    pub(crate) download: Option<String>,
    /// Where crictl is, instead of its project's page of releases.
    pub(crate) crictl_download: Option<String>,
    /// The registry of the published images, instead of `registry.k8s.io`.
    pub(crate) registry: Option<String>,
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// It is there and wrong; with the line.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        files::read_if_there(path)?.map_or_else(|| Ok(Self::default()), |text| parse(&text, path))
    }
}

fn parse<T: for<'de> Deserialize<'de>>(text: &str, path: &Path) -> Result<T> {
    if text.contains(char::REPLACEMENT_CHARACTER) {
        // It would not be the same file after a change.
        return Err(Error::invalid(path.display().to_string(), "is not UTF-8"));
    }
    toml::from_str(text)
        .map_err(|error| Error::invalid(path.display().to_string(), error.to_string().trim_end()))
}

/// Adds a user to the file, if it does not name this one yet, and keeps the rest of it as it is.
///
/// # Errors
/// The file is there and wrong, or cannot be written.
pub(crate) fn allow(path: &Path, user: &str) -> Result<()> {
    if user.is_empty() || user.len() > MAX_USER_BYTES || user.chars().any(char::is_control) {
        return Err(Error::invalid(format!("user {user:?}"), "is not a user's name"));
    }
    let text = files::read_if_there(path)?.unwrap_or_default();
    let config: Config = parse(&text, path)?;
    if config.control.users.iter().any(|known| known == user) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        files::ensure_directory(directory, 0o755)?;
    }
    let users: Vec<String> = config.control.users.into_iter().chain([user.to_owned()]).collect();
    files::put(path, with_users(&text, &users, path)?.as_bytes(), 0o644)
}

/// Where things are in the text of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Places {
    control: Option<ControlPlaces>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ControlPlaces {
    users: Option<Spanned<Vec<String>>>,
}

fn with_users(text: &str, users: &[String], path: &Path) -> Result<String> {
    let array = toml::Value::from(users.to_vec()).to_string();
    let places: Places = parse(text, path)?;
    let changed = match places.control {
        Some(ControlPlaces { users: Some(place) }) => {
            let span = place.span();
            format!("{}{array}{}", &text[..span.start], &text[span.end..])
        }
        // A table can be written in several places only if it has no header yet.
        Some(ControlPlaces { users: None }) => {
            text.replacen("[control]", &format!("[control]\nusers = {array}"), 1)
        }
        None => {
            let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            format!(
                "{text}{gap}# Users, besides root, who may use shimctl. Each of them can become root by it.\n[control]\nusers = {array}\n"
            )
        }
    };
    let reread: Config = parse(&changed, path)?;
    if reread.control.users == users {
        return Ok(changed);
    }
    Err(Error::invalid(path.display().to_string(), format!("add these users to [control] by hand: {array}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_added_and_the_rest_is_kept() {
        let rows = [
            (
                "",
                "# Users, besides root, who may use shimctl. Each of them can become root by it.\n[control]\nusers = [\"ann\"]\n",
            ),
            ("[control]\nusers = []\n", "[control]\nusers = [\"ann\"]\n"),
            (
                "# mine\n[control] # who\nusers = [ 'bob', ] # them\n[network]\nsubnet = \"10.9.8.0/24\"",
                "# mine\n[control] # who\nusers = [\"bob\", \"ann\"] # them\n[network]\nsubnet = \"10.9.8.0/24\"",
            ),
            ("[control]\n", "[control]\nusers = [\"ann\"]\n"),
            ("control.users = [\"bob\"]\n", "control.users = [\"bob\", \"ann\"]\n"),
            ("[control]\nusers = [\"ann\"]#\n", "[control]\nusers = [\"ann\"]#\n"),
        ];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("etc/bootstrap.toml");
        for (before, after) in rows {
            files::ensure_directory(path.parent().unwrap(), 0o755).unwrap();
            files::put(&path, before.as_bytes(), 0o644).unwrap();
            allow(&path, "ann").unwrap();
            assert_eq!(files::read(&path).unwrap(), after);
        }
        files::remove(&path).unwrap();
        allow(&path, "ann").unwrap();
        assert_eq!(Config::read(&path).unwrap().control.users, ["ann"]);
    }

    #[test]
    fn what_cannot_be_changed_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bootstrap.toml");
        for (text, user, named) in [
            ("control = {}\n", "ann", "by hand"),
            ("[contrl]\n", "ann", "contrl"),
            ("", "", "is not a user's name"),
            ("", "a\nb", "is not a user's name"),
            ("# \u{fffd}\n", "ann", "is not UTF-8"),
        ] {
            files::put(&path, text.as_bytes(), 0o644).unwrap();
            let error = allow(&path, user).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
            assert_eq!(files::read(&path).unwrap(), text);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let path = Path::new("/etc/shim/bootstrap.toml");
        for (text, named) in [
            ("[control]\nuser = []", "user"),
            ("[network]\nsubnet = \"10.0.0.0/8\"", "10.0.0.0/8"),
            ("x", "/etc/shim/bootstrap.toml"),
        ] {
            let error = parse::<Config>(text, path).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let config: Config = parse("[network]\nsubnet = \"10.9.8.0/24\"", path).unwrap();
        assert_eq!(config.network.subnet, Some("10.9.8.0/24".parse().unwrap()));
        assert_eq!(Config::read(Path::new("/nonexistent/bootstrap.toml")).unwrap(), Config::default());
    }
}
