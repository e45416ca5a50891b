//! Ports of localhost that lead into the box.
//!
//! A set of them is wanted by the cluster's controller, which says so on a socket that offers nothing else; a few are published by
//! this service itself. All listeners end with [`Ports::close`], and with this process.

mod dial;
mod early;
mod limit;
mod listener;
mod server;
mod taken;
mod tcp;
mod udp;
mod wanted;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use proto::lifecycle::OpenPort;
use proto::ports as api;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Error, IoContext, Result};
use dial::Dialer;
use listener::Listener;
use taken::Holder;
use udp::Flows;
use wanted::{Key, Protocol, Wish};

pub(crate) use dial::{Home, Target};
pub(crate) use limit::usual_files;
pub(crate) use taken::check as conflict;

/// The addresses of localhost.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// The listeners of one instance.
#[derive(Debug)]
pub(crate) struct Ports {
    shared: Arc<Shared>,
    directory: PathBuf,
    stop: CancellationToken,
    /// Whoever drops it aborts its tasks.
    server: Mutex<JoinSet<()>>,
}

/// What all ports have in common.
#[derive(Debug)]
struct Shared {
    dialer: Dialer,
    connections: Arc<Semaphore>,
    flows: Flows,
    open: tokio::sync::Mutex<Open>,
}

/// What listens now, and what should.
#[derive(Debug, Default)]
struct Open {
    /// What the controller wants.
    wanted: BTreeMap<Key, Listener>,
    /// What this service publishes, by name.
    fixed: BTreeMap<String, (SocketAddr, Listener)>,
    /// What the controller wants and somebody else has.
    refused: BTreeMap<Key, Refused>,
    is_closed: bool,
}

/// Why a port is not served.
#[derive(Debug, Clone)]
struct Refused {
    owner: String,
    target: SocketAddr,
    reason: api::Reason,
    message: String,
    holder: Option<Holder>,
}

/// What the tasks of one port know.
#[derive(Debug)]
struct Served {
    shared: Arc<Shared>,
    /// For whom, and where to; later connections go where it says then.
    about: Mutex<(String, Target)>,
    /// Counts connections and clients, which end a moment after they were told to.
    guests: TaskTracker,
}

impl Served {
    fn target(&self) -> Target {
        self.about.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn owner(&self) -> String {
        self.about.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl Ports {
    /// Listens for what is wanted on `ports.sock` in a directory of root's, which is made.
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let connections = limit::raise().at("raise the limit of files of", "this process")?;
        let shared = Arc::new(Shared {
            dialer: Dialer::default(),
            connections: Arc::new(Semaphore::new(connections)),
            flows: Flows::default(),
            open: tokio::sync::Mutex::default(),
        });
        let ports = Self {
            shared,
            directory: directory.to_path_buf(),
            stop: CancellationToken::new(),
            server: Mutex::default(),
        };
        ports.listen()?;
        Ok(ports)
    }

    /// Listens for what is wanted, again if need be: the socket is gone, or whoever served it.
    pub(crate) fn listen(&self) -> Result<()> {
        if self.is_listening() {
            return Ok(());
        }
        let socket = server::bind(&self.directory)?;
        let mut server = JoinSet::new();
        server.spawn(server::serve(socket, Arc::clone(&self.shared), self.stop.clone()));
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
        Ok(())
    }

    fn is_listening(&self) -> bool {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.try_join_next().is_none() && !server.is_empty() && self.directory.join(server::SOCKET).exists()
    }

    /// Tells whether what is wanted is listened for, and dialled into this box.
    pub(crate) fn is_settled(&self, home: Home) -> bool {
        self.is_listening() && self.shared.dialer.home() == Some(home)
    }

    /// Says which box is to be dialled into. Connections into one that was there before end.
    pub(crate) fn enter(&self, home: Home) {
        self.shared.dialer.enter(Some(home));
    }

    /// Publishes one port of TCP for as long as this service runs, at this address only. What has the name already is replaced.
    ///
    /// # Errors
    /// Somebody has it: a conflict that says who.
    pub(crate) async fn publish_fixed(&self, name: &str, listen: SocketAddr, target: Target) -> Result<()> {
        let mut open = self.shared.open.lock().await;
        if open.is_closed {
            return Err(Error::invalid("ports", "the instance is being taken down"));
        }
        match open.fixed.get(name) {
            Some((at, listener)) if *at == listen && listener.is_running() => {
                listener.change(name, target);
                return Ok(());
            }
            Some(_) => {
                if let Some((_, listener)) = open.fixed.remove(name) {
                    listener.close().await;
                }
            }
            None => {}
        }
        let key = Key { protocol: Protocol::Tcp, port: listen.port() };
        let served = self.shared.served(name, target);
        match Listener::open(key, &[listen.ip()], served) {
            Ok(listener) => {
                open.fixed.insert(name.to_owned(), (listen, listener));
                Ok(())
            }
            Err(error) if is_taken(&error) => {
                let holder = taken::holders(&[(key, &[listen.ip()])], &[]).pop().flatten();
                let holder = match open.wanted.get(&key) {
                    Some(listener) => listener.owner(),
                    None => holder.map_or_else(|| "another program".into(), |holder| holder.name),
                };
                Err(taken::conflict(listen, &holder, "end what has it, or have it use another port"))
            }
            Err(error) => Err(error).at("listen on", listen.to_string()),
        }
    }

    /// Tells whether something is published by this name.
    pub(crate) async fn is_published(&self, name: &str) -> bool {
        self.shared.open.lock().await.fixed.get(name).is_some_and(|(_, listener)| listener.is_running())
    }

    /// Lists every port that is served or should be, for people.
    pub(crate) async fn list(&self) -> Vec<OpenPort> {
        let open = self.shared.open.lock().await;
        let port = |owner: String, listen: String, target: SocketAddr, problem: &str| OpenPort {
            owner,
            listen,
            target: target.to_string(),
            problem: problem.to_owned(),
        };
        let served = |listen: String, listener: &Listener| {
            port(listener.owner(), listen, listener.target().address(), "")
        };
        let fixed = open.fixed.values().map(|(listen, listener)| served(format!("{listen}/tcp"), listener));
        let wanted = open.wanted.iter().map(|(key, listener)| served(key.on_localhost(), listener));
        let refused = open.refused.iter().map(|(key, refused)| {
            port(refused.owner.clone(), key.on_localhost(), refused.target, &refused.message)
        });
        fixed.chain(wanted).chain(refused).collect()
    }

    /// Ends every listener and every connection, and nothing is listened for any more.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        let mut open = self.shared.open.lock().await;
        open.is_closed = true;
        let Open { wanted, fixed, refused, .. } = &mut *open;
        refused.clear();
        let wanted = std::mem::take(wanted).into_values();
        for listener in wanted.chain(std::mem::take(fixed).into_values().map(|(_, listener)| listener)) {
            listener.close().await;
        }
        self.shared.dialer.enter(None);
    }
}

impl Shared {
    fn served(self: &Arc<Self>, owner: &str, target: Target) -> Arc<Served> {
        let about = Mutex::new((owner.to_owned(), target));
        Arc::new(Served { shared: Arc::clone(self), about, guests: TaskTracker::new() })
    }

