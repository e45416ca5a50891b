//! The two nftables tables of an instance: the machine's and the box's (pure).

use super::cni::{BRIDGE, POD_SUBNET};
use super::subnet::Subnet;

/// The box's end of the link.
pub(crate) const NODE_LINK: &str = "eth0";
/// Where containerd serves exec, attach and port-forward inside the box. Fixed, since it is in URLs that clients follow.
pub(crate) const STREAM_PORT: u16 = 10_010;
/// Where the kubelet says how it is.
const HEALTH_PORT: u16 = 10_248;
/// The addresses of services, none of which is anybody's: kube-proxy translates them.
const SERVICE_SUBNET: &str = "10.96.0.0/12";
/// A chain without rules, whose being there says that the machine did not forward packets before we asked it to.
pub(crate) const FORWARDING_MARK: &str = "ip_forward_was_0";

/// What the machine's table depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine<'a> {
    /// The name of the link, and of the table.
    pub(crate) name: &'a str,
    pub(crate) subnet: Subnet,
    /// The resolver's port on the machine's address.
    pub(crate) dns_port: u16,
    /// Whether the table bears [`FORWARDING_MARK`].
    pub(crate) forwarding_mark: bool,
}

/// A table, and the name of an empty chain in it that tells it from one which was made from another text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) stamp: String,
    /// The script that makes the table, in one transaction, whether or not there was one.
    pub(crate) script: String,
}

/// Returns the machine's table: the box reaches the world, the world does not reach the box, names are answered by the resolver
/// wherever it listens, and one address leads from the box to the machine's loopback.
///
/// Who listens there sees a connection from loopback, as if a program of the machine had made it. That keeps answers right too:
/// a socket without an address of its own answers from that which the question came to.
pub(crate) fn machine(what: &Machine) -> Table {
    let Machine { name, subnet, dns_port, forwarding_mark } = what;
    let (host, node, loopback) = (subnet.host(), subnet.node(), subnet.host_loopback());
    let mark = if *forwarding_mark { format!("  chain {FORWARDING_MARK} {{ }}\n") } else { String::new() };
    table(
        name,
        &format!(
            "{mark}  chain guard {{
    type filter hook prerouting priority raw; policy accept;
    iifname \"{name}\" ip saddr 127.0.0.0/8 drop
    iifname \"{name}\" ip daddr 127.0.0.0/8 drop
    iifname \"{name}\" ip daddr {loopback} ip saddr != {node} drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname \"{name}\" ip daddr {host} udp dport 53 redirect to :{dns_port}
    iifname \"{name}\" ip daddr {host} tcp dport 53 redirect to :{dns_port}
    iifname \"{name}\" ip daddr {loopback} dnat ip to 127.0.0.1
  }}
  chain loopback {{
    type nat hook input priority 100; policy accept;
    iifname \"{name}\" ip daddr 127.0.0.1 snat ip to 127.0.0.1
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} oifname != \"{name}\" masquerade
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname != {{ \"lo\", \"{name}\" }} ip daddr {host} drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname \"{name}\" ip saddr != {subnet} drop
    iifname \"{name}\" accept
    oifname \"{name}\" ct state established,related accept
    oifname \"{name}\" drop
  }}
"
        ),
    )
}

/// Returns the box's table: pods reach the world by the box's address, and not the port where commands are run in them.
///
/// With Kubernetes neither the port where the kubelet says how it is, and what is sent to a service before kube-proxy knows it is
/// refused at once. Otherwise it would leave by the default route, and whoever sent it would wait for an answer.
pub(crate) fn node(name: &str, kubernetes: bool) -> Table {
    let (private, services) = if kubernetes {
        let refuse = |hook: &str| {
            format!(
                "  chain services_{hook} {{
    type filter hook {hook} priority filter; policy accept;
    ip daddr {SERVICE_SUBNET} meta l4proto tcp reject with tcp reset
    ip daddr {SERVICE_SUBNET} reject with icmp type port-unreachable
  }}
"
            )
        };
        (format!("{{ {STREAM_PORT}, {HEALTH_PORT} }}"), refuse("forward") + &refuse("output"))
    } else {
        (STREAM_PORT.to_string(), String::new())
    };
    table(
        name,
        &format!(
            "  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {POD_SUBNET} oifname \"{NODE_LINK}\" masquerade
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname \"{BRIDGE}\" tcp dport {private} drop
  }}
{services}"
        ),
    )
}

