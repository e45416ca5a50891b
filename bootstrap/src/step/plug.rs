//! The box's end of the link is in the box, with its address and a way out.

use crate::command::{self, Place};
use crate::error::Result;
use crate::fault;
use crate::network::ruleset::NODE_LINK;
use crate::node::Node;
use crate::step::link::{self, is_up};

pub(crate) async fn check(node: &Node) -> Result<bool> {
    let address = node.subnet()?.node().to_string();
    Ok(command::link(node.inside()?, NODE_LINK).await?.is_some_and(|link| is_up(&link, &address)))
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    let (inside, subnet, peer) = (node.inside()?, node.subnet()?, link::peer(&node.name()));
    if is_elsewhere(inside, &peer).await? {
        link::undo(node).await?;
        link::apply(node).await?;
    }
    if let (Place::Box(holder), Some(_)) = (inside, command::link(Place::Machine, &peer).await?) {
        command::ip(Place::Machine, &format!("link set {peer} netns {}\n", holder.pid)).await?;
        fault::point("the link's end is in the box without its name");
    }
    let mut commands = String::from("link set lo up\n");
    if command::link(inside, &peer).await?.is_some() {
        commands.push_str(&format!("link set {peer} name {NODE_LINK}\n"));
    }
    commands.push_str(&format!(
        "link set {NODE_LINK} addrgenmode none
address flush dev {NODE_LINK}
address add {node}/24 broadcast + dev {NODE_LINK}
link set {NODE_LINK} up
route replace default via {host} dev {NODE_LINK}
route replace {loopback} via {host} dev {NODE_LINK}
",
        node = subnet.node(),
        host = subnet.host(),
        // Nobody has this address, so that it cannot be looked for on the link.
        loopback = subnet.host_loopback()
    ));
    command::ip(inside, &commands).await
}

/// Tells whether the link's other end is in a box that is gone, with which the kernel is about to remove both ends.
async fn is_elsewhere(inside: Place, peer: &str) -> Result<bool> {
    for (place, name) in [(inside, NODE_LINK), (inside, peer), (Place::Machine, peer)] {
        if command::link(place, name).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}
