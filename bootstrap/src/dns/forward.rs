//! The resolver: what is asked on the machine's end of the link is asked on, by the same transport.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use super::message::{Query, is_failure};
use super::names::Names;
use super::resolv_conf;
use crate::error::{IoContext, Result};
use crate::files;

/// How many questions may be under way; further ones are not heard, and asked again by whoever asked.
const MAX_QUESTIONS: usize = 256;
/// How many connections may be open.
const MAX_CONNECTIONS: usize = 64;
/// How many questions one connection may ask.
const MAX_QUESTIONS_PER_CONNECTION: usize = 256;
/// The largest message: a length of two bytes, or all of a datagram.
const MAX_MESSAGE_BYTES: usize = 65_535;
/// How often a question is asked at least, should one server be the only one.
const MIN_ATTEMPTS: usize = 2;
/// How long all attempts may take together: less than the five seconds that those who ask wait for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// How long a connection may be silent.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait after the kernel refused a datagram or a connection.
const RETRY: Duration = Duration::from_millis(100);

/// A resolver that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Resolver {
    port: u16,
    handles: [AbortHandle; 2],
    /// Whoever drops it aborts its tasks.
    _tasks: JoinSet<()>,
}

impl Resolver {
    /// Starts it on this address, on `port` if that is free, for questions from the same network of 256 addresses. It answers for
    /// some names itself; for others it asks the servers that the `resolv.conf` at `source` names at that moment.
    pub(crate) async fn start(
        address: Ipv4Addr,
        port: Option<u16>,
        source: PathBuf,
        names: Names,
    ) -> Result<Self> {
        let (udp, tcp) = match bind(address, port.unwrap_or(0)).await {
            Err(_) if port.is_some() => bind(address, 0).await,
            bound => bound,
        }
        .at("listen on", address.to_string())?;
        let port = udp.local_addr().at("examine", address.to_string())?.port();
        let servers = Arc::new(Servers { source, own: address, names, known: Mutex::default() });
        let mut tasks = JoinSet::new();
        let handles = [
            tasks.spawn(serve_udp(Arc::new(udp), Arc::clone(&servers))),
            tasks.spawn(serve_tcp(tcp, servers)),
        ];
        Ok(Self { port, handles, _tasks: tasks })
    }

