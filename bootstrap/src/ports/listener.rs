//! One port: its sockets and who serves them.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};

use rustix::io::Errno;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::{AbortHandle, JoinSet};

use super::wanted::{Key, Protocol};
use super::{Served, Target, tcp, udp};

/// A port that is open, until it is closed or dropped.
#[derive(Debug)]
pub(super) struct Listener {
    served: Arc<Served>,
    tasks: JoinSet<()>,
    handles: Vec<AbortHandle>,
}

/// A socket that is bound and not served yet.
enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Listener {
    /// Opens a port at all of these addresses, or at none. Addresses of IPv6 count only where there is IPv6.
    pub(super) fn open(key: Key, addresses: &[IpAddr], served: Arc<Served>) -> io::Result<Self> {
        let mut bound = Vec::new();
        for address in addresses {
            match bind(key.protocol, SocketAddr::new(*address, key.port)) {
                Ok(socket) => bound.push(socket),
                Err(error) if address.is_ipv6() && lacks_ipv6(&error) && !bound.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        let mut tasks = JoinSet::new();
        let handles = bound
            .into_iter()
            .map(|socket| match socket {
                Bound::Tcp(listener) => tasks.spawn(tcp::serve(listener, Arc::clone(&served))),
                Bound::Udp(socket) => tasks.spawn(udp::serve(socket, Arc::clone(&served))),
            })
            .collect();
        Ok(Self { served, tasks, handles })
    }

    pub(super) fn is_running(&self) -> bool {
        !self.handles.iter().any(AbortHandle::is_finished)
    }

    pub(super) fn owner(&self) -> String {
        self.served.owner()
    }

    pub(super) fn target(&self) -> Target {
        self.served.target()
    }

    /// Says for whom it is, and where later connections go.
    pub(super) fn change(&self, owner: &str, target: Target) {
        let mut about = self.served.about.lock().unwrap_or_else(PoisonError::into_inner);
        if about.1 != target || about.0 != owner {
            *about = (owner.to_owned(), target);
        }
    }

    /// Closes it; the port is free when this returns, and all connections are over.
    pub(super) async fn close(mut self) {
        self.tasks.shutdown().await;
        self.served.guests.close();
        self.served.guests.wait().await;
    }
}

fn bind(protocol: Protocol, address: SocketAddr) -> io::Result<Bound> {
    match protocol {
        Protocol::Tcp => tcp::listen(address).map(Bound::Tcp),
        Protocol::Udp => {
            let socket = std::net::UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket).map(Bound::Udp)
        }
    }
}

/// Tells whether the machine has no such address: no IPv6 at all, or not on loopback.
fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}
