//! How an endpoint proves itself, and how we do.

use std::fmt;
use std::path::Path;

use super::file::ClientPair;
use super::{hosts_error, read};
use crate::error::Result;

/// Why a second client certificate is refused.
pub(super) const ONE_IDENTITY: &str = "more than one client certificate for one host is not supported";

/// The settings of TLS connections to one endpoint, as PEM texts that were parsed once.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tls {
    /// Authorities that are trusted beside the system's; each text holds at least one certificate.
    pub(crate) roots: Vec<Vec<u8>>,
    /// Our certificates and key.
    pub(crate) identity: Option<Vec<u8>>,
    /// Whether any certificate will do.
    pub(crate) skip_verify: bool,
}

impl Tls {
    /// Returns the settings for another host that the endpoint sends us to: what it trusts we trust, as containerd
    /// does, but we do not say who we are.
    pub(crate) fn for_another_host(&self) -> Self {
        Self { identity: None, ..self.clone() }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("roots", &self.roots.len())
            .field("identity", &self.identity.is_some())
            .field("skip_verify", &self.skip_verify)
            .finish()
    }
}

pub(super) fn read_roots(path: &Path) -> Result<Vec<u8>> {
    let pem = read(path).map_err(|error| hosts_error(path, error))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        Ok(_) => Err(hosts_error(path, "it holds no certificate in PEM")),
        Err(error) => Err(hosts_error(path, error)),
    }
}

pub(super) fn read_identity(pair: &ClientPair) -> Result<Vec<u8>> {
    let mut pem = read(&pair.certificate).map_err(|error| hosts_error(&pair.certificate, error))?;
    if let Some(key) = &pair.key {
        pem.push(b'\n');
        pem.extend(read(key).map_err(|error| hosts_error(key, error))?);
    }
    match reqwest::Identity::from_pem(&pem) {
        Ok(_) => Ok(pem),
        Err(_) => Err(hosts_error(&pair.certificate, "with its key it is not a client certificate in PEM")),
    }
}
