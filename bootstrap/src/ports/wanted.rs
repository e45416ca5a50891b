//! Which ports are wanted, and what that means for those that are open (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use proto::ports as api;

/// How many ports can be wanted at once.
const MAX_PORTS: usize = 4096;
/// The longest name of who wants one, in bytes.
const MAX_OWNER_BYTES: usize = 512;
/// The longest text of an address, in bytes.
const MAX_ADDRESS_BYTES: usize = 64;
/// The longest message about one port, in bytes.
const MAX_MESSAGE_BYTES: usize = 512;

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A port of localhost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

impl Key {
    /// Writes it as an address.
    pub(crate) fn on_localhost(self) -> String {
        format!("localhost:{}/{}", self.port, self.protocol.to_string().to_lowercase())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} ({})", self.port, self.protocol)
    }
}

/// A port, who wants it, and where its connections go: an address in the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) owner: String,
    pub(crate) key: Key,
    pub(crate) target: SocketAddr,
}

/// Reads a request: for each of its ports a wish, or what is wrong with it.
///
/// # Errors
/// The request is out of all proportion; nothing of it is served.
pub(crate) fn read(request: &api::SyncRequest) -> Result<Vec<Result<Wish, api::Problem>>, String> {
    let count = request.ports.len();
    if count > MAX_PORTS {
        return Err(format!("{count} ports are wanted, {MAX_PORTS} at most can be"));
    }
    for port in &request.ports {
        if port.owner.len() > MAX_OWNER_BYTES || port.target_address.len() > MAX_ADDRESS_BYTES {
            return Err(format!("a text of port {} is too long", port.port));
        }
    }
    let mut first: BTreeMap<Key, &str> = BTreeMap::new();
    let read = request.ports.iter().map(|port| {
        let wish = wish(port).map_err(|message| problem(port, api::Reason::PortInvalid, &message))?;
        match first.insert(wish.key, &port.owner) {
            None => Ok(wish),
            Some(owner) => {
                // The first keeps it, for those that come later too.
                first.insert(wish.key, owner);
                let message = format!("{} is taken by {owner}", wish.key);
                Err(problem(port, api::Reason::PortTaken, &message))
            }
        }
    });
    Ok(read.collect())
}

fn wish(port: &api::Port) -> Result<Wish, String> {
    let protocol = match port.protocol() {
        api::Protocol::Tcp => Protocol::Tcp,
        api::Protocol::Udp => Protocol::Udp,
        api::Protocol::Unspecified => return Err("the protocol is neither TCP nor UDP".into()),
    };
    let number = |value: u32, what: &str| {
        u16::try_from(value).ok().filter(|port| *port != 0).ok_or_else(|| format!("{value} is no {what}"))
    };
    let key = Key { protocol, port: number(port.port, "port")? };
    let address: IpAddr =
        port.target_address.parse().map_err(|_| format!("{:?} is no address", port.target_address))?;
    // The box's own loopback has servers that are nobody else's business.
    if address.to_canonical().is_loopback() || address.is_unspecified() || address.is_multicast() {
        return Err(format!("{address} is no address of a service, node or pod"));
    }
    let target = SocketAddr::new(address, number(port.target_port, "target port")?);
    Ok(Wish { owner: port.owner.clone(), key, target })
}

