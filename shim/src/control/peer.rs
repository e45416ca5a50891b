//! Who may use the control socket: root, and the users whom the command line names. As powerful as docker's group.

use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

/// The users who may use the control API, besides root.
#[derive(Clone, Debug)]
pub(crate) struct Allowed(pub(crate) Vec<u32>);

impl Allowed {
    /// Refuses a call from anybody else, by what the kernel says of the peer (SO_PEERCRED).
    pub(crate) fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let credentials = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
        match credentials.map(|credentials| credentials.uid()) {
            Some(uid) if uid == 0 || self.0.contains(&uid) => Ok(request),
            Some(uid) => Err(Status::permission_denied(format!(
                "user {uid} may not use this daemon; run the command as root, or add the user to bootstrap.toml"
            ))),
            None => Err(Status::permission_denied("the caller's user is not known")),
        }
    }
}
