//! The machine forwards packets. Where it did not before, it does not afterwards.

use std::path::Path;

use crate::command;
use crate::error::Result;
use crate::fault;
use crate::files;
use crate::network::ruleset::FORWARDING_MARK;
use crate::node::Node;

const SETTING: &str = "/proc/sys/net/ipv4/ip_forward";

pub(crate) fn check() -> Result<bool> {
    Ok(files::read(SETTING)?.trim() == "1")
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    node.state.change(|state| state.life.forwarding_was_0 = true)?;
    fault::point("that packets were not forwarded is recorded");
    files::set(Path::new(SETTING), "1")
}

pub(crate) async fn undo(node: &Node) -> Result<()> {
    if node.state.get().life.forwarding_was_0 {
        // Another instance that relies on it bears the mark too, and restores it when it goes.
        if !command::ruleset().await?.bears(false, &node.name(), FORWARDING_MARK) {
            files::set(Path::new(SETTING), "0")?;
        }
        fault::point("packets are forwarded as before");
        node.state.change(|state| state.life.forwarding_was_0 = false)?;
    }
    Ok(())
}
