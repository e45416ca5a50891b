//! The rules for packets: our table on the machine, our rules in other people's chains, and the box's table.

use std::sync::PoisonError;

use crate::command::{self, Place};
use crate::error::{Error, Result};
use crate::fault;
use crate::network::foreign::{Passage, Ruleset};
use crate::network::ruleset::{self, FORWARDING_MARK, Table};
use crate::node::Node;
use crate::paths::NAME;

pub(crate) async fn check(node: &Node) -> Result<bool> {
    let name = node.name();
    let there = command::ruleset().await?;
    remark(node, &there);
    let table = machine_table(node, &there)?;
    // An instance that came up at the same time may have said so later than this one looked.
    let is_marked = node.state.get().life.forwarding_was_0 || !there.bears(false, &name, FORWARDING_MARK);
    if !is_marked || !there.has(&name, &table.stamp) || !there.opening(&passage(node, &name)?).is_empty() {
        return Ok(false);
    }
    // A table that cannot be listed is not there.
    let inside = command::table(node.inside()?, NAME).await.unwrap_or_default();
    Ok(inside.has(NAME, &node_table(node).stamp))
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    let name = node.name();
    let there = command::ruleset().await?;
    let table = machine_table(node, &there)?;
    if there.bears(false, &name, FORWARDING_MARK) {
        node.state.change(|state| state.life.forwarding_was_0 = true)?;
    }
    remark(node, &there);
    let openings = there.opening(&passage(node, &name)?);
    command::nft(Place::Machine, &format!("{}{}", table.script, lines(&openings))).await?;
    fault::point("the machine has its rules and the box has not");
    command::nft(node.inside()?, &node_table(node).script).await
}

/// Says with the state of the box what only the user can open.
fn remark(node: &Node, there: &Ruleset) {
    let closed = there.closed();
    let mut remark = String::new();
    if !closed.is_empty() {
        let (chains, name) = (closed.join(", "), node.name());
        remark = format!(
            "{chains} may keep pods from the network; firewalld opens it with: firewall-cmd --zone=trusted --change-interface={name}"
        );
    }
    *node.remark.lock().unwrap_or_else(PoisonError::into_inner) = remark;
}

fn machine_table(node: &Node, there: &Ruleset) -> Result<Table> {
    let state = node.state.get();
    let name = node.name();
    Ok(ruleset::machine(&ruleset::Machine {
        name: &name,
        subnet: node.subnet()?,
        dns_port: state.dns_port.ok_or_else(no_resolver)?,
        forwarding_mark: state.life.forwarding_was_0 || there.bears(false, &name, FORWARDING_MARK),
    }))
}

fn node_table(node: &Node) -> Table {
    ruleset::node(NAME, node.state.get().kubernetes)
}

fn passage<'a>(node: &Node, name: &'a str) -> Result<Passage<'a>> {
    let dns_port = node.state.get().dns_port.ok_or_else(no_resolver)?;
    Ok(Passage { name, host: node.subnet()?.host(), dns_port })
}

fn no_resolver() -> Error {
    Error::invalid("the resolver", "does not run")
}

fn lines(commands: &[String]) -> String {
    commands.iter().map(|command| format!("{command}\n")).collect()
}

pub(crate) async fn undo(node: &Node) -> Result<()> {
    let name = node.name();
    let closings = command::ruleset().await?.closing(&name);
    command::nft(Place::Machine, &format!("{}{}", lines(&closings), ruleset::removal(&name))).await
}
