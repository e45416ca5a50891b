//! `shimctl down`.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use proto::lifecycle as api;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

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
    let mut client = match connect::lifecycle(layout).await {
        Ok(client) => client,
        Err(Cause::Absent) => {
            // Where it died, what it looked after runs on: another one takes that over, so that it can be taken down.
            program::bootstrap(layout, "start", &["--if-left"])?;
            match connect::lifecycle(layout).await {
                Ok(client) => client,
                Err(Cause::Absent) => return output::line("Nothing runs."),
                Err(cause) => return Err(connect::no_lifecycle(&cause, layout)),
            }
        }
        Err(cause) => return Err(connect::no_lifecycle(&cause, layout)),
    };
    // A part of a second is a second.
    let seconds = args.grace.as_secs() + u64::from(args.grace.subsec_nanos() > 0);
    let request = api::DownRequest { grace_seconds: u32::try_from(seconds).unwrap_or(u32::MAX) };
    let service = process(client.status(api::StatusRequest {}).await?.into_inner().pid);
    let mut interrupts = super::interrupts()?;
    let mut follower = Follower::new(Parts::stopping());
    let end = {
        let stop = async {
            let events = client.down(request).await?.into_inner();
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
            output::line("Everything has stopped.")
        }
        End::Failed(_) | End::Early => {
            let missing = follower.missing();
            let what = if missing.is_empty() { String::new() } else { format!(": {missing}") };
            let logs = layout.root_command("logs");
            Err(Failure::failed(format!("not everything has stopped{what}; see: {logs}")))
        }
    }
}

/// Returns what becomes readable when the process ends; nothing where it has ended, or lives out of sight.
fn process(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}
