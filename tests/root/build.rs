//! `shimctl build` of a shimd by itself. What the results are compared with was learnt from BuildKit v0.32.2, and is
//! written down here: its configurations, histories, trees and step names.

mod cache;
mod config;
mod copy;
mod failures;
mod interrupted;
mod run;
mod saved;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tests::command::{Command, Output};
use tests::daemon::Daemon;
use tests::eventually;
use tests::files;
use tests::host::Host;
use tests::images::base_set;
use tests::product;
use tests::registry::Registry;
use tests::shimd::Shimd;

use saved::Saved;

/// How long a program in a step may take to get somewhere.
const STEP_LIMIT: Duration = Duration::from_secs(60);

/// A host with a registry that has busybox, a shimd, and a directory to build from.
struct Site {
    host: Host,
    registry: Registry,
    shimd: Shimd,
    context: PathBuf,
}

impl Site {
    fn new() -> Result<Self> {
        Self::on(Host::new()?)
    }

    fn on(host: Host) -> Result<Self> {
        let registry = Registry::stocked(&host, &[base_set()?])?;
        let shimd = Shimd::start(&host)?;
        let context = host.dir().join("context");
        files::dir(&context)?;
        Ok(Self { host, registry, shimd, context })
    }

    /// Writes a file of the context.
    fn put(&self, path: &str, content: &str) -> Result<()> {
        files::put(self.context.join(path), content)
    }

    /// Runs a script of the shell in the context.
    fn sh(&self, script: &str) -> Result<String> {
        self.host.command_in(&self.context, "sh").args(["-euc", script]).stdout()
    }

    /// Prepares a build of the context, with plain progress.
    fn build(&self, args: &[&str]) -> Result<Command> {
        let command = self.shimd.shimctl_in(&self.context, &["build", "--progress", "plain"])?;
        Ok(command.args(args).arg("."))
    }

    /// Builds this Dockerfile; returns its steps.
    fn built(&self, dockerfile: &str, args: &[&str]) -> Result<Steps> {
        self.put("Dockerfile", dockerfile)?;
        Ok(Steps::of(&self.build(args)?.run()?))
    }

    /// Starts a build beside the test.
    fn start(&self, name: &str, args: &[&str]) -> Result<Daemon> {
        let command = self.host.command_in(&self.context, product::program("shimctl")?);
        let command = command.arg("--root").arg(self.shimd.root()).args(["build", "--progress", "plain"]);
        self.host.daemon(name, command.args(args).arg("."))
    }

    /// Saves an image and reads it.
    fn saved(&self, name: &str) -> Result<Saved> {
        let path = self.host.dir().join("saved.tar");
        self.shimd.shimctl(&["save", "-o"])?.arg(&path).arg(name).run()?;
        Saved::read(&path)
    }

    /// Waits until a program with this in its command line runs in the host.
    fn wait_for_program(&self, what: &str) -> Result<()> {
        eventually(STEP_LIMIT, &format!("`{what}` to run"), || {
            self.programs()?.into_iter().find(|line| line.contains(what)).context("not in ps")
        })?;
        Ok(())
    }

    /// Lists the command lines of everything that runs in the host.
    fn programs(&self) -> Result<Vec<String>> {
        let lines = self.host.command("ps").args(["-eo", "args="]).stdout()?;
        Ok(lines.lines().map(str::to_owned).collect())
    }

    /// Says that builds have left nothing but what they made: no container, mount, bundle or workspace, and a store
    /// that is as its invariants say.
    fn assert_nothing_is_left(&self) -> Result<()> {
        assert_eq!(self.leftovers()?, [""; 0]);
        self.shimd.shimctl(&["verify"])?.run()?;
        Ok(())
    }

    /// Lists what steps use and must not leave.
    fn leftovers(&self) -> Result<Vec<String>> {
        let run = self.shimd.root().join("run/build");
        let mut left = names(&self.shimd.root().join("store/t"))?;
        // runc makes its directory when it is first used.
        left.extend(names(&run)?.into_iter().filter(|name| name != "runc"));
        if run.join("runc").is_dir() {
            left.extend(names(&run.join("runc"))?);
        }
        let mounts = self.host.sh("cat /proc/$(pgrep -x shimd)/mountinfo")?;
        let run = run.display().to_string();
        left.extend(mounts.lines().filter(|line| line.contains(&run)).map(str::to_owned));
        Ok(left)
    }
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        found.push(entry?.file_name().to_string_lossy().into_owned());
    }
    found.sort();
    Ok(found)
}

/// The steps that a build showed, in order, without those that are shimctl's own (`[internal] …`, `exporting …`).
#[derive(Debug)]
struct Steps(Vec<(String, String)>);

impl Steps {
    /// Reads plain progress: `#5 [2/3] RUN x`, later `#5 CACHED` or `#5 DONE 0.1s`.
    fn of(output: &Output) -> Self {
        let mut steps: Vec<(String, String, String)> = Vec::new();
        for line in output.stderr.lines() {
            let Some((number, text)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else {
                continue;
            };
            match steps.iter_mut().find(|(known, ..)| known == number) {
                Some((_, _, end)) => {
                    let word = text.split(' ').next().unwrap_or_default();
                    if ["CACHED", "DONE", "ERROR", "CANCELED"].contains(&word.trim_end_matches(':')) {
                        word.trim_end_matches(':').clone_into(end);
                    }
                }
                None => steps.push((number.to_owned(), text.to_owned(), String::new())),
            }
        }
        let own = |name: &str| name.starts_with('[') && !name.starts_with("[internal]");
        Self(steps.into_iter().filter(|(_, name, _)| own(name)).map(|(_, name, end)| (name, end)).collect())
    }

    /// Returns how each step ended but those that provide base images.
    fn ends(&self) -> Vec<&str> {
        let made = self.0.iter().filter(|(name, _)| !name.contains("] FROM "));
        made.map(|(_, end)| end.as_str()).collect()
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}
