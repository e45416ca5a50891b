//! What an entry of the cache holds: recorded when it is whole, compared when it is used.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};

/// The name of the file within an entry.
pub(crate) const FILE: &str = "manifest.json";
/// The format of the file.
const FORMAT: u32 = 1;
/// How many files an entry may have: the root of kube-proxy's image has the most.
const MAX_FILES: usize = 100_000;
/// How deep directories may lie in each other.
const MAX_DEPTH: usize = 64;
/// How much is read at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    pub(crate) key: String,
    /// The version of Kubernetes.
    pub(crate) version: String,
    /// What Rust calls the architecture of the programs.
    pub(crate) architecture: String,
    pub(crate) images: Vec<Context>,
    /// By path, relative to the entry.
    pub(crate) files: BTreeMap<String, Content>,
}

/// An image that is built from an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) name: String,
    /// The directory that its files are copied from, relative to the entry.
    pub(crate) context: String,
    /// Its Dockerfile, relative to the entry.
    pub(crate) dockerfile: String,
}

/// What one file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(crate) enum Content {
    Regular { size_bytes: u64, mode: u32, sha256: String },
    Link { target: String },
}

/// What one file looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Regular { size_bytes: u64, mode: u32 },
    Link { target: String },
}

impl Manifest {
    /// Describes an entry that is whole: reads all its files.
    pub(crate) fn of(directory: &Path, key: &str, version: &str, images: Vec<Context>) -> Result<Self> {
        let mut files = BTreeMap::new();
        for (path, seen) in survey(directory)? {
            let content = match seen {
                Seen::Link { target } => Content::Link { target },
                Seen::Regular { size_bytes, mode } => {
                    Content::Regular { size_bytes, mode, sha256: hash(&directory.join(&path))? }
                }
            };
            files.insert(path, content);
        }
        let architecture = std::env::consts::ARCH.to_owned();
        Ok(Self { format: FORMAT, key: key.into(), version: version.into(), architecture, images, files })
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// It is no manifest of this format for this key and this machine; in words.
    pub(crate) fn parse(text: &str, key: &str) -> Result<Self, String> {
        let manifest: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if manifest.format != FORMAT {
            return Err(format!("has format {}, known is {FORMAT}", manifest.format));
        }
        if manifest.key != key {
            return Err(format!("is of {:?}", manifest.key));
        }
        if manifest.architecture != std::env::consts::ARCH {
            return Err(format!("is for {}", manifest.architecture));
        }
        Ok(manifest)
    }

    pub(crate) fn text(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|error| Error::invalid(FILE, error.to_string()))
    }

    /// Returns the paths of what is missing, looks different, or is too much.
    pub(crate) fn differences(&self, seen: &BTreeMap<String, Seen>) -> Vec<String> {
        let changed = self.files.iter().filter(|(path, content)| {
            seen.get(*path).is_none_or(|seen| match (content, seen) {
                (
                    Content::Regular { size_bytes, mode, .. },
                    Seen::Regular { size_bytes: seen_size, mode: seen_mode },
                ) => (size_bytes, mode) != (seen_size, seen_mode),
                (Content::Link { target }, Seen::Link { target: seen }) => target != seen,
                _ => true,
            })
        });
        let more = seen.keys().filter(|path| !self.files.contains_key(*path));
        changed.map(|(path, _)| path).chain(more).cloned().collect()
    }

    /// Reads all files and returns the paths of those whose content is not what it was.
    pub(crate) fn altered(&self, directory: &Path) -> Result<Vec<String>> {
        let mut altered = Vec::new();
        for (path, content) in &self.files {
            if let Content::Regular { sha256, .. } = content
                && hash(&directory.join(path))? != *sha256
            {
                altered.push(path.clone());
            }
        }
        Ok(altered)
    }

    /// Returns the SHA-256 of a regular file.
    pub(crate) fn sha256(&self, path: &str) -> Option<(u64, &str)> {
        match self.files.get(path)? {
            Content::Regular { size_bytes, sha256, .. } => Some((*size_bytes, sha256)),
            Content::Link { .. } => None,
        }
    }
}

/// Looks at every file below a directory, but not at the manifest itself. Directories count by what is in them.
pub(crate) fn survey(directory: &Path) -> Result<BTreeMap<String, Seen>> {
    let mut found = BTreeMap::new();
    visit(directory, "", MAX_DEPTH, &mut found)?;
    found.remove(FILE);
    Ok(found)
}

fn visit(directory: &Path, prefix: &str, depth: usize, found: &mut BTreeMap<String, Seen>) -> Result<()> {
    let odd = |path: &Path, problem: &str| Error::invalid(path.display().to_string(), problem);
    if depth == 0 || found.len() > MAX_FILES {
        return Err(odd(directory, "has too many files or directories"));
    }
    for entry in std::fs::read_dir(directory).at("read", directory)? {
        let path = entry.at("read", directory)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let relative = format!("{prefix}{}", name.ok_or_else(|| odd(&path, "has a name that is not UTF-8"))?);
        let metadata = path.symlink_metadata().at("examine", &path)?;
        if metadata.is_dir() {
            visit(&path, &format!("{relative}/"), depth - 1, found)?;
            continue;
        }
        let seen = if metadata.is_file() {
            Seen::Regular { size_bytes: metadata.len(), mode: metadata.permissions().mode() & 0o7777 }
        } else if metadata.is_symlink() {
            let target = std::fs::read_link(&path).at("read", &path)?;
            Seen::Link { target: target.to_string_lossy().into_owned() }
        } else {
            return Err(odd(&path, "is neither file nor directory nor link"));
        };
        found.insert(relative, seen);
    }
    Ok(())
}

/// Returns the SHA-256 of a file.
pub(crate) fn hash(path: &Path) -> Result<String> {
    let mut file = File::open(path).at("open", path)?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk).at("read", path)? {
            0 => return Ok(hex(context.finish().as_ref())),
            count => context.update(&chunk[..count]),
        }
    }
}

/// Writes bytes as users see digests.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "manifest/tests.rs"]
mod tests;
