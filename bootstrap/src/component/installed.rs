//! What was installed into an instance: recorded when all of it was, compared at each `up`.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::component::source::Source;
use crate::error::{Error, IoContext, Result};
use crate::files;
use crate::paths::Paths;

/// The format of the file.
const FORMAT: u32 = 1;
/// The permissions of programs.
pub(crate) const PROGRAM_MODE: u32 = 0o755;

/// The components of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Installed {
    format: u32,
    /// Where they came from; never `auto`.
    pub(crate) source: Source,
    /// The version of Kubernetes.
    pub(crate) version: String,
    /// What exactly they were made from; its meaning is the source's.
    pub(crate) key: String,
    /// The ID of the image behind each name that Kubernetes needs.
    pub(crate) images: BTreeMap<String, String>,
    /// The programs of the node, by name.
    pub(crate) programs: BTreeMap<String, Program>,
}

/// A program of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    pub(crate) size_bytes: u64,
    pub(crate) sha256: String,
}

impl Installed {
    pub(crate) fn new(source: Source, version: &str, key: &str) -> Self {
        Self {
            format: FORMAT,
            source,
            version: version.to_owned(),
            key: key.to_owned(),
            images: BTreeMap::new(),
            programs: BTreeMap::new(),
        }
    }

    /// Reads what was recorded; `None` if nothing was, or nothing that can be understood: then it is done again.
    pub(crate) fn read(paths: &Paths) -> Result<Option<Self>> {
        let text = files::read_if_there(&paths.installed_components())?;
        let installed: Option<Self> = text.and_then(|text| serde_json::from_str(&text).ok());
        Ok(installed.filter(|installed| installed.format == FORMAT))
    }

    /// Records that all of it is in place.
    pub(crate) fn write(&self, paths: &Paths) -> Result<()> {
        let path = paths.installed_components();
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::invalid(path.display().to_string(), error.to_string()))?;
        files::put(&path, &text, 0o600)
    }

    /// Tells whether every name still means the same image.
    pub(crate) fn has_images(&self, names: &BTreeMap<String, String>) -> bool {
        self.images.iter().all(|(name, id)| names.get(name) == Some(id))
    }

    /// Tells whether the programs are in a directory, as far as sizes and permissions can tell.
    pub(crate) fn has_programs(&self, directory: &Path) -> Result<bool> {
        for (name, program) in &self.programs {
            let path = directory.join(name);
            let metadata = match path.symlink_metadata() {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                examined => examined.at("examine", &path)?,
            };
            let mode = metadata.permissions().mode() & 0o7777;
            if !metadata.is_file() || metadata.len() != program.size_bytes || mode != PROGRAM_MODE {
                return Ok(false);
            }
        }
        Ok(!self.programs.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed() -> Installed {
        let program = Program { size_bytes: 3, sha256: "ba78".into() };
        Installed {
            images: [("a:1".to_owned(), "sha256:aa".to_owned())].into(),
            programs: [("kubelet".to_owned(), program)].into(),
            ..Installed::new(Source::Build, "v1.36.3", "v1.36.3-abc")
        }
    }

    #[test]
    fn what_was_recorded_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(directory.path()).unwrap();
        assert_eq!(Installed::read(&paths).unwrap(), None);
        files::ensure_directory(&paths.box_dir(), 0o700).unwrap();
        installed().write(&paths).unwrap();
        assert_eq!(Installed::read(&paths).unwrap(), Some(installed()));
        let text = files::read(paths.installed_components()).unwrap();
        for text in
            [text.replace("\"format\": 1", "\"format\": 2"), text.replace("build", "auot"), "{".into()]
        {
            files::put(&paths.installed_components(), text.as_bytes(), 0o600).unwrap();
            assert_eq!(Installed::read(&paths).unwrap(), None, "{text}");
        }
    }

    #[test]
    fn images_count_by_name_and_id() {
        let names = |rows: &[(&str, &str)]| {
            rows.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect()
        };
        assert!(installed().has_images(&names(&[("a:1", "sha256:aa"), ("b:1", "sha256:bb")])));
        assert!(!installed().has_images(&names(&[("a:1", "sha256:bb")])));
        assert!(!installed().has_images(&names(&[("a:2", "sha256:aa")])));
    }

    #[test]
    fn programs_count_by_size_and_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubelet");
        assert!(!installed().has_programs(directory.path()).unwrap());
        for (content, mode, expected) in
            [("abc", 0o755, true), ("abcd", 0o755, false), ("abc", 0o644, false), ("abc", 0o755, true)]
        {
            files::put(&path, content.as_bytes(), mode).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(installed().has_programs(directory.path()).unwrap(), expected, "{content} {mode:o}");
        }
        // Nothing recorded is nothing installed.
        let none = Installed { programs: BTreeMap::new(), ..installed() };
        assert!(!none.has_programs(directory.path()).unwrap());
    }
}
