//! The catalogue: every image that the tests use, made here, kept in the cache.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::command::{Command, find};
use crate::image::{Blobs, Entry, Image};
use crate::{cache, files};

mod base;
mod conformance;
mod golang;
mod many;
mod text;

pub use base::{base_entries, base_set, getting_started_set};
pub use conformance::critest_set;
pub use golang::golang_set;
pub use many::{LAYER_COUNTS, layers_set};
pub use text::{bench_set, text_layer_entries};

/// Part of every recipe: the source text of what makes images, so that no cache holds what an older one made.
const FACTORY: [&[u8]; 4] = [
    include_bytes!("image.rs"),
    include_bytes!("image/entry.rs"),
    include_bytes!("image/tar.rs"),
    include_bytes!("images/base.rs"),
];

const LIST: &str = "images.json";

/// An image under its name.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Named {
    /// Registry host and repository, without tag: `registry.k8s.io/pause`.
    pub repository: String,
    /// The tags that the registry has for it.
    pub tags: Vec<String>,
    /// The digest of its manifest or index.
    pub digest: String,
}

impl Named {
    /// Returns the repository within its registry: `pause`.
    pub fn path(&self) -> &str {
        self.repository.split_once('/').map_or(&self.repository, |(_, path)| path)
    }

    /// Returns the name with its first tag.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tags.first().map_or("latest", String::as_str))
    }
}

/// Named images and their blobs, in one directory.
#[derive(Debug, Clone)]
pub struct Set {
    dir: PathBuf,
    images: Vec<Named>,
}

impl Set {
    /// Makes a set in a directory, for images that only one test wants.
    ///
    /// # Errors
    /// Those of `make`, and of the filesystem.
    pub fn make(dir: impl Into<PathBuf>, make: impl FnOnce(&mut Maker) -> Result<()>) -> Result<Self> {
        let dir = dir.into();
        let mut maker = Maker { blobs: Blobs::in_dir(dir.join("blobs"))?, images: Vec::new() };
        make(&mut maker)?;
        files::put(dir.join(LIST), serde_json::to_vec_pretty(&maker.images)?)?;
        Ok(Self { dir, images: maker.images })
    }

    /// Takes a set from the cache, and makes it if it is not there.
    fn cached(name: &str, recipe: &[&[u8]], make: impl FnOnce(&mut Maker) -> Result<()>) -> Result<Self> {
        let whole: Vec<&[u8]> = FACTORY.iter().chain(recipe).copied().collect();
        let dir = cache::directory(name, &whole, |dir| Self::make(dir, make).map(|_| ()))?;
        let images = serde_json::from_slice(&files::get(dir.join(LIST))?);
        let images = images.with_context(|| format!("read {}", dir.join(LIST).display()))?;
        Ok(Self { dir, images })
    }

    /// Returns the images.
    pub fn images(&self) -> &[Named] {
        &self.images
    }

    /// Returns the blobs.
    ///
    /// # Errors
    /// Their directory cannot be made.
    pub fn blobs(&self) -> Result<Blobs> {
        Blobs::in_dir(self.dir.join("blobs"))
    }
}

/// Fills a set.
#[derive(Debug)]
pub struct Maker {
    blobs: Blobs,
    images: Vec<Named>,
}

impl Maker {
    /// Returns where the blobs go.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Names an image.
    pub fn add(&mut self, repository: &str, tags: &[&str], image: &Image) {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self.images.push(Named { repository: repository.to_owned(), tags, digest: image.digest.to_string() });
    }
}

/// Returns the environment that all our images start programs with.
fn environment(command: &[&str]) -> serde_json::Value {
    json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": command})
}

/// Compiles one of `tests/images/*.c` into a static program.
///
/// # Errors
/// The compiler is missing or refuses.
pub fn compiled(name: &str) -> Result<Vec<u8>> {
    let source = source(name);
    let dir = cache::directory(name, &[&files::get(&source)?], |dir| {
        let gcc = Command::new("gcc").args(["-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o"]);
        gcc.arg(dir.join(name)).arg(&source).run().map(|_| ())
    })?;
    files::get(dir.join(name))
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("images").join(format!("{name}.c"))
}

/// Returns the bytes of Debian's static busybox.
///
/// # Errors
/// It is not installed.
pub fn busybox() -> Result<Vec<u8>> {
    files::get(find("busybox")?)
}

/// Returns a small layer that only this name has.
fn mark(name: &str) -> Vec<Entry> {
    vec![Entry::dir("etc"), Entry::file(format!("etc/{name}"), name)]
}
