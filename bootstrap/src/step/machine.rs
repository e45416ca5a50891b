//! The machine has what is needed.

use crate::error::Result;
use crate::machine;
use crate::node::Node;

pub(crate) async fn apply(node: &Node) -> Result<()> {
    node.paths.check_place()?;
    machine::lacking(&machine::survey().await).map_or(Ok(()), Err)
}
