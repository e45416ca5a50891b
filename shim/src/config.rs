//! The command line and the configuration file; every default is here.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use serde::Deserialize;

use crate::policy::{NamePolicy, PullPolicy};

/// The largest configuration file that is read.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Serves the Kubernetes CRI from a content-addressed image store, with containerd as its engine.
#[derive(Debug, Parser)]
#[command(name = "shimd", version)]
pub(crate) struct Arguments {
    /// Directory of the image store, on one filesystem that is not overlayfs
    #[arg(long, value_name = "DIR", default_value = "/var/lib/shim/store")]
    pub(crate) store: PathBuf,
    /// Directory of the sockets cri.sock, snapshots.sock and control.sock
    #[arg(long, value_name = "DIR", default_value = "/run/shim")]
    pub(crate) run: PathBuf,
    /// Configuration file; none is needed
    #[arg(long, value_name = "FILE", default_value = "/etc/shim/shimd.toml")]
    pub(crate) config: PathBuf,
    /// Directory of registry hosts and mirrors, in containerd's format (HOST/hosts.toml)
    #[arg(long, value_name = "DIR", default_value = "/etc/shim/certs.d")]
    pub(crate) certs: PathBuf,
    /// Socket of containerd
    #[arg(long, value_name = "SOCKET", default_value = "/run/shim/containerd/containerd.sock")]
    pub(crate) containerd: PathBuf,
    /// Cgroup that gets the pods that name none (PATH/pods) and the steps of builds (PATH/build)
    #[arg(long, value_name = "PATH", default_value = "")]
    pub(crate) cgroup: String,
    /// Name of the image of pod sandboxes, as containerd's configuration has it
    #[arg(long, value_name = "NAME", default_value = crate::pause::NAME)]
    pub(crate) pause: String,
    /// User, besides root, who may use control.sock; equivalent to root
    #[arg(long, value_name = "UID")]
    pub(crate) allow: Vec<u32>,
    /// What to log: LEVEL or MODULE=LEVEL[,…]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Log as JSON, one object a line
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) images: Images,
    pub(crate) cache: Cache,
    pub(crate) build: Build,
    pub(crate) log: Log,
}

/// `[images]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Images {
    /// What a pull of a name that was made here means.
    pub(crate) pull: PullPolicy,
    /// Whether the compressed blobs of pulled layers are kept beside their trees.
    pub(crate) keep_blobs: bool,
    /// Exceptions by name; the first pattern that matches counts.
    pub(crate) names: Vec<NamePolicy>,
}

/// `[cache]`: how much of the build cache is kept by itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cache {
    /// Layers of steps that no image needs, together.
    #[serde(deserialize_with = "size")]
    pub(crate) keep: u64,
    /// How long such a layer is kept after its last use.
    #[serde(deserialize_with = "duration")]
    pub(crate) keep_unused: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self { keep: 20 << 30, keep_unused: Duration::from_secs(14 * 24 * 60 * 60) }
    }
}

/// `[build]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Build {
    /// The OCI runtime that runs steps.
    pub(crate) runtime: PathBuf,
    /// How many steps of one build run at once.
    pub(crate) parallel: usize,
}

impl Default for Build {
    fn default() -> Self {
        Self { runtime: "runc".into(), parallel: 4 }
    }
}

/// `[log]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// LEVEL or MODULE=LEVEL[,…]
    pub(crate) filter: String,
    /// One JSON object a line.
    pub(crate) json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), json: false }
    }
}

impl Config {
    /// Reads the file; without one every default holds.
    pub(crate) fn read(path: &std::path::Path) -> anyhow::Result<Self> {
        let text = match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Ok(metadata) if metadata.len() > MAX_CONFIG_BYTES => bail!("{} is too large", path.display()),
            _ => std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        };
        toml::from_str(&text).with_context(|| format!("{} is wrong", path.display()))
    }
}

/// Parses `20GiB`.
fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0)];
    units
        .into_iter()
        .find_map(|(unit, shift)| {
            let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            number.checked_mul(1 << shift)
        })
        .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a size such as \"20GiB\"")))
}

/// Parses `30s`, `15m`, `12h`, `14d`.
fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let units = [("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60)];
    units
        .into_iter()
        .find_map(|(unit, seconds)| {
            let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            number.checked_mul(seconds).map(Duration::from_secs)
        })
        .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a time such as \"14d\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_mistakes_are_named() {
        let config: Config = toml::from_str(
            r#"
            [images]
            pull = "registry"
            keep_blobs = true
            [[images.names]]
            pattern = "docker.io/library/hello*"
            pull = "local"
            [cache]
            keep = "5GiB"
            keep_unused = "2d"
            [log]
            filter = "info,shimd::cri=debug"
            "#,
        )
        .unwrap();
        assert_eq!(config.images.pull, PullPolicy::Registry);
        assert_eq!((config.images.keep_blobs, Images::default().keep_blobs), (true, false));
        assert_eq!(config.images.names[0].pull, PullPolicy::Local);
        assert_eq!((config.cache.keep, config.cache.keep_unused.as_secs()), (5 << 30, 172_800));
        for (bad, named) in [
            ("[images]\npull = \"newest\"", "newest"),
            ("[imagse]", "imagse"),
            ("[cache]\nkeep = \"much\"", "much"),
            ("[cache]\nkeep = \"99999999999999TiB\"", "99999999999999TiB"),
            ("[cache]\nkeep_unused = \"1 week\"", "1 week"),
        ] {
            let error = toml::from_str::<Config>(bad).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
