//! `shimctl build`.

mod request;
mod view;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use proto::control as api;
use proto::control::build_event::Event;
use proto::control::build_request::Request;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use self::view::View;
use crate::connect::{self, Control};
use crate::credentials::Lookups;
use crate::exit::{Failure, message};
use crate::file::Destination;
use crate::layout::Layout;
use crate::output;
use crate::output::text::printable;

/// Answers that may wait to be sent.
const REQUESTS: usize = 16;
/// How often the progress is painted.
const FRAME: Duration = Duration::from_millis(100);
/// How long the daemon may take to end a build that was cancelled.
const CANCEL_WAIT: Duration = Duration::from_secs(5);
/// The permissions of the file for the image ID, apart from the umask.
const IIDFILE_MODE: u32 = 0o666;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  shimctl build -t hellodocker .\n  shimctl build -t app:dev -f docker/Dockerfile.dev --build-arg VERSION=1.2 .\n  shimctl build -q -f - . < Dockerfile"
)]
pub(crate) struct Args {
    /// The directory that COPY and ADD copy from
    #[arg(value_name = "PATH")]
    context: PathBuf,
    /// Name of the image, with a tag if wanted
    #[arg(short = 't', long = "tag", value_name = "NAME[:TAG]")]
    tags: Vec<String>,
    /// The Dockerfile (default PATH/Dockerfile); - reads it from standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The stage to build; without it, the last
    #[arg(long, value_name = "STAGE", default_value = "", hide_default_value = true)]
    target: String,
    /// Value of an ARG; without =VALUE it is taken from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,
    /// Do not use the cache
    #[arg(long)]
    no_cache: bool,
    /// Ask the registry for newer base images
    #[arg(long)]
    pull: bool,
    /// Write the image ID to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Print nothing but the image ID
    #[arg(short, long)]
    quiet: bool,
    /// How progress is shown: auto is tty on a terminal, else plain
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Progress {
    Auto,
    Plain,
    Tty,
    Quiet,
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    if args.quiet && matches!(args.progress, Progress::Plain | Progress::Tty) {
        return Err(Failure::Usage("--quiet and --progress contradict each other".into()));
    }
    let progress = if args.quiet { Progress::Quiet } else { args.progress };
    let start = request::start(&args)?;
    if let Some(path) = &args.iidfile {
        make_way(path)?;
    }
    let control = connect::control(layout).await?;
    let mut session = Session::new(View::new(progress)?)?;
    let end = session.run(&control, start).await;
    session.view.finish();
    match end {
        Ok(End::Finished(finished)) => {
            session.view.print_warnings();
            succeed(&args, progress, &finished.image_id)
        }
        Ok(End::Failed(failed)) => {
            session.view.print_failure(&failed);
            Err(Failure::reported())
        }
        Ok(End::Cancelled) => {
            output::note("ERROR: canceled");
            Err(Failure::Interrupted)
        }
        Err(Refusal::Daemon(status)) if std::error::Error::source(&status).is_none() => {
            output::note(&format!("ERROR: {}", printable(&message(&status))));
            Err(Failure::reported())
        }
        Err(Refusal::Daemon(status)) => Err(status.into()),
        Err(Refusal::Here(failure)) => Err(failure),
    }
}

fn succeed(args: &Args, progress: Progress, image_id: &str) -> Result<(), Failure> {
    if let Some(path) = &args.iidfile {
        let mut file = Destination::create(path, IIDFILE_MODE)?;
        file.write(image_id.as_bytes())?;
        file.finish()?;
    }
    if progress == Progress::Quiet { output::line(image_id) } else { Ok(()) }
}

/// Removes the ID of an earlier build, which nobody shall take for that of one that fails, and refuses before the build what
/// cannot be written after it.
fn make_way(path: &Path) -> anyhow::Result<()> {
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
        std::fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(dir.is_dir(), "create {}: there is no directory {}", path.display(), dir.display());
    Ok(())
}

/// How a build ended.
enum End {
    Finished(api::BuildFinished),
    Failed(Box<api::BuildFailed>),
    Cancelled,
}

/// Why there is no end.
enum Refusal {
    /// What the daemon says, or why its answer did not come.
    Daemon(tonic::Status),
    /// Something on this side.
    Here(Failure),
}

impl From<tonic::Status> for Refusal {
    fn from(status: tonic::Status) -> Self {
        Self::Daemon(status)
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self::Here(error.into())
    }
}

/// The talk with the daemon about one build.
struct Session {
    view: View,
    interrupts: tokio::signal::unix::Signal,
    lookups: Lookups,
    /// The way to the daemon; closed when the build shall end.
    requests: Option<mpsc::Sender<api::BuildRequest>>,
    /// When a build that was cancelled is given up.
    deadline: Option<Instant>,
}

impl Session {
    fn new(view: View) -> Result<Self, Failure> {
        let interrupts = super::interrupts()?;
        Ok(Self { view, interrupts, lookups: Lookups::default(), requests: None, deadline: None })
    }

