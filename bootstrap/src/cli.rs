//! The command line. The environment is read here and where programs are searched for.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::component::{self, BundleArguments, FillArguments};
use crate::enter::{self, EnterArguments};
use crate::fault;
use crate::hold::{self, HoldArguments};
use crate::machine::probe;
use crate::paths::{DEFAULT_ROOT, Paths};
use crate::start::{self, StartArguments};
use crate::{doctor, service};

/// What is logged unless the environment asks for something else.
///
/// What the client of the API server complains of, its callers say too, and once: it is asked many times a second while it starts.
const LOG_FILTER: &str = "info,kube_client::client::builder=off";
/// Where the service shall die, for tests: see [`fault::Failpoint`].
const FAILPOINT: &str = "SHIM_FAILPOINT";

/// Brings up what a single-node cluster needs, and keeps it up.
#[derive(Debug, Parser)]
#[command(name = "bootstrap", version)]
struct Cli {
    /// Directory of the instance
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_ROOT, env = "SHIM_ROOT")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the lifecycle service in the background, if it does not run
    Start(StartArguments),
    /// Run the lifecycle service
    Serve,
    /// Say what this machine lacks, and what mends it
    Doctor,
    /// Build the components of Kubernetes into a cache, and say where they are
    #[command(hide = true)]
    Components(FillArguments),
    /// Write all components of a running instance into one archive
    #[command(hide = true)]
    Bundle(BundleArguments),
    /// Keep the namespaces of the box
    #[command(hide = true)]
    Hold(HoldArguments),
    /// Run a program as a part of the instance
    #[command(hide = true)]
    Enter(EnterArguments),
    /// Try what the kernel can do
    #[command(hide = true)]
    Probe,
}

/// Runs the program.
pub fn run() -> ExitCode {
    match execute(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            use std::io::Write;
            // Where standard error is closed, the exit code has to do.
            writeln!(std::io::stderr(), "Error: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Nothing here may start a thread before it is known that the command is not one of those that change their namespaces.
fn execute(cli: &Cli) -> anyhow::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match &cli.command {
        Command::Hold(arguments) => hold::run(&Paths::new(&cli.root)?, arguments).map(done),
        Command::Enter(arguments) => enter::run(arguments).map(done),
        Command::Probe => probe::run().map(done),
        Command::Doctor => block_on(doctor::run(&Paths::new(&cli.root)?)),
        Command::Components(arguments) => {
            start_log("warn")?;
            block_on(component::fill(&Paths::new(&cli.root)?, arguments)).map(done)
        }
        Command::Bundle(arguments) => {
            start_log("warn")?;
            block_on(component::bundle(&Paths::new(&cli.root)?, arguments)).map(done)
        }
        Command::Start(arguments) => {
            start_log("warn")?;
            block_on(start::run(&Paths::new(&cli.root)?, arguments))
        }
        Command::Serve => {
            start_log(LOG_FILTER)?;
            if let Ok(failpoint) = std::env::var(FAILPOINT) {
                fault::arm(failpoint.parse()?);
            }
            // It fails for the leader of a group, which nothing at a terminal can interrupt either.
            rustix::process::setsid().ok();
            rustix::process::umask(enter::UMASK);
            // Whoever speaks TLS in this process speaks it with this; only a second call could fail.
            rustls::crypto::ring::default_provider().install_default().ok();
            block_on(service::run(Paths::new(&cli.root)?)).map(done)
        }
    }
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start threads")?.block_on(work)
}

fn start_log(default: &str) -> anyhow::Result<()> {
    let filter = std::env::var("SHIM_LOG").unwrap_or_else(|_| default.to_owned());
    let filter: EnvFilter = filter.parse().with_context(|| format!("the log filter {filter:?} is wrong"))?;
    // What cannot be written, since the disk of the log is full, is lost: to complain of it there would be a panic.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let words = [
            "bootstrap",
            "enter",
            "--holder=7",
            "--holder-start=8",
            "--oom-score-adj=-999",
            "--",
            "ip",
            "-batch",
        ];
        assert!(Cli::try_parse_from(words).is_ok());
        assert!(Cli::try_parse_from(["bootstrap", "enter", "--holder=7", "--", "ip"]).is_err());
        assert!(Cli::try_parse_from(["bootstrap", "start", "--root", "/x", "--no-kubernetes"]).is_ok());
    }
}
