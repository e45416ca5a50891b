//! One place where a registry's API is served.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderMap;

use super::Tls;
use crate::error::{Error, Result};

/// The host of docker's registry in names, and the one that serves its API.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// A registry or a mirror, and how it is reached.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Where its API begins, without a slash at the end: `https://registry-1.docker.io/v2`.
    pub(crate) root: Url,
    pub(crate) capabilities: Capabilities,
    pub(crate) tls: Tls,
    /// Sent with every request to the endpoint itself, and to no other host.
    pub(crate) headers: HeaderMap,
    pub(crate) connect_timeout: Option<Duration>,
}

/// What an endpoint is trusted to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Content by digest, which can be checked.
    pub(crate) pull: bool,
    /// Which digest a tag stands for, which cannot.
    pub(crate) resolve: bool,
}

impl Capabilities {
    pub(crate) const ALL: Self = Self { pull: true, resolve: true };
}

impl Endpoint {
    /// Returns the registry itself, as it is reached without configuration.
    ///
    /// A loopback host is plain HTTP, except on port 443, which is TLS without verification: whoever could stand
    /// between is this machine's root. Everything else is HTTPS.
    pub(crate) fn default_for(host: &str) -> Result<Self> {
        let api_host = if host == DOCKER_HUB { DOCKER_HUB_API } else { host };
        let parse = |scheme: &str| {
            Url::parse(&format!("{scheme}://{api_host}/v2"))
                .map_err(|error| Error::Refused { subject: host.to_owned(), problem: error.to_string() })
        };
        let (https, http) = (parse("https")?, parse("http")?);
        let local = is_loopback(&https);
        let written_port = host.rsplit_once(':').map(|(_, port)| port);
        let plain = local && written_port != Some("443");
        Ok(Self {
            root: if plain { http } else { https },
            capabilities: Capabilities::ALL,
            tls: Tls { skip_verify: local, ..Tls::default() },
            headers: HeaderMap::new(),
            connect_timeout: None,
        })
    }

    /// Tells whether this is the registry that the name means, and not a mirror of it.
    pub(crate) fn is_registry_of(&self, host: &str) -> bool {
        let here = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
        let api_host = if host == DOCKER_HUB { DOCKER_HUB_API } else { host };
        // Parsed with the endpoint's scheme, so that both have the same default port.
        let meant = Url::parse(&format!("{}://{api_host}/", self.root.scheme()));
        meant.is_ok_and(|meant| here(&meant) == here(&self.root))
    }

    /// Returns the host under whose name the credentials for this endpoint are kept (T3).
    pub(crate) fn credential_host(&self, host: &str) -> String {
        if self.is_registry_of(host) { host.to_owned() } else { authority(&self.root) }
    }
}

/// Shows the endpoint as errors name it: without the API's own `/v2`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.root.path();
        write!(f, "{}{}", origin(&self.root), path.strip_suffix("/v2").unwrap_or(path).trim_end_matches('/'))
    }
}

/// Returns scheme, host, and port where it is not the scheme's own: what credentials are bound to.
pub(crate) fn origin(url: &Url) -> String {
    format!("{}://{}", url.scheme(), authority(url))
}

/// Returns the host, and the port where it is not the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Tells whether the URL names this machine by `localhost` or by a loopback address.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}
