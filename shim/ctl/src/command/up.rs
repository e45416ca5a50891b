//! `shimctl up`.

use std::time::{Duration, Instant};

use proto::lifecycle as api;
use proto::lifecycle::State;
use proto::lifecycle::lifecycle_client::LifecycleClient;
use tonic::transport::Channel;

use super::follow::{End, Follower};
use crate::cli::duration;
use crate::connect::{self, Cause};
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::program;
use crate::progress::parts::Parts;

/// How long the lifecycle service may take to open its socket after `bootstrap start` has returned.
const SOCKET_WAIT: Duration = Duration::from_secs(10);
/// How often it is tried.
const SOCKET_RETRY: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sudo shimctl up --no-kubernetes --install\n  sudo shimctl --root /srv/two up --no-kubernetes"
)]
pub(crate) struct Args {
    /// Start the container runtime only: for crictl, and for another kubelet
    #[arg(long)]
    no_kubernetes: bool,
    /// Install the packages of the distribution that are missing
    #[arg(long)]
    install: bool,
    /// How long to wait until everything is ready
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    wait: Duration,
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    let mut flags = Vec::new();
    flags.extend(args.no_kubernetes.then_some("--no-kubernetes"));
    flags.extend(args.install.then_some("--install"));
    program::bootstrap(layout, "start", &flags)?;
    let mut interrupts = super::interrupts()?;
    let mut follower = Follower::new(Parts::starting());
    let end = tokio::select! {
        end = start(layout, &mut follower) => Some(end?),
        () = tokio::time::sleep(args.wait) => None,
        _ = interrupts.recv() => {
            follower.paint();
            output::error(&format!("interrupted; the work goes on: {} shows it", layout.root_command("status")));
            return Err(Failure::Interrupted);
        }
    };
    follower.paint();
    match end {
        Some(End::Complete) => {
            output::line(&format!("Ready. To use it: eval \"$({})\"", layout.command("env")))
        }
        Some(End::Failed(event)) => Err(failed(&event)),
        Some(End::Early) => Err(Failure::failed(format!(
            "the lifecycle service ended before everything was ready; see: {}",
            layout.root_command("logs")
        ))),
        None => Err(Failure::failed(format!(
            "not ready after {:?}: {}; the work goes on: {} shows it",
            args.wait,
            follower.missing(),
            layout.root_command("status")
        ))),
    }
}

async fn start(layout: &Layout, follower: &mut Follower) -> Result<End, Failure> {
    let mut client = connect_soon(layout).await.map_err(|cause| connect::no_lifecycle(&cause, layout))?;
    let events = client.up(api::UpRequest {}).await?.into_inner();
    follower.follow(events, |event| event.state() == State::Failed).await
}

async fn connect_soon(layout: &Layout) -> Result<LifecycleClient<Channel>, Cause> {
    let deadline = Instant::now() + SOCKET_WAIT;
    loop {
        match connect::lifecycle(layout).await {
            Err(Cause::Absent) if Instant::now() < deadline => tokio::time::sleep(SOCKET_RETRY).await,
            result => return result,
        }
    }
}

fn failed(event: &api::Event) -> Failure {
    let hint = if event.hint.is_empty() { String::new() } else { format!("\nhint: {}", event.hint) };
    Failure::failed(format!("{}: {}{hint}", event.part, event.message))
}
