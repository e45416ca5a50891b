//! The socket on which ports are wanted.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use proto::ports as api;
use proto::ports::ports_server::PortsServer;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::{Shared, wanted};
use crate::error::{IoContext, Result};
use crate::files;

/// The name of the socket in its directory.
pub(super) const SOCKET: &str = "ports.sock";
/// The largest request: as many ports as can be wanted, with texts that are as long as can be.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// How many calls a client may have under way; they take turns anyway.
const MAX_CALLS: usize = 4;

/// Binds the socket under another name first, so that it is never there without somebody who listens. Only root can reach it.
pub(super) fn bind(directory: &Path) -> Result<UnixListener> {
    files::ensure_directory(directory, 0o700)?;
    let path = directory.join(SOCKET);
    let temporary = directory.join(".new");
    files::remove(&temporary)?;
    let listener = UnixListener::bind(&temporary).at("listen on", &temporary)?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))
        .at("set the mode of", &temporary)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a socket in the run directory need not survive a power failure"
    )]
    std::fs::rename(&temporary, &path).at("rename", &temporary)?;
    Ok(listener)
}

pub(super) async fn serve(listener: UnixListener, shared: Arc<Shared>, stop: CancellationToken) {
    let service = PortsServer::new(Service { shared }).max_decoding_message_size(MAX_REQUEST_BYTES);
    let router = Server::builder().concurrency_limit_per_connection(MAX_CALLS).add_service(service);
    let served =
        router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the socket for ports");
    }
}

/// Serves nothing but the wanted set.
#[derive(Debug)]
struct Service {
    shared: Arc<Shared>,
}

#[tonic::async_trait]
impl api::ports_server::Ports for Service {
    async fn sync(
        &self,
        request: Request<api::SyncRequest>,
    ) -> std::result::Result<Response<api::SyncResponse>, Status> {
        let request = request.into_inner();
        let read = wanted::read(&request).map_err(Status::invalid_argument)?;
        let wishes = read.iter().filter_map(|wish| wish.as_ref().ok()).collect();
        let refused = self.shared.sync(wishes).await;
        let refused = refused.ok_or_else(|| Status::unavailable("the instance is being taken down"))?;
        let problems = request.ports.iter().zip(read).filter_map(|(port, wish)| match wish {
            Err(problem) => Some(problem),
            Ok(wish) => {
                let refused = refused.get(&wish.key)?;
                Some(wanted::problem(port, refused.reason, &refused.message))
            }
        });
        Ok(Response::new(api::SyncResponse { problems: problems.collect() }))
    }
}
