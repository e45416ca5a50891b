//! The commands, one module each.

pub(crate) mod build;
pub(crate) mod bundle;
pub(crate) mod completion;
pub(crate) mod df;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod env;
mod follow;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod reset;
pub(crate) mod rmi;
pub(crate) mod save;
pub(crate) mod status;
pub(crate) mod tag;
pub(crate) mod up;
pub(crate) mod verify;
pub(crate) mod version;

use crate::cli::Command;
use crate::exit::Failure;
use crate::layout::Layout;

/// Runs one command.
pub(crate) async fn run(command: Command, layout: &Layout) -> Result<(), Failure> {
    match command {
        Command::Build(args) => build::run(args, layout).await,
        Command::Images(args) => images::run(args, layout).await,
        Command::Pull(args) => pull::run(args, layout).await,
        Command::Tag(args) => tag::run(args, layout).await,
        Command::Rmi(args) => rmi::run(args, layout).await,
        Command::Inspect(args) => inspect::run(args, layout).await,
        Command::History(args) => history::run(args, layout).await,
        Command::Df(args) => df::run(args, layout).await,
        Command::Prune(args) => prune::run(args, layout).await,
        Command::Verify(args) => verify::run(args, layout).await,
        Command::Save(args) => save::run(args, layout).await,
        Command::Load(args) => load::run(args, layout).await,
        Command::Up(args) => up::run(args, layout).await,
        Command::Down(args) => down::run(args, layout).await,
        Command::Reset(args) => reset::run(args, layout).await,
        Command::Status(args) => status::run(args, layout).await,
        Command::Logs(args) => logs::run(args, layout).await,
        Command::Env(args) => env::run(args, layout),
        Command::Bundle(args) => bundle::run(args, layout),
        Command::Doctor => doctor::run(layout),
        Command::Completion(args) => completion::run(args),
        Command::Version => version::run(layout).await,
    }
}

/// Returns a stream of this process's interrupts. From now on they do not end it.
fn interrupts() -> Result<tokio::signal::unix::Signal, Failure> {
    use anyhow::Context as _;
    use tokio::signal::unix::{SignalKind, signal};
    Ok(signal(SignalKind::interrupt()).context("wait for interrupts")?)
}
