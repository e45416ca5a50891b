//! What a cluster's configuration follows from.

use std::fmt;
use std::net::Ipv4Addr;

use ring::rand::{SecureRandom, SystemRandom};

use super::Version;
use crate::cluster::ENDPOINT;
use crate::error::{Error, Result};

/// The range of the addresses of services; the first is the API server's, the tenth that of DNS.
pub(super) const SERVICES: &str = "10.96.0.0/12";
pub(super) const CLUSTER_DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// One cluster. Paths are those of the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) version: Version,
    pub(crate) node_address: Ipv4Addr,
    /// The path of the socket that serves CRI.
    pub(crate) cri_socket: String,
    /// The group that is the parent of all pods, such as `/shim/pods`.
    pub(crate) cgroup_root: String,
    pub(crate) is_cgroup_v1: bool,
    /// Whether a process cannot be given a better `oom_score_adj` than it has.
    pub(crate) restrict_oom_score: bool,
    /// The range of the addresses of pods, such as `10.1.0.0/16`.
    pub(crate) pod_subnet: String,
    pub(crate) api_port: u16,
    pub(crate) token: Token,
}

impl Cluster {
    /// Returns the API server's address for clients, without the scheme.
    pub(crate) fn endpoint(&self) -> String {
        format!("{ENDPOINT}:{}", self.api_port)
    }
}

/// A bootstrap token. Whoever has it can add nodes, so it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    id: String,
    secret: String,
}

impl Token {
    /// Makes one.
    pub(crate) fn random() -> Result<Self> {
        let mut bytes = [0; 11];
        let no_random = |_| Error::invalid("a bootstrap token", "the system gives no random numbers");
        SystemRandom::new().fill(&mut bytes).map_err(no_random)?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let (id, secret) = hex.split_at(6);
        Ok(Self { id: id.into(), secret: secret.into() })
    }

    pub(super) fn reveal(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}.…)", self.id)
    }
}

#[cfg(test)]
impl Token {
    pub(crate) fn fixed() -> Self {
        Self { id: "abcdef".into(), secret: "0123456789abcdef".into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_random_and_not_shown() {
        let token = Token::random().unwrap();
        assert_ne!(token, Token::random().unwrap());
        let text = token.reveal();
        // What kubeadm takes: [a-z0-9]{6}\.[a-z0-9]{16}
        let (id, secret) = text.split_once('.').unwrap();
        assert_eq!((id.len(), secret.len()), (6, 16));
        assert!(text.chars().all(|c| c == '.' || c.is_ascii_digit() || c.is_ascii_lowercase()), "{text}");
        assert!(!format!("{token:?}").contains(secret));
    }
}
