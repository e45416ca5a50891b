//! `shimctl bundle`.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::exit::Failure;
use crate::layout::Layout;
use crate::program;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sudo shimctl bundle -o kubernetes.tar\n  sudo shimctl up --components bundle=kubernetes.tar"
)]
pub(crate) struct Args {
    /// File to write; without it, kubernetes-VERSION-ARCHITECTURE.tar here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Lets bootstrap write the archive, and ends as it ends.
pub(crate) fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    match args.output {
        None => program::bootstrap(layout, "bundle", &[]),
        Some(path) => {
            let path = path.to_str().context("the name of the file is not UTF-8")?;
            program::bootstrap(layout, "bundle", &[&format!("--output={path}")])
        }
    }
}
