//! Image configurations: the OCI document with docker's additions, as BuildKit writes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MAX_DOCUMENT_BYTES, MAX_LAYERS};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// An image configuration (OCI image specification, config.md).
///
/// The fields are in the order in which BuildKit writes them. Fields that neither specification names are dropped, as
/// BuildKit drops them; the store keeps the original bytes of configurations that it did not write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The architecture, in Go's words.
    #[serde(default)]
    pub architecture: String,
    /// Who made the image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// How containers of the image are run.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: RunConfig,
    /// When the image was made, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// How each layer came to be, and the steps between that made none.
    #[serde(default, deserialize_with = "null_is_default")]
    pub history: Vec<History>,
    /// The operating system, in Go's words.
    #[serde(default)]
    pub os: String,
    /// Features of the operating system that the image needs.
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub os_features: Vec<String>,
    /// The version of the operating system that the image needs.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// The layers.
    pub rootfs: RootFs,
    /// The variant of the architecture.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// How containers of an image are run: the `config` object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `user`, `uid`, `user:group`, `uid:gid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port/protocol`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The command's first words, which arguments do not replace.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// The command, or the default arguments of the entry point.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// Paths whose content outlives the container's writable layer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, Empty>,
    /// The directory in which the command starts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Arbitrary metadata.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the command to end.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Whether the command was written as one string; of meaning on Windows only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// Docker's health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions that run when another image is built from this one.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub on_build: Vec<String>,
    /// Seconds between the stop signal and SIGKILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The shell of shell-form instructions.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub shell: Vec<String>,
}

/// Docker's health check. Times are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` or `CMD-SHELL` and the words of the command.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// In which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks of the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// How many failures in a row make the container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The JSON object without fields, which Go uses for sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self {})
    }
}

/// The layers of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layer tars, bottom first.
    #[serde(deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".into(), diff_ids: Vec::new() }
    }
}

/// One step in the making of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// By whom.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Which builder wrote the entry.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Parses a configuration.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not one, or has more layers than overlayfs can stack.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let invalid = |problem: String| Error::invalid("image configuration", "", problem);
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(invalid(format!("it is larger than {MAX_DOCUMENT_BYTES} bytes")));
        }
        let config: Self = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
        if config.rootfs.diff_ids.len() > MAX_LAYERS {
            return Err(invalid(format!("it has more than {MAX_LAYERS} layers")));
        }
        Ok(config)
    }

    /// Returns the document.
    ///
    /// # Errors
    /// None in practice; serialisation of these types cannot fail.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::invalid("image configuration", "", error))
    }
}

/// Go writes an empty slice or map as `null`.
fn null_is_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_way_of_writing_is_understood() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Cmd":null,"Env":["A=b"],"ExposedPorts":{"80/tcp":{}},
            "Volumes":null,"Healthcheck":{"Test":["NONE"]},"Hostname":"x","OnBuild":null},"container":"dropped",
            "rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.config.env, ["A=b"]);
        assert!(config.config.exposed_ports.contains_key("80/tcp"));
        let expected = r#"{"architecture":"amd64","config":{"ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Healthcheck":{"Test":["NONE"]}},"history":[],"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        assert_eq!(String::from_utf8(config.to_json().unwrap()).unwrap(), expected);
    }

    #[test]
    fn hostile_configurations_are_refused() {
        let digest = Digest::of(b"");
        let many = vec![format!("\"{digest}\""); MAX_LAYERS + 1].join(",");
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"rootfs":{"type":"layers"}}"#,
            r#"{"rootfs":{"type":"layers","diff_ids":["x"]}}"#,
            &format!(r#"{{"rootfs":{{"type":"layers","diff_ids":[{many}]}}}}"#),
        ] {
            assert!(ImageConfig::parse(bad.as_bytes()).is_err(), "{bad:.60}");
        }
    }
}
