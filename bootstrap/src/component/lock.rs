//! What published files and images have to be: known from the start, or recorded at their first use and held to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;

/// What this program knows from the start.
const KNOWN: &str = include_str!("../../components/components.lock");
/// The name of what is in it, in errors.
const KNOWN_NAME: &str = "components.lock";
/// The file in the cache.
const RECORDED: &str = "recorded.lock";
const HEADER: &str =
    "# What was published when it was first used. A line that is removed is recorded anew.\n";
/// So many entries does no cache have.
const MAX_ENTRIES: usize = 10_000;

/// A file of this form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    /// SHA-256 of files, by the address at which the project itself publishes them, whatever mirror is asked.
    files: BTreeMap<String, String>,
    /// Digests of images, by their names.
    images: BTreeMap<String, String>,
}

/// What is known, and what was recorded in a cache.
#[derive(Debug)]
pub(crate) struct Lock {
    known: Table,
    recorded: Table,
    path: PathBuf,
}

/// A digest, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub(crate) digest: String,
    /// `components.lock says`, for errors.
    pub(crate) authority: String,
}

impl Lock {
    /// Reads what is known, and what was recorded in this cache.
    ///
    /// # Errors
    /// The file in the cache is damaged.
    pub(crate) fn read(cache: &Path) -> Result<Self> {
        let path = cache.join(RECORDED);
        let recorded = match files::read_if_there(&path)? {
            Some(text) => parse(&text, &path.display().to_string())?,
            None => Table::default(),
        };
        Ok(Self { known: parse(KNOWN, KNOWN_NAME)?, recorded, path })
    }

    /// Returns what a file has to be.
    pub(crate) fn file(&self, url: &str) -> Option<Pinned> {
        self.find(|table| table.files.get(url))
    }

    /// Returns what an image has to be.
    pub(crate) fn image(&self, name: &str) -> Option<Pinned> {
        self.find(|table| table.images.get(name))
    }

    fn find<'a>(&'a self, get: impl Fn(&'a Table) -> Option<&'a String>) -> Option<Pinned> {
        let pinned = |digest: &String, authority| Pinned { digest: digest.clone(), authority };
        let known = get(&self.known).map(|digest| pinned(digest, format!("{KNOWN_NAME} says")));
        known.or_else(|| {
            let authority = format!("{} recorded at its first use", self.path.display());
            get(&self.recorded).map(|digest| pinned(digest, authority))
        })
    }

    /// Records what a file was; what is pinned stays.
    pub(crate) fn record_file(&mut self, url: &str, sha256: &str) -> Result<()> {
        self.record(url, sha256, |table| &mut table.files)
    }

    /// Records what an image was; what is pinned stays.
    pub(crate) fn record_image(&mut self, name: &str, digest: &str) -> Result<()> {
        self.record(name, digest, |table| &mut table.images)
    }

    fn record(
        &mut self,
        key: &str,
        digest: &str,
        of: impl Fn(&mut Table) -> &mut BTreeMap<String, String>,
    ) -> Result<()> {
        if of(&mut self.known).contains_key(key) || of(&mut self.recorded).contains_key(key) {
            return Ok(());
        }
        // Another instance may have recorded others meanwhile.
        let mut recorded = match files::read_if_there(&self.path)? {
            Some(text) => parse(&text, &self.path.display().to_string())?,
            None => Table::default(),
        };
        of(&mut recorded).entry(key.to_owned()).or_insert_with(|| digest.to_owned());
        let text = toml::to_string(&recorded)
            .map_err(|error| Error::invalid(self.path.display().to_string(), error.to_string()))?;
        files::put(&self.path, format!("{HEADER}{text}").as_bytes(), 0o644)?;
        self.recorded = recorded;
        Ok(())
    }
}

fn parse(text: &str, name: &str) -> Result<Table> {
    let invalid =
        |problem: String| Error::invalid(name, format!("{problem}; without the file, all is recorded anew"));
    let table: Table =
        toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().to_owned()))?;
    if table.files.len() + table.images.len() > MAX_ENTRIES {
        return Err(invalid(format!("has more than {MAX_ENTRIES} entries")));
    }
    if let Some((key, digest)) = table.files.iter().find(|(_, digest)| !is_sha256(digest)) {
        return Err(invalid(format!("{digest:?} of {key} is no SHA-256")));
    }
    let is_digest = |digest: &str| digest.strip_prefix("sha256:").is_some_and(is_sha256);
    if let Some((key, digest)) = table.images.iter().find(|(_, digest)| !is_digest(digest)) {
        return Err(invalid(format!("{digest:?} of {key} is no digest")));
    }
    Ok(table)
}

/// Tells whether a text is a SHA-256, as we write them.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet";
    const NAME: &str = "registry.k8s.io/pause:3.10.2";

    fn digest(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    #[test]
    fn the_first_use_counts() {
        let directory = tempfile::tempdir().unwrap();
        let mut lock = Lock::read(directory.path()).unwrap();
        assert_eq!((lock.file(URL), lock.image(NAME)), (None, None));
        let mut other = Lock::read(directory.path()).unwrap();
        other.record_image(NAME, &format!("sha256:{}", digest('b'))).unwrap();
        lock.record_file(URL, &digest('a')).unwrap();
        lock.record_file(URL, &digest('c')).unwrap();
        for lock in [&lock, &Lock::read(directory.path()).unwrap()] {
            assert_eq!(lock.file(URL).unwrap().digest, digest('a'));
            let image = lock.image(NAME).unwrap();
            assert_eq!(image.digest, format!("sha256:{}", digest('b')));
            assert!(image.authority.contains("recorded.lock recorded"), "{}", image.authority);
        }
    }

    #[test]
    fn what_is_known_wins() {
        let directory = tempfile::tempdir().unwrap();
        let mut lock = Lock::read(directory.path()).unwrap();
        lock.record_file(URL, &digest('a')).unwrap();
        lock.known.files.insert(URL.into(), digest('b'));
        let pinned = lock.file(URL).unwrap();
        assert_eq!((pinned.digest, pinned.authority), (digest('b'), "components.lock says".into()));
    }

    #[test]
    fn damaged_files_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(RECORDED);
        for text in [
            "[files".to_owned(),
            "[others]\n".to_owned(),
            "[files]\n\"a\" = 1\n".to_owned(),
            "[files]\n\"a\" = \"ab\"\n".to_owned(),
            format!("[files]\n\"a\" = \"{}\"\n", digest('A')),
            format!("[images]\n\"a\" = \"{}\"\n", digest('a')),
        ] {
            files::put(&path, text.as_bytes(), 0o644).unwrap();
            let error = Lock::read(directory.path()).unwrap_err().to_string();
            assert!(error.contains("recorded.lock") && error.contains("recorded anew"), "{text}: {error}");
        }
    }
}
