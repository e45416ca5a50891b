//! The image of our controllers is in the store.

use std::os::unix::fs::MetadataExt;

use crate::addon;
use crate::component::Store;
use crate::error::{IoContext, Result};
use crate::files;
use crate::machine;
use crate::node::Node;

pub(crate) async fn check(node: &Node) -> Result<bool> {
    let names = Store::connect(node).await?.names().await?;
    Ok(names.contains_key(&addon::image(&tag()?)))
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    let context = node.paths.box_dir().join("controllers");
    addon::context(&context, &machine::controllers()?)?;
    Store::connect(node).await?.build(&addon::image(&tag()?), &context, &context.join("Dockerfile")).await?;
    files::remove_tree(&context)
}

/// Returns the tag of the image: it says which file the program was built as, and costs no reading of it.
pub(crate) fn tag() -> Result<String> {
    let program = machine::controllers()?;
    let metadata = program.metadata().at("examine", &program)?;
    Ok(format!("{}-{:x}-{:x}", env!("CARGO_PKG_VERSION"), metadata.mtime(), metadata.size()))
}
