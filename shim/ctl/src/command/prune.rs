//! `shimctl prune`.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use anyhow::Context as _;
use proto::control as api;

use crate::connect;
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::output::size;
use crate::reference::familiar;

/// The longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove all images that no container uses, not just those without a name
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    if !args.force && !args.dry_run && !confirm(args.all)? {
        return Ok(());
    }
    let mut client = connect::control(layout).await?.storage();
    let request = api::PruneRequest { dry_run: args.dry_run, all: args.all };
    let pruned = client.prune(request).await?.into_inner();
    output::print(&describe(&pruned, args.dry_run))
}

fn confirm(all: bool) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "there is nobody to ask, since standard input is not a terminal: pass --force".into(),
        ));
    }
    let images = if all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    output::print(&format!(
        "WARNING! This will remove:\n  - {images}\n  - all layers that nothing else needs\n\nAre you sure you want to continue? [y/N] "
    ))?;
    let mut answer = String::new();
    std::io::stdin().lock().take(MAX_ANSWER_BYTES).read_line(&mut answer).context("read the answer")?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

fn describe(pruned: &api::PruneResponse, dry_run: bool) -> String {
    let (deleted, total) = if dry_run {
        ("Would Delete", "Total reclaimable space")
    } else {
        ("Deleted", "Total reclaimed space")
    };
    let mut text = String::new();
    if !(pruned.untagged.is_empty() && pruned.deleted_images.is_empty()) {
        text.push_str(&format!("{deleted} Images:\n"));
        text.extend(pruned.untagged.iter().map(|name| format!("untagged: {}\n", familiar(name))));
        text.extend(pruned.deleted_images.iter().map(|id| format!("deleted: {id}\n")));
        text.push('\n');
    }
    if !pruned.deleted_layers.is_empty() {
        text.push_str(&format!("{deleted} Layers:\n"));
        text.extend(pruned.deleted_layers.iter().map(|layer| format!("{layer}\n")));
        text.push('\n');
    }
    text + &format!("{total}: {}\n", size::long(pruned.reclaimed_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (answer, expected) in
            [("y\n", true), ("YES\n", true), (" y", true), ("", false), ("n\n", false), ("yo", false)]
        {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn descriptions() {
        assert_eq!(describe(&api::PruneResponse::default(), false), "Total reclaimed space: 0B\n");
        let pruned = api::PruneResponse {
            untagged: vec!["docker.io/library/x:latest".into()],
            deleted_images: vec!["sha256:1".into()],
            deleted_layers: vec!["17".into()],
            reclaimed_bytes: 12_345_678,
        };
        assert_eq!(
            describe(&pruned, true),
            "Would Delete Images:\nuntagged: x:latest\ndeleted: sha256:1\n\nWould Delete Layers:\n17\n\nTotal reclaimable space: 12.35MB\n"
        );
    }
}
