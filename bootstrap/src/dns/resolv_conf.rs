//! `resolv.conf`: what is read of the machine's, and the box's (pure).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

/// The C library asks no more servers than this.
const MAX_SERVERS: usize = 3;
const DNS_PORT: u16 = 53;

/// Returns the servers of a `resolv.conf` in their order, without `own`, which would be asked by itself for ever.
pub(crate) fn servers(text: &str, own: Ipv4Addr) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next())?.and_then(address)
    };
    text.lines()
        .filter_map(server)
        .filter(|server| server.ip() != IpAddr::V4(own))
        .take(MAX_SERVERS)
        .collect()
}

/// Reads an address; one of a link only has the link's number behind a percent sign, or its name, which is not understood.
fn address(word: &str) -> Option<SocketAddr> {
    let (address, scope) = word.split_once('%').unwrap_or((word, "0"));
    match address.parse().ok()? {
        IpAddr::V4(address) => Some(SocketAddr::new(address.into(), DNS_PORT)),
        IpAddr::V6(address) => Some(SocketAddrV6::new(address, DNS_PORT, 0, scope.parse().ok()?).into()),
    }
}

/// Returns the box's `resolv.conf`: the machine's, with one server.
pub(crate) fn for_box(machine: &str, server: Ipv4Addr) -> String {
    let mut text = format!("nameserver {server}\n");
    for line in machine.lines() {
        let mut words = line.split_whitespace();
        // As the C library has it, the last of several counts; a single dot says that there is none.
        match words.next() {
            Some("search" | "domain") => {
                let domains: Vec<&str> = words.filter(|domain| *domain != ".").collect();
                if !domains.is_empty() {
                    text.push_str(&format!("search {}\n", domains.join(" ")));
                }
            }
            Some("options") => {
                // Other options speak of the machine's servers.
                let kept: Vec<&str> = words.filter(|option| option.starts_with("ndots:")).collect();
                if !kept.is_empty() {
                    text.push_str(&format!("options {}\n", kept.join(" ")));
                }
            }
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 65, 1);

    #[test]
    fn servers_of_the_machine() {
        let rows: [(&str, &[&str]); 6] = [
            ("# x\nnameserver 127.0.0.53\noptions edns0\n", &["127.0.0.53:53"]),
            (
                "nameserver\t9.9.9.9 # quad\nnameserver 192.168.65.1\nnameserver 2001:db8::1",
                &["9.9.9.9:53", "[2001:db8::1]:53"],
            ),
            ("nameserver fe80::1%2\nnameserver fe80::1%eth0\n", &["[fe80::1%2]:53"]),
            (
                "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n",
                &["1.1.1.1:53", "1.1.1.2:53", "1.1.1.3:53"],
            ),
            ("nameserver\nnameserver x\nnameservers 1.1.1.1\n;nameserver 1.1.1.1", &[]),
            ("", &[]),
        ];
        for (text, expected) in rows {
            let found: Vec<String> = servers(text, OWN).iter().map(SocketAddr::to_string).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn the_file_of_the_box() {
        for (machine, expected) in [
            ("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n", "nameserver 192.168.65.1\n"),
            (
                "search corp.example lab.example\nnameserver 10.0.0.1\noptions ndots:2 rotate\n",
                "nameserver 192.168.65.1\nsearch corp.example lab.example\noptions ndots:2\n",
            ),
            ("domain x.example", "nameserver 192.168.65.1\nsearch x.example\n"),
            ("", "nameserver 192.168.65.1\n"),
        ] {
            assert_eq!(for_box(machine, OWN), expected, "{machine}");
        }
    }
}
