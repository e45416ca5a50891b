//! What the rules translate to the machine's loopback is not dropped on its way. The setting is the link's alone, and goes with it.

use std::path::PathBuf;

use crate::error::Result;
use crate::files;
use crate::node::Node;

pub(crate) fn check(node: &Node) -> Result<bool> {
    Ok(files::read_if_there(&setting(node))?.is_some_and(|value| value.trim() == "1"))
}

pub(crate) fn apply(node: &Node) -> Result<()> {
    files::set(&setting(node), "1")
}

/// Takes it back before the rules that guard it go.
pub(crate) fn undo(node: &Node) -> Result<()> {
    let setting = setting(node);
    if files::read_if_there(&setting)?.is_some() { files::set(&setting, "0") } else { Ok(()) }
}

fn setting(node: &Node) -> PathBuf {
    format!("/proc/sys/net/ipv4/conf/{}/route_localnet", node.name()).into()
}
