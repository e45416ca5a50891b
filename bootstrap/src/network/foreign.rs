//! Other people's rules that would keep packets from the box, and what is added to them (pure).
//!
//! A packet must be accepted by every table, so what our own table accepts another one may still drop: Docker's, ufw's,
//! firewalld's. Only there, and only for our own link, rules are inserted, each with a comment by which it is found again.

use std::net::Ipv4Addr;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::paths::NAME;

/// The rules of a machine, as `nft --json list ruleset` prints them.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Ruleset {
    nftables: Vec<Object>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Object {
    Table(Table),
    Chain(Chain),
    Rule(Rule),
    #[serde(untagged)]
    Other(IgnoredAny),
}

#[derive(Debug, Clone, Deserialize)]
struct Table {
    family: String,
    name: String,
    /// A list, or a word if there is one.
    #[serde(default)]
    flags: Value,
}

#[derive(Debug, Clone, Deserialize)]
struct Chain {
    family: String,
    table: String,
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    hook: String,
    #[serde(default)]
    policy: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Rule {
    family: String,
    table: String,
    chain: String,
    handle: u64,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    expr: Vec<Value>,
}

/// What has to pass: the packets of a link, questions to the resolver on the machine's end of it, and what our own table has let
/// through to the machine's loopback.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passage<'a> {
    pub(crate) name: &'a str,
    pub(crate) host: Ipv4Addr,
    pub(crate) dns_port: u16,
}

impl Ruleset {
    /// Tells whether an instance's table is there, made from this text.
    pub(crate) fn has(&self, name: &str, stamp: &str) -> bool {
        self.chains().any(|chain| chain.family == "inet" && chain.table == name && chain.name == stamp)
    }

    /// Tells whether the table of this name, or that of any other instance, bears a mark.
    pub(crate) fn bears(&self, own: bool, name: &str, mark: &str) -> bool {
        self.chains()
            .any(|chain| is_instance(&chain.table) && (chain.table == name) == own && chain.name == mark)
    }

    fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.nftables
            .iter()
            .filter_map(|object| if let Object::Chain(chain) = object { Some(chain) } else { None })
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.nftables
            .iter()
            .filter_map(|object| if let Object::Rule(rule) = object { Some(rule) } else { None })
    }

    fn rules_of<'a>(&'a self, chain: &'a Chain) -> impl Iterator<Item = &'a Rule> {
        self.rules().filter(|rule| {
            (&rule.family, &rule.table, &rule.chain) == (&chain.family, &chain.table, &chain.name)
        })
    }

    /// Returns the commands that let the passage through every chain that drops; none if all is as it should be.
    pub(crate) fn opening(&self, passage: &Passage) -> Vec<String> {
        let mut commands = Vec::new();
        for chain in self.chains().filter(|chain| self.drops(chain) && !self.is_owned(chain)) {
            let wanted = wanted(chain, passage);
            let ours = |rule: &&Rule| rule.comment.starts_with(&marker(passage.name));
            let found: Vec<&Rule> = self.rules_of(chain).filter(ours).collect();
            let is_complete = found.len() == wanted.len()
                && wanted.iter().all(|(_, comment)| found.iter().any(|rule| rule.comment == *comment));
            if is_complete {
                continue;
            }
            commands.extend(found.iter().map(|rule| delete(rule)));
            let Chain { family, table, name, .. } = chain;
            commands.extend(wanted.into_iter().map(|(condition, comment)| {
                format!("insert rule {family} {table} {name} {condition} accept comment \"{comment}\"")
            }));
        }
        commands
    }

    /// Names the chains that drop and belong to a process that alone may change them, as firewalld's may.
    pub(crate) fn closed(&self) -> Vec<String> {
        let closed = self.chains().filter(|chain| self.drops(chain) && self.is_owned(chain));
        closed.map(|chain| format!("{} {} {}", chain.family, chain.table, chain.name)).collect()
    }

    fn is_owned(&self, chain: &Chain) -> bool {
        let is_flag = |flag: &Value| flag == "owner";
        let has_owner =
            |flags: &Value| is_flag(flags) || flags.as_array().is_some_and(|list| list.iter().any(is_flag));
        self.nftables.iter().any(|object| {
            matches!(object, Object::Table(table)
                if (&table.family, &table.name) == (&chain.family, &chain.table) && has_owner(&table.flags))
        })
    }

    /// Returns the commands that remove whatever was inserted for this instance.
    pub(crate) fn closing(&self, name: &str) -> Vec<String> {
        self.rules().filter(|rule| rule.comment.starts_with(&marker(name))).map(delete).collect()
    }

    /// Tells whether somebody else's chain drops what no rule accepts: by its policy or by a rule without condition.
    fn drops(&self, chain: &Chain) -> bool {
        let may = matches!(chain.hook.as_str(), "forward" | "input")
            && matches!(chain.family.as_str(), "ip" | "inet")
            && chain.kind == "filter"
            && !is_instance(&chain.table);
        may && (chain.policy == "drop" || self.rules_of(chain).any(is_final))
    }
}

fn is_instance(table: &str) -> bool {
    table.strip_prefix(NAME).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Tells whether a rule drops or rejects everything. Targets of iptables that nft cannot name count as such: a needless
/// rule does no harm.
fn is_final(rule: &Rule) -> bool {
    let kinds = || rule.expr.iter().filter_map(Value::as_object).flat_map(Map::keys);
    let is_verdict = |kind: &String| matches!(kind.as_str(), "drop" | "reject" | "xt");
    kinds().any(is_verdict)
        && kinds().all(|kind| is_verdict(kind) || matches!(kind.as_str(), "counter" | "log"))
}

fn marker(name: &str) -> String {
    format!("{NAME}:{name} ")
}

/// Returns conditions and comments of the rules for a chain. Conditions are such as iptables too can read back.
fn wanted(chain: &Chain, passage: &Passage) -> Vec<(String, String)> {
    let Passage { name, host, dns_port } = passage;
    let rule = |condition: String, comment: &str| (condition, format!("{}{comment}", marker(name)));
    if chain.hook == "forward" {
        // Our own table sees to it that only replies go in.
        return vec![rule(format!("iifname \"{name}\""), "out"), rule(format!("oifname \"{name}\""), "in")];
    }
    let dns = |protocol: &str| {
        let condition = format!("iifname \"{name}\" ip daddr {host} {protocol} dport {dns_port}");
        rule(condition, &format!("names {protocol} {dns_port}"))
    };
    let loopback = rule(format!("iifname \"{name}\" ip daddr 127.0.0.1"), "loopback");
    vec![dns("udp"), dns("tcp"), loopback]
}

fn delete(rule: &Rule) -> String {
    let Rule { family, table, chain, handle, .. } = rule;
    format!("delete rule {family} {table} {chain} handle {handle}")
}

#[cfg(test)]
mod tests;
