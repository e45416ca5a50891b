use serde_json::json;

use super::*;

const PASSAGE: Passage<'_> = Passage { name: "shim", host: Ipv4Addr::new(192, 168, 65, 1), dns_port: 5399 };

fn ruleset(objects: Value) -> Ruleset {
    serde_json::from_value(json!({ "nftables": objects })).unwrap()
}

fn base(family: &str, table: &str, name: &str, hook: &str, policy: &str) -> Value {
    json!({"chain": {
        "family": family, "table": table, "name": name, "handle": 1, "type": "filter", "hook": hook, "prio": 0,
        "policy": policy,
    }})
}

fn rule(chain: &str, handle: u64, comment: Option<&str>, expr: Value) -> Value {
    let mut rule = json!({"family": "ip", "table": "filter", "chain": chain, "handle": handle, "expr": expr});
    if let Some(comment) = comment {
        rule["comment"] = json!(comment);
    }
    json!({ "rule": rule })
}

#[test]
fn chains_that_drop_are_opened() {
    let condition = json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "docker0"}});
    let rows = [
        ("policy drop", vec![base("ip", "filter", "FORWARD", "forward", "drop")], 2),
        ("policy accept", vec![base("ip", "filter", "FORWARD", "forward", "accept")], 0),
        ("another hook", vec![base("ip", "filter", "OUTPUT", "output", "drop")], 0),
        ("another family", vec![base("ip6", "filter", "FORWARD", "forward", "drop")], 0),
        ("another instance", vec![base("inet", "shim-0990fc72", "forward", "forward", "drop")], 0),
        ("only its name is like ours", vec![base("inet", "shimmer", "forward", "forward", "drop")], 2),
        ("input", vec![base("inet", "x", "input", "input", "drop")], 3),
        (
            "a rule for everything",
            vec![
                base("ip", "filter", "FORWARD", "forward", "accept"),
                rule(
                    "FORWARD",
                    9,
                    None,
                    json!([{"counter": {"packets": 0, "bytes": 0}}, {"reject": {"type": "icmp"}}]),
                ),
            ],
            2,
        ),
        (
            "a rule with a condition",
            vec![
                base("ip", "filter", "FORWARD", "forward", "accept"),
                rule("FORWARD", 9, None, json!([condition, {"drop": null}])),
            ],
            0,
        ),
        (
            "a rule that accepts",
            vec![
                base("ip", "filter", "FORWARD", "forward", "accept"),
                rule("FORWARD", 9, None, json!([{"xt": null}, {"counter": null}, {"accept": null}])),
            ],
            0,
        ),
        (
            "a target of iptables",
            vec![
                base("ip", "filter", "FORWARD", "forward", "accept"),
                rule("FORWARD", 9, None, json!([{"counter": null}, {"xt": null}])),
            ],
            2,
        ),
    ];
    for (what, objects, expected) in rows {
        let commands = ruleset(Value::Array(objects)).opening(&PASSAGE);
        assert_eq!(commands.len(), expected, "{what}: {commands:?}");
    }
}

#[test]
fn the_rules_that_are_inserted() {
    let both = ruleset(json!([
        {"metainfo": {"version": "1.0.6"}},
        base("ip", "filter", "FORWARD", "forward", "drop"),
        base("inet", "firewall", "in", "input", "drop"),
    ]));
    assert_eq!(
        both.opening(&PASSAGE),
        [
            "insert rule ip filter FORWARD iifname \"shim\" accept comment \"shim:shim out\"",
            "insert rule ip filter FORWARD oifname \"shim\" accept comment \"shim:shim in\"",
            "insert rule inet firewall in iifname \"shim\" ip daddr 192.168.65.1 udp dport 5399 accept comment \"shim:shim names udp 5399\"",
            "insert rule inet firewall in iifname \"shim\" ip daddr 192.168.65.1 tcp dport 5399 accept comment \"shim:shim names tcp 5399\"",
            "insert rule inet firewall in iifname \"shim\" ip daddr 127.0.0.1 accept comment \"shim:shim loopback\"",
        ]
    );
}

