//! A client of the API server, as its administrator.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tonic::codegen::http::Request;

use super::{API_PORT, ENDPOINT};
use crate::error::{Error, Result};
use crate::files;
use crate::node::Node;

/// How long a connection may take, and an answer: the machine may be busy, the way is short.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Makes a client. It speaks to the node itself: neither a name nor a listener of the machine is needed.
///
/// # Errors
/// There are no credentials, or they cannot be used.
pub(crate) async fn client(node: &Node) -> Result<Client> {
    let path = node.paths.kubernetes().join("super-admin.conf");
    let invalid =
        |problem: &dyn std::fmt::Display| Error::invalid(path.display().to_string(), problem.to_string());
    let kubeconfig = Kubeconfig::from_yaml(&files::read(&path)?).map_err(|error| invalid(&error))?;
    let options = KubeConfigOptions::default();
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| invalid(&error))?;
    let address = format!("https://{}:{API_PORT}", node.subnet()?.node());
    config.cluster_url = address.parse().map_err(|error| invalid(&error))?;
    config.tls_server_name = Some(ENDPOINT.to_owned());
    config.proxy_url = None;
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.read_timeout = Some(ANSWER_LIMIT);
    config.write_timeout = Some(ANSWER_LIMIT);
    Client::try_from(config).map_err(|error| invalid(&error))
}

/// Says what the API server, or the way to it, said.
pub(crate) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => innermost(other),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// Says which request failed, and why. What is not an answer to the request itself may be another one a moment later.
pub(crate) fn failed(what: &str, error: &kube::Error) -> Error {
    let may_pass = match error {
        kube::Error::Api(status) => status.code >= 500,
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    };
    Error::Refused { asked: format!("the API server, asked {what}"), answer: said(error), may_pass }
}

/// Asks whether requests are worth their while: the server is there, and reaches etcd, without which it answers little.
pub(crate) async fn ready(node: &Node) -> Result<(), String> {
    let client = client(node).await.map_err(|error| error.to_string())?;
    let request = Request::get("/readyz/etcd").body(Vec::new()).map_err(|error| error.to_string())?;
    client.request_text(request).await.map(drop).map_err(|error| said(&error))
}
