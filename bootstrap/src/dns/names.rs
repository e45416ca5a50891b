//! Names that the box has for its surroundings (pure). They belong to nobody: nobody else is asked about them.

use std::net::Ipv4Addr;

use super::message::Query;
use crate::network::subnet::Subnet;

/// How long an answer may be remembered, in seconds.
const TTL: u32 = 5;

/// The addresses of the names that are answered here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names(Subnet);

impl Names {
    pub(crate) const fn new(subnet: Subnet) -> Self {
        Self(subnet)
    }

    fn address(self, name: &str) -> Option<Ipv4Addr> {
        match name {
            "host.docker.internal" => Some(self.0.host_loopback()),
            "gateway.docker.internal" => Some(self.0.host()),
            "kubernetes.docker.internal" => Some(self.0.node()),
            _ => None,
        }
    }

    /// Answers a question for one of these names. There are no addresses but those of IPv4, which is said too.
    pub(super) fn answer(self, query: Query<'_>) -> Option<Vec<u8>> {
        Some(query.answer(self.address(&query.name()?)?, TTL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, kind: u8) -> Option<Vec<u8>> {
        let mut message = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.bytes());
        }
        message.extend([0, 0, kind, 0, 1]);
        Names::new(Subnet::DEFAULT).answer(Query::parse(&message).unwrap())
    }

    #[test]
    fn names_of_the_box() {
        for (name, last) in [
            ("host.docker.internal", Some(254)),
            ("HOST.Docker.INTERNAL", Some(254)),
            ("gateway.docker.internal", Some(1)),
            ("kubernetes.docker.internal", Some(3)),
            ("docker.internal", None),
            ("x.host.docker.internal", None),
            ("host.docker.internal.default.svc.cluster.local", None),
        ] {
            let answer = ask(name, 1);
            assert_eq!(answer.as_deref().and_then(<[u8]>::last).copied(), last, "{name}");
            // No address of IPv6, which is not the same as no such name.
            let v6 = ask(name, 28);
            assert_eq!(v6.map(|answer| (answer[3], answer[7])), last.map(|_| (0x80, 0)), "{name}");
        }
    }
}
