//! `bootstrap components`: fills a cache without an instance.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use crate::component::cache::Cache;
use crate::component::{cache_of, default_version, fill_cache, known};
use crate::enter;
use crate::kubeadm::Version;
use crate::paths::Paths;

/// What to fill, and with what.
#[derive(Debug, Args)]
pub(crate) struct FillArguments {
    /// Version of Kubernetes
    #[arg(long, value_name = "V", default_value = default_version())]
    version: String,
    /// Directory of the cache; without it, the instance's
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Builds what is missing, and prints the directory of the entry.
pub(crate) async fn fill(paths: &Paths, arguments: &FillArguments) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root can do this; repeat it with sudo");
    }
    // What is built goes into images with the permissions that it has.
    rustix::process::umask(enter::UMASK);
    let version: Version = arguments.version.parse()?;
    let known = known::find(&version.to_string())?;
    let cache = match &arguments.cache {
        Some(directory) => Cache::new(directory)?,
        None => cache_of(paths)?,
    };
    let report = |text: String| {
        // Where nobody listens, the work goes on.
        writeln!(std::io::stderr(), "{text}").ok();
    };
    let entry = fill_cache(&cache, known, &report).await?;
    writeln!(std::io::stdout(), "{}", entry.directory.display())?;
    Ok(())
}
