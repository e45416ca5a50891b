//! The box's questions for names are answered.

use std::sync::PoisonError;

use crate::dns::{Names, Resolver};
use crate::error::Result;
use crate::fault;
use crate::node::Node;

/// The machine's own.
const RESOLV_CONF: &str = "/etc/resolv.conf";

pub(crate) fn check(node: &Node) -> bool {
    node.resolver.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(Resolver::is_running)
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    let port = node.state.get().dns_port;
    let subnet = node.subnet()?;
    let resolver = Resolver::start(subnet.host(), port, RESOLV_CONF.into(), Names::new(subnet)).await?;
    fault::point("the resolver's port is not recorded");
    node.state.change(|state| state.dns_port = Some(resolver.port()))?;
    node.resolver.lock().unwrap_or_else(PoisonError::into_inner).replace(resolver);
    Ok(())
}

pub(crate) fn undo(node: &Node) -> Result<()> {
    drop(node.take_resolver());
    Ok(())
}
