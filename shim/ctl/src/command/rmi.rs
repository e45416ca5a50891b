//! `shimctl rmi`.

use proto::control as api;
use tonic::Code;

use crate::connect;
use crate::exit::{self, Failure};
use crate::layout::Layout;
use crate::output;
use crate::reference::familiar;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The images: names, IDs or beginnings of these
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Remove an image by its ID even if it has several names; do not fail if there is none
    #[arg(short, long)]
    force: bool,
}

/// Removes one after the other; what cannot be removed does not keep the others.
pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    let mut client = connect::control(layout).await?.images();
    let mut failed = false;
    for name in args.images {
        match client.remove(api::RemoveRequest { name, force: args.force }).await {
            Ok(removed) => {
                let removed = removed.into_inner();
                let untagged = removed.untagged.iter().map(|name| format!("Untagged: {}\n", familiar(name)));
                let deleted = removed.deleted.iter().map(|id| format!("Deleted: {id}\n"));
                output::print(&untagged.chain(deleted).collect::<String>())?;
            }
            Err(status) => match Failure::from(status.clone()) {
                Failure::Failed(_) => {
                    output::error(&exit::message(&status));
                    // As with docker, `--force` means that there shall be none, and there is none.
                    failed |= !(args.force && status.code() == Code::NotFound);
                }
                broken => return Err(broken),
            },
        }
    }
    if failed { Err(Failure::reported()) } else { Ok(()) }
}
