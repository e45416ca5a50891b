//! The client: what outlives a pull.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use cachestore::reference::Reference;

use crate::auth::Credentials;
use crate::error::{Error, Result};
use crate::hosts;
use crate::limits::Limits;
use crate::repository::Repository;
use crate::session::{Common, Session};

/// How a client is set up.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Directories in containerd's `certs.d` format; the first that knows a host, or has a `_default`, decides.
    pub host_dirs: Vec<PathBuf>,
    /// Times and numbers.
    pub limits: Limits,
}

/// A registry client: connections, tokens and the counts of transfers, shared by all pulls. Clones share them too.
#[derive(Clone)]
pub struct Client {
    host_dirs: Arc<[PathBuf]>,
    common: Arc<Common>,
}

impl Client {
    /// Makes a client.
    ///
    /// # Errors
    /// [`Error::Setup`] if the process has not installed a provider of cryptography for rustls.
    pub fn new(config: Config) -> Result<Self> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let problem = "no cryptography was installed for rustls at the start of the program".into();
            return Err(Error::Setup { problem });
        }
        let Config { host_dirs, limits } = config;
        Ok(Self { host_dirs: host_dirs.into(), common: Arc::new(Common::new(limits)) })
    }

    /// Returns the repository that a reference names, as this one pull sees it.
    ///
    /// The files that describe its host are read here, each time anew.
    ///
    /// # Errors
    /// [`Error::Hosts`] for a file that cannot be used.
    pub async fn repository(
        &self,
        reference: &Reference,
        credentials: Arc<dyn Credentials>,
    ) -> Result<Repository> {
        let (directories, host) = (self.host_dirs.clone(), reference.host().to_owned());
        let endpoints = tokio::task::spawn_blocking(move || hosts::endpoints(&directories, &host))
            .await
            .map_err(|error| Error::Setup { problem: error.to_string() })??;
        Ok(Repository::new(Session::new(self.common.clone(), reference.clone(), endpoints, credentials)))
    }

    #[cfg(test)]
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host_dirs", &self.host_dirs).finish_non_exhaustive()
    }
}
