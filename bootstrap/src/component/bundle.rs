//! The source `bundle`: one archive with everything, made where there was a network or a compiler, for machines without.
//!
//! ```text
//! bin/{crictl,kubeadm,kubectl,kubelet}     the node's programs
//! images.tar                               the images: an OCI image layout, as `shimctl save` writes it
//! manifest.json                            version, architecture, images by name, SHA-256 of each member
//! ```
//!
//! Nothing of it is used before all of it has been read and is what the manifest says. The manifest comes last: how large
//! `images.tar` is, is known when it is written.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::bail;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::component::install::NODE_PROGRAMS;
use crate::component::installed::{Installed, Program};
use crate::component::lock::is_sha256;
use crate::component::published::image_names;
use crate::component::store::Store;
use crate::error::{Error, Result};
use crate::paths::Paths;

pub(super) use self::read::install;

mod read;
mod write;

/// The format of the manifest.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const IMAGES: &str = "images.tar";
/// Where the programs are.
const PROGRAMS: &str = "bin";
/// What a block of a tar has.
const BLOCK: usize = 512;
const BLOCK_BYTES: u64 = BLOCK as u64;

/// The file `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    /// The version of Kubernetes.
    version: String,
    /// What Rust calls the architecture of the programs.
    architecture: String,
    /// The ID of the image behind each name.
    images: BTreeMap<String, String>,
    /// Every other member.
    members: BTreeMap<String, Program>,
}

impl Manifest {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// It cannot be what we wrote; in words.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if manifest.format != FORMAT {
            return Err(format!("has format {}, known is {FORMAT}", manifest.format));
        }
        let names: Vec<&str> = manifest.images.keys().map(String::as_str).collect();
        image_names(&names.join("\n")).map_err(|error| error.to_string())?;
        let is_id = |id: &String| id.strip_prefix("sha256:").is_some_and(is_sha256);
        if !manifest.images.values().all(is_id)
            || !manifest.members.values().all(|member| is_sha256(&member.sha256))
        {
            return Err("has something else where a digest should be".into());
        }
        let expected = members();
        if manifest.members.keys().ne(expected.iter()) {
            return Err(format!("lists other members than {}", expected.join(", ")));
        }
        Ok(manifest)
    }
}

/// Returns the names of all members but the manifest, sorted.
fn members() -> Vec<String> {
    let programs = NODE_PROGRAMS.iter().map(|name| format!("{PROGRAMS}/{name}"));
    let mut names: Vec<String> = programs.chain([IMAGES.to_owned()]).collect();
    names.sort();
    names
}

/// Where the archive goes.
#[derive(Debug, Args)]
pub(crate) struct BundleArguments {
    /// File to write; without it, kubernetes-VERSION-ARCHITECTURE.tar here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `bootstrap bundle`: writes the archive of an instance that runs.
pub(crate) async fn bundle(paths: &Paths, arguments: &BundleArguments) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root can do this; repeat it with sudo");
    }
    let Some(installed) = Installed::read(paths)? else {
        bail!("this instance has no Kubernetes; first run: {}", paths.command("up"));
    };
    let output = match &arguments.output {
        Some(path) => path.clone(),
        None => format!("kubernetes-{}-{}.tar", installed.version, std::env::consts::ARCH).into(),
    };
    let store = Store::at(&paths.control_socket()).await.map_err(|error| match error {
        Error::Refused { answer, .. } => {
            Error::invalid("shimd does not run", format!("{answer}; first run: {}", paths.command("up")))
        }
        other => other,
    })?;
    let teller = Teller::default();
    let written = write::write(&store, &installed, &paths.bin(), &output, &|text| teller.tell(&text)).await;
    teller.end();
    let bytes = written?;
    writeln!(std::io::stdout(), "{} ({} MB)", output.display(), bytes / 1_000_000)?;
    Ok(())
}

/// Shows on standard error how far it is: on a terminal one line that changes, elsewhere what is begun.
#[derive(Default)]
struct Teller {
    shown: Mutex<String>,
}

impl Teller {
    fn tell(&self, text: &str) {
        let Ok(mut shown) = self.shown.lock() else { return };
        let mut stderr = std::io::stderr();
        // Where nobody listens, the work goes on.
        if stderr.is_terminal() {
            write!(stderr, "\r\x1b[K{text}").ok();
        } else if !text.starts_with(shown.as_str()) || shown.is_empty() {
            writeln!(stderr, "{text}").ok();
        } else {
            return;
        }
        *shown = text.to_owned();
    }

    /// Leaves the line.
    fn end(&self) {
        let mut stderr = std::io::stderr();
        if stderr.is_terminal() {
            write!(stderr, "\r\x1b[K").ok();
        }
    }
}

#[cfg(test)]
#[path = "bundle/tests.rs"]
mod tests;