    async fn run(&mut self, control: &Control, start: api::BuildStart) -> Result<End, Refusal> {
        let (requests, stream) = mpsc::channel(REQUESTS);
        self.requests = Some(requests);
        self.send(Request::Start(start)).await;
        let mut client = control.builder();
        let mut events = tokio::select! {
            answer = client.build(ReceiverStream::new(stream)) => answer?.into_inner(),
            _ = self.interrupts.recv() => return Ok(End::Cancelled),
        };
        let mut frames = tokio::time::interval(FRAME);
        loop {
            tokio::select! {
                event = next(&mut events) => match event {
                    Ok(event) => if let Some(end) = self.handle(event)? { return Ok(end) },
                    // However the daemon ends what was cancelled, it was cancelled.
                    Err(_) if self.deadline.is_some() => return Ok(End::Cancelled),
                    Err(refusal) => return Err(refusal),
                },
                credential = self.lookups.next(), if self.deadline.is_none() => {
                    self.send(Request::Credential(credential?)).await;
                }
                _ = frames.tick() => self.view.tick(),
                _ = self.interrupts.recv() => {
                    if self.deadline.is_some() {
                        return Ok(End::Cancelled);
                    }
                    self.cancel();
                }
                () = sleep_until(self.deadline) => return Ok(End::Cancelled),
            }
        }
    }

    fn handle(&mut self, event: Event) -> anyhow::Result<Option<End>> {
        match event {
            Event::CredentialNeeded(needed) => self.lookups.start(needed.host)?,
            Event::Warning(warning) => self.view.warn(warning),
            Event::Finished(finished) => return Ok(Some(End::Finished(finished))),
            Event::Failed(_) if self.deadline.is_some() => return Ok(Some(End::Cancelled)),
            Event::Failed(failed) => return Ok(Some(End::Failed(Box::new(failed)))),
            Event::StepStarted(step) => self.view.step_started(&step),
            Event::StepOutput(output) => self.view.step_output(&output),
            Event::StepProgress(progress) => self.view.step_progress(&progress),
            Event::StepFinished(finished) => self.view.step_finished(finished),
        }
        Ok(None)
    }

    async fn send(&self, request: Request) {
        if let Some(requests) = &self.requests {
            // Where nobody takes it, the events have ended, and say why.
            requests.send(api::BuildRequest { request: Some(request) }).await.ok();
        }
    }

    fn cancel(&mut self) {
        self.view.cancel();
        self.requests = None;
        self.deadline = Some(Instant::now() + CANCEL_WAIT);
    }
}

async fn next(events: &mut Streaming<api::BuildEvent>) -> Result<Event, Refusal> {
    loop {
        match events.message().await? {
            Some(api::BuildEvent { event: Some(event) }) => return Ok(event),
            // An event of a newer daemon.
            Some(api::BuildEvent { event: None }) => {}
            None => {
                let early = "the daemon ended the build without a result";
                return Err(Refusal::Here(Failure::failed(early)));
            }
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
