//! `shimctl save`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use proto::control as api;
use tonic::Streaming;

use crate::connect;
use crate::exit::Failure;
use crate::file::Destination;
use crate::layout::Layout;
use crate::output;

/// The permissions of an archive: an image may hold secrets.
const ARCHIVE_MODE: u32 = 0o600;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  shimctl save -o hello.tar hellodocker\n  shimctl save hellodocker | skopeo inspect oci-archive:/dev/stdin"
)]
pub(crate) struct Args {
    /// The images: names, IDs or beginnings of these
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::failed("cowardly refusing to save to a terminal; use the -o flag or redirect"));
    }
    let mut interrupts = super::interrupts()?;
    let save = async {
        let mut client = connect::control(layout).await?.images();
        let chunks = client.save(api::SaveRequest { names: args.images }).await?.into_inner();
        match &args.output {
            Some(path) => to_file(chunks, Destination::create(path, ARCHIVE_MODE)?).await,
            None => to_stdout(chunks).await,
        }
    };
    tokio::select! {
        result = save => result,
        _ = interrupts.recv() => {
            output::error("interrupted");
            Err(Failure::Interrupted)
        }
    }
}

async fn to_file(mut chunks: Streaming<api::SaveChunk>, mut file: Destination) -> Result<(), Failure> {
    while let Some(chunk) = chunks.message().await? {
        file.write(&chunk.data)?;
    }
    Ok(file.finish()?)
}

async fn to_stdout(mut chunks: Streaming<api::SaveChunk>) -> Result<(), Failure> {
    // Without the line buffer of `Stdout`, which would look for line ends in every chunk.
    let mut out = std::fs::File::from(
        rustix::io::fcntl_dupfd_cloexec(std::io::stdout(), 0).context("open standard output")?,
    );
    while let Some(chunk) = chunks.message().await? {
        out.write_all(&chunk.data).context("write to standard output")?;
    }
    Ok(())
}
