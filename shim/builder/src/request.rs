//! What is to be built.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cachestore::Reference;

/// One build.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// The directory that `COPY` copies from. Absolute.
    pub context_dir: PathBuf,
    /// The Dockerfile.
    pub dockerfile: Vec<u8>,
    /// What the Dockerfile is called in messages.
    pub dockerfile_name: String,
    /// Where the Dockerfile is, if it is a file: an ignore file beside it wins over that of the context.
    pub dockerfile_path: Option<PathBuf>,
    /// What the image will be called.
    pub names: Vec<Reference>,
    /// The stage to build: its name or its number; the last one without it.
    pub target: Option<String>,
    /// Values of build arguments.
    pub build_args: BTreeMap<String, String>,
    /// Runs every step again.
    pub no_cache: bool,
    /// Asks registries for newer base images even where the store has one.
    pub pull: bool,
}
