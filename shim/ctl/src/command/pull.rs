//! `shimctl pull`.

use std::time::Duration;

use proto::control as api;
use proto::control::pull_event::Event;
use proto::control::pull_request::Request;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::connect;
use crate::credentials::Lookups;
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::output::text::single_line;
use crate::progress::pull::Pull;
use crate::progress::screen::Screen;
use crate::reference::{familiar, remote_path, split};

/// Answers that may wait to be sent.
const REQUESTS: usize = 16;
/// How often the screen is painted.
const FRAME: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
    /// Print nothing but the name
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    let mut interrupts = super::interrupts()?;
    let mut view = View::new(&args);
    let result = tokio::select! {
        result = pull(&args, layout, &mut view) => result,
        _ = interrupts.recv() => Err(Failure::Interrupted),
    };
    match result {
        Ok(finished) => view.finish(&finished),
        Err(failure) => {
            view.paint();
            if matches!(failure, Failure::Interrupted) {
                output::error("interrupted; what is complete will not be fetched again");
            }
            Err(failure)
        }
    }
}

async fn pull(args: &Args, layout: &Layout, view: &mut View) -> Result<api::PullFinished, Failure> {
    let mut client = connect::control(layout).await?.images();
    view.begin()?;
    let (requests, stream) = mpsc::channel(REQUESTS);
    let start = api::PullStart { name: args.name.clone(), ..Default::default() };
    send(&requests, Request::Start(start)).await;
    let mut events = client.pull(ReceiverStream::new(stream)).await?.into_inner();
    let mut lookups = Lookups::default();
    let mut frames = tokio::time::interval(FRAME);
    loop {
        tokio::select! {
            event = next(&mut events) => match event? {
                Event::Layer(layer) => view.update(&layer)?,
                Event::CredentialNeeded(needed) => lookups.start(needed.host)?,
                Event::Finished(finished) => return Ok(finished),
            },
            credential = lookups.next() => send(&requests, Request::Credential(credential?)).await,
            _ = frames.tick() => view.paint(),
        }
    }
}

async fn next(events: &mut Streaming<api::PullEvent>) -> Result<Event, Failure> {
    loop {
        match events.message().await? {
            Some(api::PullEvent { event: Some(event) }) => return Ok(event),
            // An event of a newer daemon.
            Some(api::PullEvent { event: None }) => {}
            None => return Err(Failure::failed("the daemon ended the pull before it was complete")),
        }
    }
}

async fn send(requests: &mpsc::Sender<api::PullRequest>, request: Request) {
    // Where nobody takes it, the events have ended, and say why.
    requests.send(api::PullRequest { request: Some(request) }).await.ok();
}

/// What the user sees of a pull.
struct View {
    name: String,
    quiet: bool,
    /// Whether the headline was printed.
    begun: bool,
    screen: Option<Screen>,
    pull: Pull,
}

impl View {
    fn new(args: &Args) -> Self {
        let screen = if args.quiet { None } else { Screen::on_terminal() };
        Self { name: args.name.clone(), quiet: args.quiet, begun: false, screen, pull: Pull::default() }
    }

    fn begin(&self) -> Result<(), Failure> {
        let parts = split(&self.name);
        if self.quiet || parts.tag.is_some() || parts.digest.is_some() {
            return Ok(());
        }
        output::line("Using default tag: latest")
    }

    fn headline(&mut self) -> Result<(), Failure> {
        if self.quiet || self.begun {
            return Ok(());
        }
        self.begun = true;
        let parts = split(&self.name);
        let which = parts.digest.or(parts.tag).unwrap_or("latest");
        output::line(&single_line(&format!("{which}: Pulling from {}", remote_path(parts.repository))))
    }

    fn update(&mut self, layer: &api::LayerProgress) -> Result<(), Failure> {
        self.headline()?;
        match self.pull.update(layer) {
            Some(line) if self.is_log() => output::line(&line),
            _ => Ok(()),
        }
    }

    fn paint(&mut self) {
        if let Some(screen) = &mut self.screen {
            screen.paint(&self.pull.frame(screen.size()));
        }
    }

    fn finish(&mut self, finished: &api::PullFinished) -> Result<(), Failure> {
        self.headline()?;
        let lines = self.pull.finish();
        if self.is_log() {
            lines.iter().try_for_each(|line| output::line(line))?;
        }
        self.paint();
        if !self.quiet {
            let name = familiar(&finished.name);
            let status = if finished.up_to_date { "Image is up to date" } else { "Downloaded newer image" };
            output::line(&format!("Digest: {}\nStatus: {status} for {name}", finished.digest))?;
        }
        output::line(&finished.name)
    }

    const fn is_log(&self) -> bool {
        !self.quiet && self.screen.is_none()
    }
}
