//! Ports of localhost that lead into the box can be asked for.

use std::sync::{Arc, PoisonError};

use crate::error::{Error, Result};
use crate::fault;
use crate::node::Node;
use crate::ports::{Home, Ports};

pub(crate) fn check(node: &Node) -> bool {
    home(node).is_some_and(|home| node.ports().is_some_and(|ports| ports.is_settled(home)))
}

pub(crate) fn apply(node: &Node) -> Result<()> {
    let home = home(node).ok_or_else(|| Error::invalid("the box", "is not there"))?;
    let ports = match node.ports() {
        Some(ports) => {
            ports.listen()?;
            ports
        }
        None => Arc::new(Ports::start(&node.paths.ports())?),
    };
    ports.enter(home);
    fault::point("ports can be asked for");
    node.ports.lock().unwrap_or_else(PoisonError::into_inner).replace(ports);
    Ok(())
}

/// Returns the box as it is now.
fn home(node: &Node) -> Option<Home> {
    let life = node.state.get().life;
    let holder = life.holder.filter(|holder| holder.is_ready)?.identity;
    Some(Home { holder, namespaces: life.namespaces? })
}

pub(crate) async fn undo(node: &Node) -> Result<()> {
    let ports = node.ports.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(ports) = ports {
        ports.close().await;
    }
    Ok(())
}
