//! `shimctl reset`.

use super::down::{Order, Wish};
use crate::exit::Failure;
use crate::layout::Layout;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Images stay, those that were built here among them: see shimctl prune and shimctl rmi."
)]
pub(crate) struct Args {
    /// Volumes, certificates and keys too
    #[arg(long)]
    all: bool,
}

/// Deletes the cluster. Where there is none, that is done.
pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    let start = if args.all { "--if-anything" } else { "--if-cluster" };
    let order = Order { start, idle: "There is no cluster.", done: "The cluster is deleted." };
    order.give(layout, Wish::Reset { all: args.all }).await
}
