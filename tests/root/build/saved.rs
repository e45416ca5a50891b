//! What `shimctl save` wrote, read by the rules of the OCI image layout.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// One image.
#[derive(Debug)]
pub(super) struct Saved {
    /// The configuration.
    pub(super) config: Value,
    /// Its layers, bottom first: entries by path.
    pub(super) layers: Vec<BTreeMap<String, Entry>>,
}

/// An entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    kind: char,
    mode: u32,
    owner: (u64, u64),
    /// In whole seconds, as BuildKit writes them.
    pub(super) time: u64,
    /// The content of a file, the target of a link.
    pub(super) content: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, mode, owner: (uid, gid), content, .. } = self;
        write!(f, "{kind}{mode:o} {uid}:{gid}")?;
        match content.lines().next() {
            Some(line) => write!(f, " {line}"),
            None => Ok(()),
        }
    }
}

impl Saved {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let blobs = blobs(path)?;
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).context("read a document");
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().context("a descriptor without digest")?;
            blobs.get(&format!("blobs/{}", digest.replace(':', "/"))).context("a blob that is not there")
        };
        let index = json(blobs.get("index.json").context("no index.json")?)?;
        let manifest = json(blob(&index["manifests"][0])?)?;
        let config = json(blob(&manifest["config"])?)?;
        let layers = manifest["layers"].as_array().context("no layers")?.iter();
        let layers = layers.map(|layer| entries(blob(layer)?)).collect::<Result<_>>()?;
        Ok(Self { config, layers })
    }

    /// Returns the content of a file as its topmost layer has it.
    pub(super) fn text(&self, path: &str) -> Result<&str> {
        let found = self.layers.iter().rev().find_map(|layer| layer.get(path));
        Ok(&found.with_context(|| format!("no layer has {path}"))?.content)
    }

    /// Lists a layer from the top (0 is the last one): `path: -644 0:0 content`, of the content the first line.
    pub(super) fn layer(&self, from_top: usize) -> Vec<String> {
        let layer = &self.layers[self.layers.len() - 1 - from_top];
        layer.iter().map(|(path, entry)| format!("{path}: {entry}")).collect()
    }

    /// Lists the texts of the history, and marks those that made a layer.
    pub(super) fn history(&self) -> Vec<String> {
        let entries = self.config["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |entry: &Value| {
            let mark = if entry["empty_layer"] == true { "" } else { " *" };
            format!("{}{mark}", entry["created_by"].as_str().unwrap_or("-"))
        };
        entries.iter().map(text).collect()
    }
}

fn blobs(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(file).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        found.insert(name, bytes);
    }
    Ok(found)
}

fn entries(layer: &[u8]) -> Result<BTreeMap<String, Entry>> {
    let mut plain = Vec::new();
    if layer.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(layer).read_to_end(&mut plain)?;
    } else {
        plain.extend_from_slice(layer);
    }
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(&plain[..]).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_end_matches('/').to_owned();
        let header = entry.header();
        let kind = match header.entry_type() {
            tar::EntryType::Regular => '-',
            tar::EntryType::Directory => 'd',
            tar::EntryType::Symlink => 'l',
            tar::EntryType::Link => 'h',
            tar::EntryType::Fifo => 'p',
            _ => '?',
        };
        let (mode, owner, time) = (header.mode()?, (header.uid()?, header.gid()?), header.mtime()?);
        let mut content = String::new();
        match entry.link_name()? {
            Some(target) => content = target.to_string_lossy().into_owned(),
            // What is not text is compared nowhere.
            None => drop(entry.read_to_string(&mut content)),
        }
        found.insert(path, Entry { kind, mode, owner, time, content });
    }
    Ok(found)
}
