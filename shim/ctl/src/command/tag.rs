//! `shimctl tag`.

use proto::control as api;

use crate::connect;
use crate::exit::Failure;
use crate::layout::Layout;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  shimctl tag hellodocker registry.example/team/hellodocker:1.0")]
pub(crate) struct Args {
    /// The image: a name, an ID or the beginning of one
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The name that it gets as well
    #[arg(value_name = "NAME")]
    name: String,
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    let request = api::TagRequest { source: args.source, name: args.name };
    connect::control(layout).await?.images().tag(request).await?;
    Ok(())
}
