//! `shimctl down`.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use proto::lifecycle as api;
use proto::lifecycle::lifecycle_client::LifecycleClient;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tonic::Streaming;
use tonic::transport::Channel;

use super::follow::{End, Follower};
use crate::cli::duration;
use crate::connect::{self, Cause};
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::program;
use crate::progress::parts::Parts;

/// How long the service may take to end after it has said that all else has.
const SERVICE_END: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long containers and daemons have to end by themselves
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    grace: Duration,
}

/// Stops everything. Where nothing runs, that is done.
pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    let order = Order { start: "--if-left", idle: "Nothing runs.", done: "Everything has stopped." };
    order.give(layout, Wish::Down { grace: args.grace }).await
}

/// What is wanted of the lifecycle service.
#[derive(Debug)]
pub(super) enum Wish {
    Down { grace: Duration },
    Reset { all: bool },
}

/// How an order that ends with everything down is given.
#[derive(Debug)]
pub(super) struct Order {
    /// The flag with which a service is started where none runs, if it finds something to do.
    pub(super) start: &'static str,
    /// What is said where there is nothing to do.
    pub(super) idle: &'static str,
    pub(super) done: &'static str,
}

impl Order {
    pub(super) async fn give(&self, layout: &Layout, wish: Wish) -> Result<(), Failure> {
        let mut client = match connect::lifecycle(layout).await {
            Ok(client) => client,
            Err(Cause::Absent) => {
                // Where it died, what it looked after runs on: another one takes that over, so that it can be taken down.
                program::bootstrap(layout, "start", &[self.start])?;
                match connect::lifecycle(layout).await {
                    Ok(client) => client,
                    Err(Cause::Absent) => return output::line(self.idle),
                    Err(cause) => return Err(connect::no_lifecycle(&cause, layout)),
                }
            }
            Err(cause) => return Err(connect::no_lifecycle(&cause, layout)),
        };
        let service = process(client.status(api::StatusRequest {}).await?.into_inner().pid);
        let mut interrupts = super::interrupts()?;
        let mut follower = Follower::new(Parts::stopping());
        let end = {
            let stop = async {
                let events = ask(&mut client, wish).await?;
                // A part that does not stop must not keep the others from being shown.
                follower.follow(events, |_| false).await
            };
            tokio::select! {
                end = stop => end?,
                _ = interrupts.recv() => {
                    output::error(&format!("interrupted; the work goes on: {} shows it", layout.root_command("status")));
                    return Err(Failure::Interrupted);
                }
            }
        };
        follower.paint();
        match end {
            End::Complete => {
                if let Some(service) = service {
                    // Whoever looks next must not find it; that it has stopped all else, it has said.
                    drop(client);
                    poll(&mut [PollFd::from_borrowed_fd(service.as_fd(), PollFlags::IN)], Some(&SERVICE_END))
                        .ok();
                }
                output::line(self.done)
            }
            End::Failed(_) | End::Early => {
                let missing = follower.missing();
                let what = if missing.is_empty() { String::new() } else { format!(": {missing}") };
                let logs = layout.root_command("logs");
                Err(Failure::failed(format!("not everything has stopped{what}; see: {logs}")))
            }
        }
    }
}

async fn ask(
    client: &mut LifecycleClient<Channel>,
    wish: Wish,
) -> Result<Streaming<api::Event>, tonic::Status> {
    let events = match wish {
        Wish::Down { grace } => {
            // A part of a second is a second.
            let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
            let grace_seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            client.down(api::DownRequest { grace_seconds }).await?
        }
        Wish::Reset { all } => client.reset(api::ResetRequest { all, grace_seconds: 0 }).await?,
    };
    Ok(events.into_inner())
}

/// Returns what becomes readable when the process ends; nothing where it has ended, or lives out of sight.
fn process(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}
