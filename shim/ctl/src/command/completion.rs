//! `shimctl completion`.

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::exit::Failure;
use crate::output;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  source <(shimctl completion bash)\n  shimctl completion fish > ~/.config/fish/completions/shimctl.fish"
)]
pub(crate) struct Args {
    /// The shell that shall know shimctl
    #[arg(value_enum)]
    shell: Known,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let shell = match args.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "shimctl", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
