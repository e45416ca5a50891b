//! The machine has what is needed, and nobody else has what we need.

use std::net::Ipv4Addr;

use crate::cluster::API_PORT;
use crate::error::Result;
use crate::machine;
use crate::node::Node;
use crate::ports;
use crate::room;
use crate::step;

pub(crate) async fn apply(node: &Node) -> Result<()> {
    node.paths.check_place()?;
    machine::lacking(&machine::survey().await).map_or(Ok(()), Err)?;
    step::link::conflict(node).await?;
    if node.state.get().kubernetes {
        room::check(&node.paths)?;
        step::hosts::conflict(node)?;
        step::access::conflict(node).await?;
        if node.paths.is_default() {
            let listen = (Ipv4Addr::LOCALHOST, API_PORT).into();
            ports::conflict(listen, "end what has it, or have it use another port")?;
        }
    }
    Ok(())
}
