//! The box's end of the link is in the box, with its address and a way out.

use crate::command::{self, Place};
use crate::error::Result;
use crate::network::ruleset::NODE_LINK;
use crate::node::Node;
use crate::step::link::{is_up, peer};

pub(crate) async fn check(node: &Node) -> Result<bool> {
    let address = node.subnet()?.node().to_string();
    Ok(command::link(node.inside()?, NODE_LINK).await?.is_some_and(|link| is_up(&link, &address)))
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    let (inside, subnet, peer) = (node.inside()?, node.subnet()?, peer(&node.name()));
    if let (Place::Box(holder), Some(_)) = (inside, command::link(Place::Machine, &peer).await?) {
        command::ip(Place::Machine, &format!("link set {peer} netns {}\n", holder.pid)).await?;
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
",
        node = subnet.node(),
        host = subnet.host()
    ));
    command::ip(inside, &commands).await
}
