//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::command::{
    build, bundle, completion, df, down, env, history, images, inspect, load, logs, prune, pull, reset, rmi,
    save, status, tag, up, verify,
};
use crate::layout;

/// Builds images where the cluster runs them, and looks after the cluster.
#[derive(Debug, Parser)]
#[command(
    name = "shimctl",
    version,
    propagate_version = false,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 used wrongly, 3 the daemon cannot be reached, 130 interrupted."
)]
pub(crate) struct Cli {
    /// Root directory of the instance
    #[arg(long, value_name = "DIR", env = "SHIM_ROOT", default_value = layout::DEFAULT_ROOT, global = true, hide_env_values = true, display_order = 1000)]
    pub root: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    Build(build::Args),
    /// List images
    Images(images::Args),
    /// Download an image from a registry
    Pull(pull::Args),
    /// Give an image another name
    Tag(tag::Args),
    /// Remove names of images, and images with their last name
    Rmi(rmi::Args),
    /// Show everything about images, as JSON
    Inspect(inspect::Args),
    /// Show how an image came to be
    History(history::Args),
    /// Show how much room the store takes
    Df(df::Args),
    /// Remove what nothing uses
    Prune(prune::Args),
    /// Check every invariant of the store
    Verify(verify::Args),
    /// Write images to a tar archive that holds an OCI image layout
    Save(save::Args),
    /// Load images from such an archive
    Load(load::Args),
    /// Start the cluster, or go on from where an earlier start stopped
    Up(up::Args),
    /// Stop everything; images, volumes and the state of the cluster stay
    Down(down::Args),
    /// Delete the cluster; images and the volumes of claims stay
    Reset(reset::Args),
    /// Show the parts of the cluster
    Status(status::Args),
    /// Show the logs of the parts
    Logs(logs::Args),
    /// Print the environment for crictl, kubectl and the like
    Env(env::Args),
    /// Write all components of Kubernetes into one archive, for machines without a network
    Bundle(bundle::Args),
    /// Check this machine, and say how to mend what is missing
    Doctor,
    /// Print completions for a shell
    Completion(completion::Args),
    /// Print the versions of shimctl and of the daemon
    Version,
}

/// The longest duration that can be asked for.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a duration: `10s`, `1m30s`, or a number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => text.parse::<jiff::SignedDuration>().ok().and_then(|duration| duration.try_into().ok()),
    };
    let duration = parsed.ok_or("a duration is written like 90s or 1m30s")?;
    if duration > MAX_DURATION { Err("a duration is at most 24h".into()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }

    #[test]
    fn usage_errors() {
        let rows: [&[&str]; 12] = [
            &[],
            &["nope"],
            &["build"],
            &["build", "a", "b"],
            &["build", "--progress", "rawjson", "."],
            &["images", "a", "b"],
            &["images", "--format", "yaml"],
            &["pull"],
            &["tag", "a"],
            &["down", "--grace", "soon"],
            &["completion", "tcsh"],
            &["save"],
        ];
        for row in rows {
            let error = Cli::try_parse_from(std::iter::once(&"shimctl").chain(row)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{row:?}");
        }
    }

    #[test]
    fn durations() {
        let rows = [
            ("10s", Some(10)),
            ("10m", Some(600)),
            ("1m30s", Some(90)),
            ("45", Some(45)),
            ("24h", Some(86_400)),
        ];
        for (text, seconds) in rows {
            assert_eq!(duration(text).ok(), seconds.map(Duration::from_secs), "{text}");
        }
        for text in ["", "soon", "-5s", "-5", "25h", "1e3", "99999999999999999999"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
