//! Connections to what a port stands for: made in the box's network by a thread that goes in, or in the machine's.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl, set_tcp_nodelay,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::process::Identity;
use crate::state::Namespaces;

/// How long a connection to a target may take to come about.
const DIAL_LIMIT: Duration = Duration::from_secs(10);
/// A target that is silent for so long is asked whether it still is there, so often, at such intervals: a box can go without a word.
const KEEPALIVE: (Duration, u32, Duration) = (Duration::from_secs(60), 4, Duration::from_secs(15));
/// The network namespace of a thread.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// Where connections are passed on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// An address as the box sees it.
    Inside(SocketAddr),
    /// An address as the machine sees it.
    Outside(SocketAddr),
}

impl Target {
    pub(crate) const fn address(self) -> SocketAddr {
        match self {
            Self::Inside(address) | Self::Outside(address) => address,
        }
    }
}

/// Which box there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) holder: Identity,
    pub(crate) namespaces: Namespaces,
}

/// The box that is dialled into, and what ends when it is another one.
#[derive(Debug, Default)]
struct Current {
    home: Option<Home>,
    life: CancellationToken,
}

/// Dials.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    current: Mutex<Current>,
    maker: Mutex<Option<mpsc::Sender<Request>>>,
}

/// A socket that is wanted in the box.
struct Request {
    holder: Identity,
    family: AddressFamily,
    kind: SocketType,
    answer: oneshot::Sender<io::Result<OwnedFd>>,
}

impl Dialer {
    /// Says which box is to be dialled into. Connections into one that was there before end.
    pub(crate) fn enter(&self, home: Option<Home>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let namespaces = |home: Option<Home>| home.map(|home| home.namespaces);
        if namespaces(current.home) != namespaces(home) {
            std::mem::take(&mut current.life).cancel();
        }
        current.home = home;
    }

    pub(crate) fn home(&self) -> Option<Home> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).home
    }

    #[cfg(test)]
    pub(super) fn life(&self) -> CancellationToken {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).life.clone()
    }

    /// Connects to a target; the connection has to end with the token.
    pub(crate) async fn stream(&self, target: Target) -> io::Result<(TcpStream, CancellationToken)> {
        let (socket, life) = match target {
            Target::Inside(address) => {
                let (socket, life) = self.socket(address, SocketType::STREAM).await?;
                (TcpSocket::from_std_stream(socket.into()), life)
            }
            Target::Outside(SocketAddr::V4(_)) => (TcpSocket::new_v4()?, CancellationToken::new()),
            Target::Outside(SocketAddr::V6(_)) => (TcpSocket::new_v6()?, CancellationToken::new()),
        };
        let (idle, count, interval) = KEEPALIVE;
        set_tcp_nodelay(&socket, true)?;
        set_socket_keepalive(&socket, true)?;
        set_tcp_keepidle(&socket, idle)?;
        set_tcp_keepcnt(&socket, count)?;
        set_tcp_keepintvl(&socket, interval)?;
        let stream = timeout(DIAL_LIMIT, socket.connect(target.address())).await??;
        Ok((stream, life))
    }

    /// Makes a socket that sends datagrams to a target and hears what it answers; it has to end with the token.
    pub(crate) async fn datagrams(&self, target: Target) -> io::Result<(UdpSocket, CancellationToken)> {
        let (socket, life) = match target {
            Target::Inside(address) => {
                let (socket, life) = self.socket(address, SocketType::DGRAM).await?;
                (UdpSocket::from_std(socket.into())?, life)
            }
            Target::Outside(address) => {
                let socket = socket_with(
                    family(address),
                    SocketType::DGRAM,
                    SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
                    None,
                )?;
                (UdpSocket::from_std(socket.into())?, CancellationToken::new())
            }
        };
        socket.connect(target.address()).await?;
        Ok((socket, life))
    }

    /// Has a socket made in the box. Which network a socket is of is decided when it is made.
    pub(super) async fn socket(
        &self,
        address: SocketAddr,
        kind: SocketType,
    ) -> io::Result<(OwnedFd, CancellationToken)> {
        let (holder, life) = {
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            let home = current.home.ok_or_else(|| io::Error::other("the box is not there"))?;
            (home.holder, current.life.clone())
        };
        let (answer, answered) = oneshot::channel();
        self.request(Request { holder, family: family(address), kind, answer })?;
        let socket = answered.await.map_err(|_| io::Error::other("the thread in the box ended"))??;
        Ok((socket, life))
    }

    /// Hands a request to the thread, which is started when it is needed and not there.
    fn request(&self, request: Request) -> io::Result<()> {
        let mut maker = self.maker.lock().unwrap_or_else(PoisonError::into_inner);
        let request = match &*maker {
            None => request,
            Some(sender) => match sender.send(request) {
                Ok(()) => return Ok(()),
                Err(mpsc::SendError(request)) => request,
            },
        };
        let (sender, requests) = mpsc::channel();
        std::thread::Builder::new().name("ports".into()).spawn(move || make(&requests))?;
        sender.send(request).map_err(|_| io::Error::other("the thread for the box does not start"))?;
        *maker = Some(sender);
        Ok(())
    }
}

const fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// Makes sockets until nobody can ask any more.
///
/// It is in the box only while it makes one: a network namespace stays for as long as a thread is in it.
fn make(requests: &mpsc::Receiver<Request>) {
    let outside = openat(CWD, OWN_NAMESPACE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    while let Ok(Request { holder, family, kind, answer }) = requests.recv() {
        let made = match &outside {
            Ok(_) => go_in(holder).and_then(|()| {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                Ok(socket_with(family, kind, flags, None)?)
            }),
            Err(error) => Err(io::Error::from(*error)),
        };
        let is_out = outside.as_ref().is_ok_and(|own| {
            move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network)).is_ok()
        });
        // Who asked may have gone.
        answer.send(made).ok();
        if !is_out {
            // Another thread takes its place.
            tracing::error!("the thread for the box cannot come back");
            return;
        }
    }
}

fn go_in(holder: Identity) -> io::Result<()> {
    let process = holder.open().map_err(io::Error::other)?;
    let process = process.ok_or_else(|| io::Error::other("the box is not there"))?;
    Ok(move_into_thread_name_spaces(process.as_fd(), ThreadNameSpaceType::NETWORK)?)
}
