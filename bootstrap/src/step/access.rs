//! The cluster is reached from the machine: at a port of its loopback, and by a context in kubeconfigs.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::cluster::{API_PORT, ENDPOINT};
use crate::command::{Account, account};
use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::files;
use crate::kubeconfig::{self, Entry, Place};
use crate::node::Node;
use crate::ports::{Ports, Target};
use crate::state::Reader;

/// The name of the listener.
const LISTENER: &str = "the API server";

pub(crate) async fn check(node: &Node) -> Result<bool> {
    let is_recorded = node.state.get().life.access == fingerprint(node)?;
    Ok(is_recorded && ports(node)?.is_published(LISTENER).await)
}

/// Looks at the kubeconfigs that will be written, before anything is made that they shall name.
///
/// # Errors
/// One cannot be.
pub(crate) async fn conflict(node: &Node) -> Result<()> {
    if node.state.get().life.access == fingerprint(node)? {
        return Ok(());
    }
    for place in places(node).await? {
        place.examine().await.map_err(|error| match error {
            Error::Invalid { subject, problem } => {
                let remedy = "mend the file or move it away; it was not changed".into();
                Error::Conflict { subject, problem, remedy }
            }
            error => error,
        })?;
    }
    Ok(())
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port(node)?));
    let target = SocketAddr::from((node.subnet()?.node(), API_PORT));
    ports(node)?.publish_fixed(LISTENER, listen, Target::Outside(target)).await?;
    fault::point("the API server is reached and nobody knows where");
    let entry = entry(node, listen.port())?;
    for place in places(node).await? {
        place.install(entry.clone()).await?;
        fault::point("a kubeconfig has the context and others have not");
    }
    let fingerprint = fingerprint(node)?;
    node.state.change(|state| state.life.access = fingerprint)
}

/// Takes the context out of every kubeconfig: the cluster is no more.
///
/// # Errors
/// One cannot be changed; the others are.
pub(crate) async fn remove(node: &Node) -> Result<()> {
    let mut problems = Vec::new();
    for place in places(node).await? {
        if let Err(error) = place.uninstall().await {
            problems.push(error.to_string());
        }
    }
    match problems.is_empty() {
        true => node.state.change(|state| {
            state.readers.clear();
            state.life.access.clear();
        }),
        false => Err(Error::Remains { problems }),
    }
}

fn ports(node: &Node) -> Result<Arc<Ports>> {
    node.ports().ok_or_else(|| Error::invalid("the port service", "does not run"))
}

/// Returns the port of the machine's loopback: the well-known one for the default instance, a free one for others.
fn port(node: &Node) -> Result<u16> {
    if node.paths.is_default() {
        return Ok(API_PORT);
    }
    if let Some(port) = node.state.get().api_port {
        return Ok(port);
    }
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    let port = free.at("find a free port of", "127.0.0.1")?.port();
    node.state.change(|state| state.api_port = Some(port))?;
    Ok(port)
}

/// Returns the administrator's entry, as it is for somebody on the machine.
fn entry(node: &Node, port: u16) -> Result<Entry> {
    let path = node.paths.kubernetes().join("admin.conf");
    let entry = kubeconfig::read(&files::read(&path)?);
    let entry = entry.map_err(|problem| Error::invalid(path.display().to_string(), problem.to_string()))?;
    if node.paths.is_default() {
        return Ok(entry);
    }
    // The name is the default instance's.
    let server = format!("https://127.0.0.1:{port}");
    Ok(Entry { server, tls_server_name: Some(ENDPOINT.into()), ..entry })
}

async fn places(node: &Node) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for Reader { user, home } in node.state.get().readers {
        let Some(known) = account(&user).await? else {
            tracing::warn!(user, "is no user of this machine any more: the kubeconfig is left as it is");
            continue;
        };
        let account = Account { home: home.unwrap_or(known.home), ..known };
        if node.paths.is_default() {
            places.push(Place::home(account));
        } else {
            places = vec![Place::own(node.paths.kubeconfig(), account)];
        }
    }
    Ok(places)
}

/// Returns a digest of all that kubeconfigs depend on.
fn fingerprint(node: &Node) -> Result<String> {
    let credentials = files::read_if_there(&node.paths.kubernetes().join("admin.conf"))?.unwrap_or_default();
    let state = node.state.get();
    let text = format!("{credentials}{:?}{:?}", state.readers, state.api_port);
    Ok(Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        write!(hex, "{byte:02x}").ok();
        hex
    }))
}
