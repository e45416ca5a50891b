//! The link between machine and box: a pair of virtual links, of which this step sees to the machine's end.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use serde_json::Value;

use crate::command::{self, Place};
use crate::error::{Error, Result};
use crate::fault;
use crate::network::subnet::{Subnet, choose};
use crate::node::Node;

/// How long another instance may take to choose its network.
const LOCK_LIMIT: Duration = Duration::from_secs(30);
/// A name in the abstract namespace of sockets, which a process has to itself and loses with its end.
const LOCK_NAME: &str = "shim/network";

/// Held by the one instance of the machine that is choosing a network, or making and removing what instances share.
#[derive(Debug)]
pub(crate) struct NetworkLock(#[expect(dead_code, reason = "that it is open is all")] UnixListener);

impl NetworkLock {
    pub(crate) async fn take() -> Result<Self> {
        let mut taken = None;
        let try_it = || {
            let bound =
                SocketAddr::from_abstract_name(LOCK_NAME).and_then(|name| UnixListener::bind_addr(&name));
            let seen = bound.map(|listener| taken = Some(Self(listener))).map_err(|error| error.to_string());
            std::future::ready(seen)
        };
        Node::eventually(LOCK_LIMIT, "another instance to choose its network", try_it).await?;
        taken.ok_or_else(|| Error::invalid("the lock of networks", "was not taken"))
    }
}

/// Returns the name of the box's end while it is still on the machine's side.
pub(crate) fn peer(name: &str) -> String {
    format!("{name}p")
}

pub(crate) async fn check(node: &Node) -> Result<bool> {
    let Some(subnet) = node.state.get().subnet else { return Ok(false) };
    Ok(command::link(Place::Machine, &node.name())
        .await?
        .is_some_and(|link| is_up(&link, &subnet.host().to_string())))
}

/// Tells whether a link, as `ip -json` prints it, is up and has this address.
pub(crate) fn is_up(link: &Value, address: &str) -> bool {
    let has = |list: &Value, wanted: &dyn Fn(&Value) -> bool| {
        list.as_array().is_some_and(|list| list.iter().any(wanted))
    };
    has(&link["flags"], &|flag| flag == "UP")
        && has(&link["addr_info"], &|info| info["local"] == address && info["prefixlen"] == 24)
}

/// Tells whether others have every network that this instance may take, so that it can be said before anything is changed.
///
/// # Errors
/// They have; with who.
pub(crate) async fn conflict(node: &Node) -> Result<()> {
    choice(node).await.map(drop)
}

async fn choice(node: &Node) -> Result<Subnet> {
    let configured = node.config()?.network.subnet;
    let mut candidates = Subnet::candidates(node.paths.is_default(), configured);
    if let Some(kept) = node.state.get().subnet.filter(|_| configured.is_none()) {
        candidates.insert(0, kept);
    }
    choose(&candidates, &command::routes().await?, &node.name())
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    let name = node.name();
    let _lock = NetworkLock::take().await?;
    let subnet = choice(node).await?;
    node.state.change(|state| state.subnet = Some(subnet))?;
    fault::point("a network is chosen");
    let mut commands = String::new();
    if command::link(Place::Machine, &name).await?.is_none() {
        commands.push_str(&format!("link add {name} type veth peer name {}\n", peer(&name)));
    }
    // Without an IPv6 address of the link, the box reaches nothing on the machine past our rules.
    commands.push_str(&format!(
        "link set {name} addrgenmode none\naddress flush dev {name}\naddress add {}/24 broadcast + dev {name}\nlink set {name} up\n",
        subnet.host()
    ));
    command::ip(Place::Machine, &commands).await
}

pub(crate) async fn undo(node: &Node) -> Result<()> {
    let name = node.name();
    let is_there = async || command::link(Place::Machine, &name).await.map(|link| link.is_some());
    if !is_there().await? {
        return Ok(());
    }
    match command::ip(Place::Machine, &format!("link delete {name}\n")).await {
        // The kernel was faster: the other end went with its namespace.
        Err(_) if !is_there().await? => Ok(()),
        deleted => deleted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn links_that_are_up() {
        let link = |flags: &[&str], local: &str| {
            json!({"ifname": "shim", "flags": flags, "addr_info": [
                {"family": "inet6", "local": "fe80::1", "prefixlen": 64},
                {"family": "inet", "local": local, "prefixlen": 24},
            ]})
        };
        for (link, expected) in [
            (link(&["BROADCAST", "UP"], "192.168.65.1"), true),
            (link(&["BROADCAST"], "192.168.65.1"), false),
            (link(&["UP"], "192.168.66.1"), false),
            (json!({"flags": ["UP"]}), false),
            (json!({}), false),
        ] {
            assert_eq!(is_up(&link, "192.168.65.1"), expected, "{link}");
        }
    }
}