    /// Tells whether it still answers.
    pub(crate) fn is_running(&self) -> bool {
        !self.handles.iter().any(AbortHandle::is_finished)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

/// Binds the same port for both transports.
async fn bind(address: Ipv4Addr, port: u16) -> std::io::Result<(UdpSocket, TcpListener)> {
    let udp = UdpSocket::bind(SocketAddrV4::new(address, port)).await?;
    let tcp = TcpListener::bind(udp.local_addr()?).await?;
    Ok((udp, tcp))
}

/// The machine's servers, read again when the file is another one.
#[derive(Debug)]
struct Servers {
    source: PathBuf,
    own: Ipv4Addr,
    names: Names,
    known: Mutex<(Option<FileStamp>, Vec<SocketAddr>)>,
}

/// Inode, size and time of change.
type FileStamp = (u64, u64, i64, i64);

impl Servers {
    fn get(&self) -> Vec<SocketAddr> {
        let metadata = std::fs::metadata(&self.source).ok();
        let stamp = metadata.map(|m| (m.ino(), m.len(), m.ctime(), m.ctime_nsec()));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != stamp {
            let text = files::read(&self.source).unwrap_or_default();
            *known = (stamp, resolv_conf::servers(&text, self.own));
            tracing::info!(servers = ?known.1, "questions go to");
        }
        known.1.clone()
    }

    /// Answers a question, with the help of others if need be.
    async fn answer(&self, query: Query<'_>, transport: Transport) -> Vec<u8> {
        match self.names.answer(query) {
            Some(answer) => answer,
            None => ask(query, &self.get(), transport).await,
        }
    }

    fn is_served(&self, peer: SocketAddr) -> bool {
        matches!(peer, SocketAddr::V4(peer) if peer.ip().octets()[..3] == self.own.octets()[..3])
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, servers: Arc<Servers>) {
    let permits = Arc::new(Semaphore::new(MAX_QUESTIONS));
    let mut questions = JoinSet::new();
    let mut buffer = vec![0; MAX_MESSAGE_BYTES];
    loop {
        while questions.try_join_next().is_some() {}
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
        if servers.is_served(peer) && Query::parse(&buffer[..length]).is_some() {
            let (socket, servers) = (Arc::clone(&socket), Arc::clone(&servers));
            let message = buffer[..length].to_vec();
            questions.spawn(answer_udp(socket, peer, message, servers, permit));
        }
    }
}

async fn answer_udp(
    socket: Arc<UdpSocket>,
    peer: SocketAddr,
    message: Vec<u8>,
    servers: Arc<Servers>,
    _permit: OwnedSemaphorePermit,
) {
    let Some(query) = Query::parse(&message) else { return };
    let answer = servers.answer(query, Transport::Udp).await;
    if let Err(error) = socket.send_to(&answer, peer).await {
        tracing::debug!(%error, %peer, "an answer could not be sent");
    }
}

async fn serve_tcp(listener: TcpListener, servers: Arc<Servers>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // Further connections wait in the kernel's queue, which is bounded too.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) if servers.is_served(peer) => {
                connections.spawn(serve_connection(stream, Arc::clone(&servers), permit));
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

async fn serve_connection(mut stream: TcpStream, servers: Arc<Servers>, _permit: OwnedSemaphorePermit) {
    for _ in 0..MAX_QUESTIONS_PER_CONNECTION {
        let Ok(Ok(message)) = timeout(IDLE_LIMIT, receive(&mut stream)).await else { return };
        let Some(query) = Query::parse(&message) else { return };
        let answer = servers.answer(query, Transport::Tcp).await;
        if !matches!(timeout(IDLE_LIMIT, send(&mut stream, &answer)).await, Ok(Ok(()))) {
            return;
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Udp,
    Tcp,
}

/// Asks one server after the other. Without any answer, or without servers, says so at once.
async fn ask(query: Query<'_>, servers: &[SocketAddr], transport: Transport) -> Vec<u8> {
    let started = Instant::now();
    let mut failure = None;
    let attempts = if servers.is_empty() { 0 } else { MIN_ATTEMPTS.max(servers.len()) };
    for (number, server) in servers.iter().cycle().take(attempts).enumerate() {
        let asked = async {
            match transport {
                Transport::Udp => ask_udp(query, *server).await,
                Transport::Tcp => ask_tcp(query, *server).await,
            }
        };
        match timeout_at(started + share(number + 1, attempts), asked).await {
            Ok(Ok(answer)) if !is_failure(&answer) => return answer,
            Ok(Ok(answer)) => failure = Some(answer),
            Ok(Err(error)) => tracing::debug!(%server, %error, "a server did not answer"),
            Err(_) => tracing::debug!(%server, "a server did not answer in time"),
        }
    }
    failure.unwrap_or_else(|| query.failure())
}

/// Returns when an attempt has to have an answer: what earlier ones did not use is its own.
fn share(number: usize, attempts: usize) -> Duration {
    let part = |count: usize| u32::try_from(count).unwrap_or(1).max(1);
    ANSWER_LIMIT * part(number) / part(attempts)
}

async fn ask_udp(query: Query<'_>, server: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        "[::]:0".parse().map_err(std::io::Error::other)?
    };
    // A port of its own for each question: nobody else can guess it.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query.bytes()).await?;
    let mut answer = vec![0; MAX_MESSAGE_BYTES];
    loop {
        let length = socket.recv(&mut answer).await?;
        if query.is_answered_by(&answer[..length]) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn ask_tcp(query: Query<'_>, server: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    send(&mut stream, query.bytes()).await?;
    let answer = receive(&mut stream).await?;
    if query.is_answered_by(&answer) { Ok(answer) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

async fn send(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
    let framed = [&length.to_be_bytes(), message].concat();
    stream.write_all(&framed).await
}

async fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests;
