//! What the daemon says of itself.

use std::path::PathBuf;

use proto::control as api;
use proto::control::daemon_server::Daemon;
use tonic::{Request, Response, Status};

use crate::containerd::Containerd;

/// The service.
#[derive(Debug)]
pub(crate) struct DaemonService {
    pub(crate) store_dir: PathBuf,
    pub(crate) containerd: Containerd,
}

#[tonic::async_trait]
impl Daemon for DaemonService {
    async fn info(&self, _: Request<api::InfoRequest>) -> Result<Response<api::InfoResponse>, Status> {
        Ok(Response::new(api::InfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            store_dir: self.store_dir.display().to_string(),
            containerd_version: self.containerd.version().await.unwrap_or_default(),
        }))
    }
}