#[test]
fn what_is_there_is_left_and_what_is_half_there_is_made_anew() {
    let accept = json!([{"accept": null}]);
    let chain = base("ip", "filter", "FORWARD", "forward", "drop");
    let (out, into) = (
        rule("FORWARD", 4, Some("shim:shim out"), accept.clone()),
        rule("FORWARD", 5, Some("shim:shim in"), accept.clone()),
    );
    let other = rule("FORWARD", 6, Some("shim:shim-0990fc72 out"), accept.clone());
    let whole = ruleset(json!([chain, out, into, other]));
    assert_eq!(whole.opening(&PASSAGE), [""; 0]);
    let half = ruleset(json!([chain, out, other])).opening(&PASSAGE);
    assert_eq!((half.len(), half[0].as_str()), (3, "delete rule ip filter FORWARD handle 4"));

    let input = base("ip", "filter", "INPUT", "input", "drop");
    let names = |port: u16, protocol: &str, handle| {
        rule("INPUT", handle, Some(&format!("shim:shim names {protocol} {port}")), accept.clone())
    };
    let loopback = rule("INPUT", 3, Some("shim:shim loopback"), accept.clone());
    let whole = ruleset(json!([input, names(5399, "udp", 1), names(5399, "tcp", 2), loopback]));
    assert_eq!(whole.opening(&PASSAGE), [""; 0]);
    let stale = ruleset(json!([input, names(5398, "udp", 1), names(5398, "tcp", 2)])).opening(&PASSAGE);
    assert_eq!(stale.len(), 5, "{stale:?}");
}

#[test]
fn everything_that_was_inserted_is_removed_and_nothing_else() {
    let accept = json!([{"accept": null}]);
    let rules = ruleset(json!([
        rule("FORWARD", 4, Some("shim:shim out"), accept.clone()),
        rule("FORWARD", 5, Some("shim:shim-0990fc72 out"), accept.clone()),
        rule("INPUT", 6, Some("shim:shim names udp 1"), accept.clone()),
        rule("INPUT", 7, Some("not shim:shim x"), accept.clone()),
        rule("INPUT", 8, None, accept),
    ]));
    let expected = ["delete rule ip filter FORWARD handle 4", "delete rule ip filter INPUT handle 6"];
    assert_eq!(rules.closing("shim"), expected);
}

#[test]
fn marks_of_instances() {
    let table = |name: &str| json!({"table": {"family": "inet", "name": name, "handle": 1}});
    let chain = |table: &str, name: &str| json!({"chain": {"family": "inet", "table": table, "name": name, "handle": 1}});
    let rules = ruleset(json!([
        table("shim"),
        chain("shim", "of_1"),
        table("shim-2"),
        chain("shim-2", "m"),
        table("shims"),
        chain("shims", "m2")
    ]));
    assert!(rules.has("shim", "of_1") && !rules.has("shim", "of_2") && !rules.has("shim-2", "of_1"));
    assert!(rules.bears(false, "shim", "m") && !rules.bears(true, "shim", "m"));
    assert!(
        rules.bears(true, "shim-2", "m")
            && !rules.bears(false, "shim-2", "m")
            && !rules.bears(false, "shim", "m2")
    );
}

#[test]
fn chains_of_others_alone_are_named_and_left() {
    for flags in [json!("owner"), json!(["owner", "persist"])] {
        let table = json!({"table": {"family": "inet", "name": "firewalld", "handle": 1, "flags": flags}});
        let rules = ruleset(json!([
            table,
            base("inet", "firewalld", "filter_FORWARD", "forward", "drop"),
            base("ip", "filter", "FORWARD", "forward", "drop"),
        ]));
        assert_eq!(rules.closed(), ["inet firewalld filter_FORWARD"]);
        assert_eq!(rules.opening(&PASSAGE).len(), 2);
    }
}
