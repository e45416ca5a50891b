//! Connections to the two daemons of an instance.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use proto::control::builder_client::BuilderClient;
use proto::control::daemon_client::DaemonClient;
use proto::control::images_client::ImagesClient;
use proto::control::storage_client::StorageClient;
use proto::lifecycle::lifecycle_client::LifecycleClient;
use tonic::transport::{Channel, Endpoint};

use crate::exit::{Failure, innermost};
use crate::layout::Layout;

/// The largest message that is taken: a list of all images stays far below it.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// How long a daemon may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a stream may be on its way: `save` moves gigabytes through here.
const WINDOW_BYTES: u32 = 4 << 20;

/// A connection to shimd.
#[derive(Debug, Clone)]
pub(crate) struct Control(Channel);

impl Control {
    pub(crate) fn daemon(&self) -> DaemonClient<Channel> {
        DaemonClient::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn builder(&self) -> BuilderClient<Channel> {
        BuilderClient::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn storage(&self) -> StorageClient<Channel> {
        StorageClient::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Nobody listens.
    Absent,
    /// The socket is not for this user.
    Denied,
    /// Anything else, in words.
    Other(String),
}

/// Connects to shimd.
pub(crate) async fn control(layout: &Layout) -> Result<Control, Failure> {
    let socket = layout.control_socket();
    match connect(&socket).await {
        Ok(channel) => Ok(Control(channel)),
        Err(cause) => Err(unreachable("shimd", &socket, &cause, layout)),
    }
}

/// Connects to the lifecycle service.
pub(crate) async fn lifecycle(layout: &Layout) -> Result<LifecycleClient<Channel>, Cause> {
    let channel = connect(&layout.lifecycle_socket()).await?;
    Ok(LifecycleClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
}

/// Says that the lifecycle service cannot be reached, and what to do.
pub(crate) fn no_lifecycle(cause: &Cause, layout: &Layout) -> Failure {
    unreachable("the lifecycle service", &layout.lifecycle_socket(), cause, layout)
}

fn unreachable(who: &str, socket: &str, cause: &Cause, layout: &Layout) -> Failure {
    Failure::Unreachable(match cause {
        Cause::Absent => {
            format!("{who} does not run; start it with: {}", layout.root_command("up"))
        }
        Cause::Denied => {
            format!(
                "no permission to use {socket}; run shimctl as root, or as a user whom bootstrap.toml names"
            )
        }
        Cause::Other(reason) => format!("cannot connect to {who} on {socket}: {reason}"),
    })
}

async fn connect(socket: &str) -> Result<Channel, Cause> {
    let endpoint = Endpoint::from_shared(format!("unix://{socket}")).map_err(|error| cause(&error))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    match tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect()).await {
        Ok(connected) => connected.map_err(|error| cause(&error)),
        Err(_) => Err(Cause::Other(format!("no answer within {CONNECT_TIMEOUT:?}"))),
    }
}

fn cause(error: &(dyn std::error::Error + 'static)) -> Cause {
    let innermost = innermost(error);
    match innermost.downcast_ref::<Error>().map(Error::kind) {
        Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Cause::Absent,
        Some(ErrorKind::PermissionDenied) => Cause::Denied,
        _ => Cause::Other(innermost.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn causes() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        assert_eq!(lifecycle(&layout).await.unwrap_err(), Cause::Absent);
        // A socket whose owner died.
        std::fs::create_dir(dir.path().join("run")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(layout.lifecycle_socket()).unwrap());
        assert_eq!(lifecycle(&layout).await.unwrap_err(), Cause::Absent);
        std::fs::remove_file(layout.lifecycle_socket()).unwrap();
        std::fs::File::create(layout.lifecycle_socket()).unwrap();
        assert_eq!(lifecycle(&layout).await.unwrap_err(), Cause::Absent);
    }

    #[test]
    fn words() {
        let layout = Layout::new(Path::new("/srv/two")).unwrap();
        let said =
            |cause| unreachable("shimd", "/srv/two/run/control.sock", &cause, &layout).message().unwrap();
        let absent = said(Cause::Absent);
        assert!(absent.starts_with("shimd does not run; start it with: "), "{absent}");
        assert!(absent.ends_with("shimctl --root /srv/two up"), "{absent}");
        assert!(
            said(Cause::Denied)
                .starts_with("no permission to use /srv/two/run/control.sock; run shimctl as root")
        );
        assert_eq!(
            said(Cause::Other("odd".into())),
            "cannot connect to shimd on /srv/two/run/control.sock: odd"
        );
    }
}
