//! The port service of the lifecycle service, as its client sees it.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use proto::ports::ports_client::PortsClient;
use proto::ports::{Port, Problem, SyncRequest};
use tonic::transport::{Channel, Endpoint};
use tracing::{info, warn};

/// How long one call may take.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// For how long calls may fail until that is said to be a problem: the service is replaced when it is updated.
const TOLERANCE: Duration = Duration::from_secs(10);
/// The largest answer: a problem with each of the most ports there can be, of the greatest length.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// How the service was reached last. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Contact {
    last: Arc<Mutex<Last>>,
}

#[derive(Debug, Default)]
struct Last {
    answered: Option<Instant>,
    /// Why it has not answered since; empty if it has.
    problem: String,
}

impl Contact {
    /// Tells whether ports are offered, or why they are not.
    pub(super) fn check(&self) -> Result<(), String> {
        let last = self.lock();
        match last.answered {
            Some(at) if last.problem.is_empty() || at.elapsed() < TOLERANCE => Ok(()),
            _ => Err(format!("the port service does not answer: {}", last.problem)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        // Nothing panics while it holds the lock.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn succeeded(&self) {
        let mut last = self.lock();
        if last.answered.is_none() || !last.problem.is_empty() {
            info!("the port service answers");
        }
        *last = Last { answered: Some(Instant::now()), problem: String::new() };
    }

    fn failed(&self, problem: String) {
        let mut last = self.lock();
        if last.problem != problem {
            warn!(problem, "the port service does not answer");
        }
        last.problem = problem;
    }
}

/// The client. It connects when it is used, and again whenever the connection was lost.
#[derive(Debug)]
pub(super) struct Service {
    client: PortsClient<Channel>,
    contact: Contact,
}

impl Service {
    /// Prepares for calls.
    ///
    /// # Errors
    /// The path cannot be written as a URL.
    pub(super) fn new(socket: &Path) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .with_context(|| format!("{} cannot be a socket", socket.display()))?;
        let channel = endpoint.connect_timeout(TIME_LIMIT).timeout(TIME_LIMIT).connect_lazy();
        let client = PortsClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        Ok(Self { client, contact: Contact::default() })
    }

    pub(super) fn contact(&self) -> Contact {
        self.contact.clone()
    }

    /// Says which ports are wanted, and returns what is wrong with some of them. `None` if the service did not answer, which is logged
    /// when it begins and when it ends.
    pub(super) async fn sync(&mut self, ports: Vec<Port>) -> Option<Vec<Problem>> {
        match self.client.sync(SyncRequest { ports }).await {
            Ok(answer) => {
                self.contact.succeeded();
                Some(answer.into_inner().problems)
            }
            Err(status) => {
                self.contact.failed(status.message().to_owned());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileTypeExt as _;

    use proto::ports::ports_server::{Ports, PortsServer};
    use proto::ports::{Protocol, Reason, SyncResponse};
    use tokio::runtime::{Builder, Runtime};
    use tokio_stream::wrappers::UnixListenerStream;
    use tonic::{Request, Response, Status};

    use super::*;

    /// Refuses port 80, and is broken by port 1.
    struct Fake;

    #[tonic::async_trait]
    impl Ports for Fake {
        async fn sync(&self, request: Request<SyncRequest>) -> Result<Response<SyncResponse>, Status> {
            let ports = request.into_inner().ports;
            if ports.iter().any(|port| port.port == 1) {
                return Err(Status::invalid_argument("port 1 again"));
            }
            let refused = ports.into_iter().filter(|port| port.port == 80);
            let problems = refused.map(|port| Problem {
                owner: port.owner,
                protocol: port.protocol,
                port: port.port,
                reason: Reason::PortTaken.into(),
                message: "x".repeat(2000),
            });
            Ok(Response::new(SyncResponse { problems: problems.collect() }))
        }
    }

    fn port(number: u32) -> Port {
        Port {
            owner: "shop/web".into(),
            protocol: Protocol::Tcp.into(),
            port: number,
            target_address: "10.96.0.7".into(),
            target_port: number,
        }
    }

    /// Serves until the runtime that it returns is shut down, which ends connections too.
    fn serve(socket: &Path) -> Runtime {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let entered = runtime.enter();
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        drop(entered);
        runtime.handle().spawn(async move {
            let server = tonic::transport::Server::builder().add_service(PortsServer::new(Fake));
            server.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        });
        runtime
    }

    #[test]
    fn the_service_may_come_go_and_come_again() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("ports.sock");
        let client = Builder::new_current_thread().enable_all().build().unwrap();
        let mut service = client.block_on(async { Service::new(&socket) }).unwrap();
        let contact = service.contact();
        let mut sync = |ports| client.block_on(service.sync(ports));
        assert!(contact.check().is_err());
        assert_eq!(sync(vec![port(80)]), None);
        assert!(contact.check().unwrap_err().starts_with("the port service does not answer: "));

        let server = serve(&socket);
        assert_eq!(sync(vec![port(443)]), Some(vec![]));
        assert_eq!(contact.check(), Ok(()));
        // As many and as long as they can be.
        let problems = sync(vec![port(80); 4096]).unwrap();
        assert_eq!((problems.len(), problems[0].reason()), (4096, Reason::PortTaken));
        // One failure alone does no harm.
        assert_eq!(sync(vec![port(1)]), None);
        assert_eq!(contact.check(), Ok(()));

        server.shutdown_timeout(TIME_LIMIT);
        assert!(socket.metadata().unwrap().file_type().is_socket());
        assert_eq!(sync(vec![port(443)]), None);
        std::fs::remove_file(&socket).unwrap();
        let server = serve(&socket);
        assert_eq!(sync(vec![port(443)]), Some(vec![]));
        assert_eq!(contact.check(), Ok(()));
        server.shutdown_timeout(TIME_LIMIT);
    }
}
