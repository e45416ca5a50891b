//! Connection pools: one for each way in which a host may be reached.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::Cause;
use crate::hosts::Tls;

/// The largest number of pools; beyond it, all are given up and made anew as they are needed.
const MAX_CLIENTS: usize = 64;
/// How many connections of a host are kept for the next request, and for how long.
const MAX_IDLE_CONNECTIONS: usize = 8;
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest number of header lines of an answer (HTTP/1.1). Their bytes are bounded by hyper's read buffer, 400 KiB.
const MAX_HEADERS: usize = 128;
/// The largest header block of an answer (HTTP/2), in bytes.
const MAX_HEADER_LIST_BYTES: u32 = 64 << 10;
/// What one stream of an HTTP/2 connection may hold unread, in bytes.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// What all of them may: enough for 32, so that layers that nobody reads just now do not hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;

const USER_AGENT: &str = concat!("shim/", env!("CARGO_PKG_VERSION"));

/// How a host is reached.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Transport {
    /// Nothing for plain HTTP: the system's authorities are then not even read, and a machine may have none.
    pub(super) tls: Option<Tls>,
    /// Whether the proxy variables do not count.
    pub(super) direct: bool,
    pub(super) connect_timeout: Duration,
}

/// The pools that were made so far.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<Transport, reqwest::Client>>);

impl Clients {
    /// Returns the pool for this transport; the proxy variables are those of the time when it was made.
    pub(super) async fn get(&self, transport: Transport) -> Result<reqwest::Client, Cause> {
        if let Some(client) = self.lock().get(&transport) {
            return Ok(client.clone());
        }
        // Reading the system's authorities takes milliseconds.
        let wanted = transport.clone();
        let client =
            tokio::task::spawn_blocking(move || build(&wanted)).await.map_err(Cause::invalid)?.map_err(
                |error| Cause::invalid(format!("TLS cannot be set up: {}", super::reply::innermost(&error))),
            )?;
        let mut clients = self.lock();
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        Ok(clients.entry(transport).or_insert(client).clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Transport, reqwest::Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build(transport: &Transport) -> reqwest::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(transport.connect_timeout)
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
        .http1_max_headers(MAX_HEADERS)
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    if transport.direct {
        builder = builder.no_proxy();
    }
    match &transport.tls {
        None => builder = builder.tls_certs_only([]),
        Some(tls) => {
            for pem in &tls.roots {
                builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?);
            }
            if let Some(pem) = &tls.identity {
                builder = builder.identity(reqwest::Identity::from_pem(pem)?);
            }
            builder = builder.tls_danger_accept_invalid_certs(tls.skip_verify);
        }
    }
    builder.build()
}
