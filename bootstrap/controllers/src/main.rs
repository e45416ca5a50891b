#![doc = include_str!("../README.md")]

mod cluster;
#[cfg(test)]
mod fake;
mod health;
mod mirror;
mod name;
mod notice;
mod ports;
mod retry;
mod storage;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

/// What is logged. The client library repeats every failure, at length.
const LOGGED: &str = "info,kube_client=off,kube_runtime=off";

/// Controllers that run in the cluster
#[derive(Debug, Parser)]
#[command(name = "controllers", version)]
struct Arguments {
    /// The port on which probes are answered
    #[arg(long, global = true, default_value_t = 8080, value_name = "PORT")]
    health_port: u16,
    #[command(subcommand)]
    controller: Controller,
}

#[derive(Debug, Subcommand)]
enum Controller {
    /// Make volumes for claims, as directories
    StorageProvisioner {
        /// The directory of all volumes, whose path is the same here and on the node
        #[arg(long, value_name = "DIR")]
        volumes: PathBuf,
    },
    /// Ask for ports on localhost for Services and host ports
    VpnkitController {
        /// The socket of the port service
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
        /// The node's address, where node ports are
        #[arg(long, env = "NODE_IP", value_name = "ADDRESS")]
        node: Option<IpAddr>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("SHIM_LOG").unwrap_or_else(|_| EnvFilter::new(LOGGED));
    // What cannot be written, since the disk of the log is full, is lost: to complain of it there would be a panic.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .init();
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> Result<()> {
    // One thread is enough for what little there is to do; the disk has threads of its own.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let result = runtime.block_on(until_told(arguments));
    // Work on the disk is not waited for: it can be interrupted anywhere.
    runtime.shutdown_background();
    result
}

async fn until_told(arguments: Arguments) -> Result<()> {
    // The first process of a container is not ended by signals that it does not handle.
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle signals")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        result = run(arguments) => return result,
    }
    info!("ends");
    Ok(())
}

async fn run(arguments: Arguments) -> Result<()> {
    let health = health::listen(arguments.health_port).await?;
    let client = cluster::client().await?;
    match arguments.controller {
        Controller::StorageProvisioner { volumes } => storage::run(client, &volumes, health).await,
        Controller::VpnkitController { socket, node } => ports::run(client, &socket, node, health).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