fn table(name: &str, body: &str) -> Table {
    // FNV-1a; the stamp guards against forgetting, not against forgery.
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let stamp = format!("of_{:016x}", body.bytes().fold(0xcbf2_9ce4_8422_2325, fold));
    // It is added first, so that deleting it cannot fail.
    let script = format!(
        "table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n  chain {stamp} {{ }}\n{body}}}\n"
    );
    Table { name: name.to_owned(), stamp, script }
}

/// Returns the script that removes a table, whether or not there is one.
pub(crate) fn removal(name: &str) -> String {
    format!("table inet {name}\ndelete table inet {name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine<'_> =
        Machine { name: "shim", subnet: Subnet::DEFAULT, dns_port: 5399, forwarding_mark: false };

    #[test]
    fn the_machine_s_table() {
        let Table { name, stamp, script } = machine(&MACHINE);
        assert_eq!(name, "shim");
        let expected = "\
table inet shim
delete table inet shim
table inet shim {
  chain STAMP { }
  chain guard {
    type filter hook prerouting priority raw; policy accept;
    iifname \"shim\" ip saddr 127.0.0.0/8 drop
    iifname \"shim\" ip daddr 127.0.0.0/8 drop
    iifname \"shim\" ip daddr 192.168.65.254 ip saddr != 192.168.65.3 drop
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname \"shim\" ip daddr 192.168.65.1 udp dport 53 redirect to :5399
    iifname \"shim\" ip daddr 192.168.65.1 tcp dport 53 redirect to :5399
    iifname \"shim\" ip daddr 192.168.65.254 dnat ip to 127.0.0.1
  }
  chain loopback {
    type nat hook input priority 100; policy accept;
    iifname \"shim\" ip daddr 127.0.0.1 snat ip to 127.0.0.1
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 192.168.65.0/24 oifname != \"shim\" masquerade
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname != { \"lo\", \"shim\" } ip daddr 192.168.65.1 drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname \"shim\" ip saddr != 192.168.65.0/24 drop
    iifname \"shim\" accept
    oifname \"shim\" ct state established,related accept
    oifname \"shim\" drop
  }
}
";
        assert_eq!(script.replace(&stamp, "STAMP"), expected);
    }

    #[test]
    fn a_stamp_changes_with_the_rules() {
        let other = machine(&Machine { dns_port: 5400, ..MACHINE });
        assert_ne!(other.stamp, machine(&MACHINE).stamp);
        assert_eq!(machine(&MACHINE), machine(&MACHINE));
        let marked = machine(&Machine { forwarding_mark: true, ..MACHINE });
        assert!(marked.script.contains("chain ip_forward_was_0 { }"));
        assert_ne!(marked.stamp, machine(&MACHINE).stamp);
    }

    #[test]
    fn the_box_s_table() {
        for (kubernetes, private) in [(false, "10010"), (true, "{ 10010, 10248 }")] {
            let script = node("shim", kubernetes).script;
            assert!(script.contains("ip saddr 10.1.0.0/16 oifname \"eth0\" masquerade"), "{script}");
            assert!(script.contains(&format!("iifname \"cni0\" tcp dport {private} drop")), "{script}");
            let refusals =
                script.matches("ip daddr 10.96.0.0/12 meta l4proto tcp reject with tcp reset").count();
            assert_eq!(refusals, if kubernetes { 2 } else { 0 });
            let hooks = ["forward", "output"].map(|hook| format!("type filter hook {hook} priority filter"));
            assert!(hooks.iter().all(|hook| script.contains(hook) == kubernetes), "{script}");
        }
        assert_ne!(node("shim", false).stamp, node("shim", true).stamp);
    }
}
