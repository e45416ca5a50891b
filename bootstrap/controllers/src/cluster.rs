//! The way to the API server.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::Client;
use kube::config::Config;

/// How long a connection, or one call but a watch, may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It took too long.
    Late,
    /// The API server refused it, or could not be asked.
    Refused(Box<kube::Error>),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late => write!(f, "the API server did not answer within {} s", TIME_LIMIT.as_secs()),
            Self::Refused(error) => f.write_str(&explain(error)),
        }
    }
}

impl std::error::Error for Failure {}

/// Says why a call failed: of a refusal what the API server said, the rest is for programs; of anything else every cause.
pub(crate) fn explain(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        // Some repeat their cause.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Returns a client with the service account of this pod, or, for trying things by hand, with what `KUBECONFIG` names.
pub(crate) async fn client() -> Result<Client> {
    // Crates with other wishes may be linked: which of rustls' providers is meant has to be said. Only a second call fails.
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut config = match std::env::var_os("KUBECONFIG") {
        Some(_) => Config::infer().await.context("cannot read the kubeconfig")?,
        None => Config::incluster().context("this is not a pod with a service account")?,
    };
    config.connect_timeout = Some(TIME_LIMIT);
    Client::try_from(config).context("cannot make a client of the API server")
}

/// Makes a call that is answered in time or fails.
pub(crate) async fn timely<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(TIME_LIMIT, call).await {
        Ok(answer) => answer.map_err(|error| Failure::Refused(Box::new(error))),
        Err(_) => Err(Failure::Late),
    }
}

/// Tells whether there is no such object.
pub(crate) fn is_missing(failure: &Failure) -> bool {
    has_code(failure, 404)
}

/// Tells whether there is such an object already, or whether it is not the one that was meant.
pub(crate) fn is_conflict(failure: &Failure) -> bool {
    has_code(failure, 409)
}

fn has_code(failure: &Failure, code: u16) -> bool {
    matches!(failure, Failure::Refused(error) if matches!(error.as_ref(), kube::Error::Api(status) if status.code == code))
}
