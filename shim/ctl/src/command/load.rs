//! `shimctl load`.

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::PathBuf;

use anyhow::Context as _;
use proto::control as api;
use proto::control::load_event::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::connect;
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::reference::familiar;

/// What one message carries.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that may wait to be sent.
const CHUNKS: usize = 8;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  shimctl load -i hello.tar\n  shimctl load < hello.tar")]
pub(crate) struct Args {
    /// Read from a file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    if args.input.is_none() && std::io::stdin().is_terminal() {
        return Err(Failure::failed("nothing is read from a terminal; use the -i flag or redirect"));
    }
    let mut interrupts = super::interrupts()?;
    let images = tokio::select! {
        result = load(&args, layout) => result?,
        _ = interrupts.recv() => {
            output::error("interrupted");
            return Err(Failure::Interrupted);
        }
    };
    if args.quiet {
        return Ok(());
    }
    images.iter().try_for_each(|image| match &image.names[..] {
        [] => output::line(&format!("Loaded image ID: {}", image.id)),
        names => names.iter().try_for_each(|name| output::line(&format!("Loaded image: {}", familiar(name)))),
    })
}

async fn load(args: &Args, layout: &Layout) -> Result<Vec<api::Image>, Failure> {
    let input: Box<dyn Read + Send> = match &args.input {
        Some(path) => Box::new(File::open(path).with_context(|| format!("open {}", path.display()))?),
        None => Box::new(std::io::stdin()),
    };
    let mut client = connect::control(layout).await?.images();
    let (chunks, stream) = mpsc::channel(CHUNKS);
    // The end of the stream is the end of the archive: it must not come because reading failed.
    let unread = chunks.clone();
    let mut reading = tokio::task::spawn_blocking(move || read(input, &chunks));
    let answers = async {
        let mut events = client.load(ReceiverStream::new(stream)).await?.into_inner();
        while let Some(event) = events.message().await? {
            if let Some(Event::Finished(finished)) = event.event {
                return Ok(finished.images);
            }
        }
        Err(Failure::failed("the daemon ended the load before it was complete"))
    };
    tokio::pin!(answers);
    tokio::select! {
        answer = &mut answers => return answer,
        read = &mut reading => read.context("read the archive")??,
    }
    drop(unread);
    answers.await
}

fn read(mut input: impl Read, chunks: &mpsc::Sender<api::LoadRequest>) -> anyhow::Result<()> {
    loop {
        let mut data = Vec::with_capacity(CHUNK_BYTES);
        let count =
            input.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut data).context("read the archive")?;
        // Where nobody takes it, the answer says why.
        if count == 0 || chunks.blocking_send(api::LoadRequest { data }).is_err() {
            return Ok(());
        }
    }
}
