//! The network between machine and box (pure).

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::Deserialize;

use crate::error::Error;

/// Routes to more than this much of the internet are defaults, such as the halves that VPNs set; they overlap everything.
const MIN_PREFIX: u8 = 8;
/// The last network that is tried for instances other than the default one.
const LAST_CANDIDATE: u8 = 254;

/// A network of 256 addresses: the machine has the first of them, the box the third, as in the system that we re-create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet([u8; 3]);

impl Subnet {
    /// That of the default instance.
    pub(crate) const DEFAULT: Self = Self([192, 168, 65]);

    /// Returns the networks that an instance may take, the preferred one first.
    pub(crate) fn candidates(is_default: bool, configured: Option<Self>) -> Vec<Self> {
        match configured {
            Some(subnet) => vec![subnet],
            None if is_default => vec![Self::DEFAULT],
            None => (Self::DEFAULT.0[2] + 1..=LAST_CANDIDATE).map(|third| Self([192, 168, third])).collect(),
        }
    }

    const fn address(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(self.0[0], self.0[1], self.0[2], last)
    }

    /// Returns the machine's address.
    pub(crate) const fn host(self) -> Ipv4Addr {
        self.address(1)
    }

    /// Returns the box's address.
    pub(crate) const fn node(self) -> Ipv4Addr {
        self.address(3)
    }

    /// Returns the address by which the box reaches what listens on the machine's loopback.
    pub(crate) const fn host_loopback(self) -> Ipv4Addr {
        self.address(254)
    }

    fn overlaps(self, network: Ipv4Addr, prefix: u8) -> bool {
        let shift = 32 - u32::from(prefix.min(24));
        let cut = |address: Ipv4Addr| u32::from(address).checked_shr(shift).unwrap_or(0);
        cut(self.address(0)) == cut(network)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/24", self.address(0))
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid =
            || Error::invalid(format!("subnet {text:?}"), "is not a network such as 192.168.80.0/24");
        let address: Ipv4Addr =
            text.strip_suffix("/24").and_then(|text| text.parse().ok()).ok_or_else(invalid)?;
        match address.octets() {
            [a, b, c, 0] if address.is_private() => Ok(Self([a, b, c])),
            _ => Err(invalid()),
        }
    }
}

impl serde::Serialize for Subnet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One route of the machine, as `ip -json route` prints it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Route {
    #[serde(default)]
    dst: String,
    #[serde(default)]
    dev: String,
}

impl Route {
    fn network(&self) -> Option<(Ipv4Addr, u8)> {
        let (address, prefix) = self.dst.split_once('/').unwrap_or((&self.dst, "32"));
        Some((address.parse().ok()?, prefix.parse().ok().filter(|prefix| *prefix <= 32)?))
    }
}

/// Takes the first network that no route of the machine leads into, apart from those of the link `own`.
///
/// # Errors
/// Every candidate is taken; with the route that is in the way of the first one.
pub(crate) fn choose(candidates: &[Subnet], routes: &[Route], own: &str) -> Result<Subnet, Error> {
    let obstacle = |subnet: &Subnet| {
        routes.iter().filter(|route| route.dev != own).find(|route| {
            route
                .network()
                .is_some_and(|(network, prefix)| prefix >= MIN_PREFIX && subnet.overlaps(network, prefix))
        })
    };
    let mut first = None;
    for subnet in candidates {
        match obstacle(subnet) {
            None => return Ok(*subnet),
            Some(route) => first = first.or(Some((subnet, route))),
        }
    }
    let (subnet, problem) = match first {
        Some((subnet, route)) => {
            (subnet.to_string(), format!("the machine has a route to {} by {}", route.dst, route.dev))
        }
        None => ("the box's network".into(), "there is none to choose".into()),
    };
    Err(Error::Conflict {
        subject: subnet,
        problem,
        remedy: "name a free network in bootstrap.toml: [network] subnet = \"192.168.80.0/24\"".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn texts() {
        let own = subnet("192.168.65.0/24");
        assert_eq!(own, Subnet::DEFAULT);
        assert_eq!(
            (own.host().to_string(), own.node().to_string()),
            ("192.168.65.1".into(), "192.168.65.3".into())
        );
        assert_eq!(own.to_string(), "192.168.65.0/24");
        for bad in ["192.168.65.0", "192.168.65.0/16", "192.168.65.1/24", "8.8.8.0/24", "x/24", ""] {
            assert!(bad.parse::<Subnet>().unwrap_err().to_string().contains(bad), "{bad}");
        }
    }

    #[test]
    fn candidates() {
        assert_eq!(Subnet::candidates(true, None), [Subnet::DEFAULT]);
        let others = Subnet::candidates(false, None);
        assert_eq!((others[0], others.len()), (subnet("192.168.66.0/24"), 189));
        assert_eq!(others[188], subnet("192.168.254.0/24"));
        assert_eq!(Subnet::candidates(true, Some(subnet("10.9.8.0/24"))), [subnet("10.9.8.0/24")]);
    }

    #[test]
    fn choices() {
        let rows: [(&str, Result<&str, &str>); 7] = [
            (
                r#"[{"dst":"default","dev":"eth0"},{"dst":"192.0.2.0/24","dev":"eth0"}]"#,
                Ok("192.168.66.0/24"),
            ),
            (
                r#"[{"dst":"192.168.66.0/24","dev":"wlan0"},{"dst":"192.168.67.9","dev":"tun0"}]"#,
                Ok("192.168.68.0/24"),
            ),
            (r#"[{"dst":"192.168.66.0/24","dev":"shim-2"}]"#, Ok("192.168.66.0/24")),
            (
                r#"[{"dst":"0.0.0.0/1","dev":"tun0"},{"dst":"128.0.0.0/1","dev":"tun0"}]"#,
                Ok("192.168.66.0/24"),
            ),
            (r#"[{"dst":"192.168.0.0/16","dev":"tun0"}]"#, Err("192.168.0.0/16 by tun0")),
            (
                r#"[{"dst":"192.168.64.0/18","dev":"a"},{"type":"blackhole","dst":"10.0.0.0/8"}]"#,
                Ok("192.168.128.0/24"),
            ),
            ("[]", Ok("192.168.66.0/24")),
        ];
        for (routes, expected) in rows {
            let routes: Vec<Route> = serde_json::from_str(routes).unwrap();
            let chosen = choose(&Subnet::candidates(false, None), &routes, "shim-2");
            match expected {
                Ok(expected) => assert_eq!(chosen.unwrap(), subnet(expected)),
                Err(named) => {
                    let error = chosen.unwrap_err();
                    assert!(error.to_string().contains(named), "{error}");
                    assert!(error.hint().unwrap().contains("bootstrap.toml"));
                }
            }
        }
    }
}
