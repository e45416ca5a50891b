#![doc = include_str!("../README.md")]

mod blocking;
mod build;
mod config;
mod containerd;
mod control;
mod cri;
mod daemon;
mod deadline;
mod images;
mod janitor;
mod mountns;
mod pause;
mod policy;
mod snapshotter;
mod socket;
mod status;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

use config::{Arguments, Config, Log};

/// Threads for store work that blocks. More would wait for the same disk.
const BLOCKING_THREADS: usize = 32;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::read(&arguments.config);
    start_log(&arguments, config.as_ref().ok().map(|config| &config.log))?;
    let config = config?;
    raise_file_limit()?;
    mountns::enter().context("cannot make a mount namespace; shimd must run as root")?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("cryptography was set up twice"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("shimd")
        .build()
        .context("cannot start threads")?;
    runtime.block_on(daemon::run(arguments, config))
}

/// Starts the log, with the default filter where the one that was given is wrong: somebody must be told.
fn start_log(arguments: &Arguments, config: Option<&Log>) -> anyhow::Result<()> {
    let default = Log::default();
    let config = config.unwrap_or(&default);
    let filter = arguments.log.as_deref().unwrap_or(&config.filter);
    let parsed = filter.parse::<EnvFilter>().with_context(|| format!("the log filter {filter:?} is wrong"));
    let (filter, result) = match parsed {
        Ok(filter) => (filter, Ok(())),
        Err(error) => (EnvFilter::new(&default.filter), Err(error)),
    };
    // What cannot be written, since the disk of the log is full, is lost: to complain of it there would be a panic.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false);
    if arguments.log_json || config.json {
        log.json().init()
    } else {
        log.init()
    }
    result
}

/// Every container and every layer that is unpacked holds a few files open.
fn raise_file_limit() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}
