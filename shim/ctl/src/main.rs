#![doc = include_str!("../README.md")]

mod cli;
mod command;
mod connect;
mod credentials;
mod exit;
mod file;
mod layout;
mod output;
mod program;
mod progress;
mod reference;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use crate::cli::Cli;
use crate::exit::Failure;
use crate::layout::Layout;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let layout = Layout::new(&cli.root).map_err(Failure::Usage)?;
    // One thread is enough for one call, and starts fastest.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start")?;
    let result = runtime.block_on(command::run(cli.command, &layout));
    // A read of standard input cannot be called back; it must not keep the process.
    runtime.shutdown_background();
    result
}
