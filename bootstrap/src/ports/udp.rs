//! Datagrams: each client has a socket of its own in the box, so that answers find their way back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Served;

/// The largest datagram.
const MAX_DATAGRAM_BYTES: usize = 65_535;
/// How many clients there may be at once, of all ports together; for a further one, the one that was silent longest goes.
const MAX_FLOWS: usize = 2048;
/// How long a client and its target may be silent.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait after the kernel refused a datagram.
const RETRY: Duration = Duration::from_millis(100);

thread_local! {
    /// For the time between two waits: a buffer for each client would cost more than everything else.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; MAX_DATAGRAM_BYTES].into());
}

/// The clients of all ports.
#[derive(Debug)]
pub(super) struct Flows {
    began: Instant,
    idle_limit: Duration,
    max: usize,
    pub(super) all: Mutex<Vec<Arc<Flow>>>,
}

/// What one client sends and is answered.
#[derive(Debug)]
pub(super) struct Flow {
    socket: UdpSocket,
    /// When something was last said, in milliseconds since the beginning.
    last: AtomicU64,
    end: CancellationToken,
}

impl Default for Flows {
    fn default() -> Self {
        Self::new(MAX_FLOWS, IDLE_LIMIT)
    }
}

impl Flows {
    pub(super) fn new(max: usize, idle_limit: Duration) -> Self {
        Self { began: Instant::now(), idle_limit, max, all: Mutex::default() }
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn touch(&self, flow: &Flow) {
        flow.last.store(self.now(), Ordering::Relaxed);
    }

    /// Takes a client in; if there are too many, the one that was silent longest is shown out.
    fn add(&self, socket: UdpSocket, end: CancellationToken) -> Arc<Flow> {
        let flow = Arc::new(Flow { socket, last: self.now().into(), end });
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= self.max {
            let oldest = all.iter().enumerate().min_by_key(|(_, flow)| flow.last.load(Ordering::Relaxed));
            if let Some(number) = oldest.map(|(number, _)| number) {
                all.swap_remove(number).end.cancel();
            }
        }
        all.push(Arc::clone(&flow));
        flow
    }

    fn remove(&self, flow: &Arc<Flow>) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, flow));
    }
}

/// Shows its client out, however it ends.
struct Guest<'a> {
    flows: &'a Flows,
    flow: &'a Arc<Flow>,
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.flows.remove(self.flow);
    }
}

/// Passes datagrams on until it is dropped.
pub(super) async fn serve(socket: UdpSocket, served: Arc<Served>) {
    let socket = Arc::new(socket);
    let mut clients: HashMap<SocketAddr, Arc<Flow>> = HashMap::new();
    let mut answering = JoinSet::new();
    loop {
        let ready = tokio::select! {
            ready = socket.readable() => ready,
            Some(ended) = answering.join_next() => {
                if let Ok((client, flow)) = ended
                    && clients.get(&client).is_some_and(|known| Arc::ptr_eq(known, &flow))
                {
                    clients.remove(&client);
                }
                continue;
            }
        };
        let received = ready.and_then(|()| receive(&socket, &clients, &served.shared.flows));
        match received {
            Ok(None) => {}
            Ok(Some((client, datagram))) => {
                let target = served.target();
                match served.shared.dialer.datagrams(target).await {
                    Ok((inside, life)) => {
                        let flow = served.shared.flows.add(inside, life.child_token());
                        // Of a new socket it is not known yet that it can send.
                        if let Err(error) = flow.socket.send(&datagram).await {
                            tracing::trace!(%error, "a datagram was lost");
                        }
                        clients.insert(client, Arc::clone(&flow));
                        let answers = answer(Arc::clone(&socket), client, flow, Arc::clone(&served));
                        answering.spawn(served.guests.track_future(answers));
                    }
                    Err(error) => tracing::debug!(%error, ?target, "a datagram could not be passed on"),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!(%error, owner = served.owner(), "datagrams could not be received");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Receives a datagram, and passes it on if its client is known; otherwise returns it.
fn receive(
    socket: &UdpSocket,
    clients: &HashMap<SocketAddr, Arc<Flow>>,
    flows: &Flows,
) -> io::Result<Option<(SocketAddr, Vec<u8>)>> {
    BUFFER.with_borrow_mut(|buffer| {
        let (length, client) = socket.try_recv_from(buffer)?;
        match clients.get(&client).filter(|flow| !flow.end.is_cancelled()) {
            Some(flow) => {
                flows.touch(flow);
                pass(flow, &buffer[..length]);
                Ok(None)
            }
            None => Ok(Some((client, buffer[..length].to_vec()))),
        }
    })
}

/// Sends what a client said. Datagrams may be lost anywhere, here too where nobody listens or the target does not keep up.
fn pass(flow: &Flow, datagram: &[u8]) {
    let sent = match flow.socket.try_send(datagram) {
        // That was said of an earlier one; this one was not sent.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => flow.socket.try_send(datagram),
        sent => sent,
    };
    if let Err(error) = sent {
        tracing::trace!(%error, "a datagram was lost");
    }
}

/// Sends a client what its target answers, from the port that it asked, until both are silent. Returns whom it served.
async fn answer(
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    flow: Arc<Flow>,
    served: Arc<Served>,
) -> (SocketAddr, Arc<Flow>) {
    let flows = &served.shared.flows;
    let guest = Guest { flows, flow: &flow };
    let idle_limit = flows.idle_limit;
    let answers = async {
        let mut wait = idle_limit;
        loop {
            match timeout(wait, flow.socket.readable()).await {
                Ok(Err(_)) => return,
                Ok(Ok(())) => {
                    if send_answer(&socket, client, &flow) {
                        flows.touch(&flow);
                    }
                }
                Err(_) => {}
            }
            let silent = flows.now().saturating_sub(flow.last.load(Ordering::Relaxed));
            wait = idle_limit.saturating_sub(Duration::from_millis(silent));
            if wait.is_zero() {
                return;
            }
        }
    };
    flow.end.run_until_cancelled(answers).await;
    drop(guest);
    (client, flow)
}

/// Sends one answer on; tells whether there was one. That nobody listens in the box is no answer, and what comes next may be.
fn send_answer(socket: &UdpSocket, client: SocketAddr, flow: &Flow) -> bool {
    BUFFER.with_borrow_mut(|buffer| match flow.socket.try_recv(buffer) {
        Ok(length) => {
            if let Err(error) = socket.try_send_to(&buffer[..length], client) {
                tracing::trace!(%error, %client, "an answer was lost");
            }
            true
        }
        Err(_) => false,
    })
}