    /// Makes what listens what is wanted; `None` if nothing is served any more.
    async fn sync(self: &Arc<Self>, wishes: Vec<&Wish>) -> Option<BTreeMap<Key, Refused>> {
        let mut open = self.open.lock().await;
        if open.is_closed {
            return None;
        }
        let surplus = wanted::surplus(open.wanted.keys(), wishes.iter().map(|wish| &wish.key));
        for key in surplus {
            if let Some(listener) = open.wanted.remove(&key) {
                listener.close().await;
            }
        }
        let mut refused = BTreeMap::new();
        for wish in wishes {
            let target = Target::Inside(wish.target);
            if let Some(listener) = open.wanted.get(&wish.key).filter(|listener| listener.is_running()) {
                listener.change(&wish.owner, target);
                continue;
            }
            if let Some(broken) = open.wanted.remove(&wish.key) {
                broken.close().await;
            }
            match Listener::open(wish.key, &LOOPBACK, self.served(&wish.owner, target)) {
                Ok(listener) => {
                    open.wanted.insert(wish.key, listener);
                }
                Err(error) => {
                    refused.insert(wish.key, Refused::new(wish, &error));
                }
            }
        }
        let refused = open.explain(refused).await;
        open.refused.clone_from(&refused);
        Some(refused)
    }
}

impl Refused {
    fn new(wish: &Wish, error: &std::io::Error) -> Self {
        let reason = if is_taken(error) { api::Reason::PortTaken } else { api::Reason::PortFailed };
        let message = format!("{} cannot be opened: {error}", wish.key);
        Self { owner: wish.owner.clone(), target: wish.target, reason, message, holder: None }
    }
}

impl Open {
    /// Says of ports that are taken who has them.
    async fn explain(&self, mut refused: BTreeMap<Key, Refused>) -> BTreeMap<Key, Refused> {
        let taken: Vec<Key> = refused
            .iter()
            .filter(|(_, refused)| refused.reason == api::Reason::PortTaken)
            .map(|(key, _)| *key)
            .collect();
        if taken.is_empty() {
            return refused;
        }
        let known: Vec<Option<Holder>> = taken
            .iter()
            .map(|key| self.refused.get(key).and_then(|refused| refused.holder.clone()))
            .collect();
        let keys = taken.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let wanted: Vec<(Key, &[IpAddr])> = keys.iter().map(|key| (*key, &LOOPBACK[..])).collect();
            taken::holders(&wanted, &known.iter().map(Option::as_ref).collect::<Vec<_>>())
        });
        // Without an answer it is not known who it is.
        let holders = looked.await.unwrap_or_default();
        for (key, holder) in taken.into_iter().zip(holders.into_iter().chain(std::iter::repeat(None))) {
            let own = self.fixed.values().find(|(listen, _)| listen.port() == key.port);
            let by = match (own, &holder) {
                (Some((_, listener)), _) if key.protocol == Protocol::Tcp => listener.owner(),
                (_, Some(holder)) => holder.name.clone(),
                (_, None) => "another program".into(),
            };
            if let Some(refused) = refused.get_mut(&key) {
                refused.message = format!("{key} is taken by {by}");
                refused.holder = holder;
            }
        }
        refused
    }
}

fn is_taken(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::AddrInUse
}

#[cfg(test)]
mod tests;