/// Says what is wrong with a port.
pub(crate) fn problem(port: &api::Port, reason: api::Reason, message: &str) -> api::Problem {
    let mut end = message.len().min(MAX_MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    api::Problem {
        owner: port.owner.clone(),
        protocol: port.protocol,
        port: port.port,
        reason: reason.into(),
        message: message[..end].to_owned(),
    }
}

/// Returns the ports that are open and not wanted any more.
pub(crate) fn surplus<'a>(
    open: impl Iterator<Item = &'a Key>,
    wanted: impl Iterator<Item = &'a Key>,
) -> Vec<Key> {
    let wanted: BTreeSet<&Key> = wanted.collect();
    open.filter(|key| !wanted.contains(key)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(owner: &str, protocol: i32, port: u32, target: (&str, u32)) -> api::Port {
        api::Port {
            owner: owner.into(),
            protocol,
            port,
            target_address: target.0.into(),
            target_port: target.1,
        }
    }

    fn read_one(port: api::Port) -> Result<Wish, api::Problem> {
        read(&api::SyncRequest { ports: vec![port] }).unwrap().remove(0)
    }

    #[test]
    fn what_can_be_wanted() {
        let wish = read_one(port("default/web", 1, 80, ("10.96.1.2", 8080))).unwrap();
        assert_eq!((wish.owner.as_str(), wish.key.to_string()), ("default/web", "port 80 (TCP)".into()));
        assert_eq!(wish.target, "10.96.1.2:8080".parse().unwrap());
        let wish = read_one(port("a/b", 2, 65_535, ("fd00::1", 53))).unwrap();
        assert_eq!(
            (wish.key.to_string(), wish.target.to_string()),
            ("port 65535 (UDP)".into(), "[fd00::1]:53".into())
        );
    }

    #[test]
    fn what_cannot() {
        for (protocol, number, address, target, named) in [
            (0, 80, "10.96.1.2", 80, "neither TCP nor UDP"),
            (7, 80, "10.96.1.2", 80, "neither TCP nor UDP"),
            (1, 0, "10.96.1.2", 80, "0 is no port"),
            (1, 65_536, "10.96.1.2", 80, "65536 is no port"),
            (1, 80, "10.96.1.2", 0, "0 is no target port"),
            (1, 80, "web", 80, "\"web\" is no address"),
            (1, 80, "", 80, "\"\" is no address"),
            (1, 80, "127.0.0.1", 80, "127.0.0.1 is no address of"),
            (1, 80, "::ffff:127.0.0.1", 80, "is no address of"),
            (1, 80, "::1", 80, "::1 is no address of"),
            (1, 80, "0.0.0.0", 80, "is no address of"),
            (1, 80, "224.0.0.1", 80, "is no address of"),
        ] {
            let problem = read_one(port("a/b", protocol, number, (address, target))).unwrap_err();
            assert!(problem.message.contains(named), "{problem:?}");
            assert_eq!((problem.reason(), problem.port), (api::Reason::PortInvalid, number));
        }
    }

    #[test]
    fn the_first_of_two_gets_it() {
        let ports = ["one", "two", "three"].map(|owner| port(owner, 1, 80, ("10.0.0.1", 80))).to_vec();
        let read = read(&api::SyncRequest { ports }).unwrap();
        assert_eq!(read[0].as_ref().unwrap().owner, "one");
        for (index, owner) in [(1, "two"), (2, "three")] {
            let problem = read[index].as_ref().unwrap_err();
            assert_eq!(
                (problem.owner.as_str(), problem.message.as_str()),
                (owner, "port 80 (TCP) is taken by one")
            );
            assert_eq!(problem.reason(), api::Reason::PortTaken);
        }
        let both = [1, 2].map(|protocol| port("x", protocol, 53, ("10.0.0.1", 53))).to_vec();
        assert!(super::read(&api::SyncRequest { ports: both }).unwrap().iter().all(Result::is_ok));
    }

    #[test]
    fn absurd_requests_are_refused_as_a_whole() {
        let many = vec![port("x", 1, 80, ("10.0.0.1", 80)); MAX_PORTS + 1];
        assert!(read(&api::SyncRequest { ports: many }).unwrap_err().contains("4097 ports"));
        for long in [port(&"x".repeat(513), 1, 80, ("10.0.0.1", 80)), port("x", 1, 81, (&"1".repeat(65), 80))]
        {
            assert!(read(&api::SyncRequest { ports: vec![long] }).unwrap_err().contains("too long"));
        }
    }

    #[test]
    fn messages_have_a_limit() {
        let long = problem(&port("x", 1, 80, ("", 0)), api::Reason::PortFailed, &"\u{e4}x".repeat(300));
        assert_eq!((long.message.len(), long.message.ends_with('x')), (512, false));
        assert_eq!(problem(&port("x", 1, 80, ("", 0)), api::Reason::PortFailed, "short").message, "short");
    }

    #[test]
    fn what_is_closed() {
        let key = |port| Key { protocol: Protocol::Tcp, port };
        let (open, wanted) = ([key(1), key(2), key(3)], [key(2), key(4)]);
        assert_eq!(surplus(open.iter(), wanted.iter()), [key(1), key(3)]);
        assert_eq!(surplus(open.iter(), [].iter()), open);
    }
}
