//! The sockets that shimd serves, and how a connection on one ends.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Sleep, sleep};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::{Connected, UdsConnectInfo};

/// How long a client may take to read what it was sent before the connection is cut.
const FAREWELL: Duration = Duration::from_secs(1);

/// Binds a socket under a temporary name and renames it, so that it is never there without somebody listening and a
/// stale one is replaced. The store's lock has shown that no other shimd of this instance runs.
///
/// # Errors
/// The directory cannot be written; with the socket's path.
pub(crate) fn bind(directory: &Path, name: &str, mode: u32) -> anyhow::Result<UnixListener> {
    let path: PathBuf = directory.join(name);
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    let context = || format!("cannot listen on {}", path.display());
    drop(std::fs::remove_file(&temporary));
    let listener = UnixListener::bind(&temporary).with_context(context)?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode)).with_context(context)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "sockets in the run directory need not survive a power failure"
    )]
    std::fs::rename(&temporary, &path).with_context(context)?;
    Ok(listener)
}

/// Returns the connections that a socket accepts.
pub(crate) fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<Connection>> {
    UnixListenerStream::new(listener)
        .map(|accepted| accepted.map(|stream| Connection { stream, deadline: None }))
}

/// A connection that is not closed under a client that still reads: a socket whose peer is gone refuses the client's next
/// word (of HTTP/2's flow control, say), and with that the client loses everything that it had not read yet.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    /// Until when the client may take leave, once everything was sent.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buffer: &mut ReadBuf) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        pin!(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context,
        slices: &[io::IoSlice],
    ) -> Poll<io::Result<usize>> {
        pin!(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_flush(cx)
    }

    /// Says that no more will come, and listens until the client has closed its side too, or the time is up.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        let Self { stream, deadline } = &mut *self;
        if deadline.is_none() {
            ready!(pin!(&mut *stream).poll_shutdown(cx))?;
        }
        let deadline = deadline.get_or_insert_with(|| Box::pin(sleep(FAREWELL)));
        loop {
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut discarded = [0; 512];
            let mut buffer = ReadBuf::new(&mut discarded);
            match ready!(pin!(&mut *stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                // Whoever has closed has read what it wanted.
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_client_can_write_until_it_has_read_all() {
        let (server, mut client) = UnixStream::pair().unwrap();
        let mut server = Connection { stream: server, deadline: None };
        server.write_all(b"the end").await.unwrap();
        let reads = async {
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.unwrap();
            client.write_all(b"thanks").await.unwrap();
            drop(client);
            read
        };
        let (farewell, read) = tokio::join!(server.shutdown(), reads);
        farewell.unwrap();
        assert_eq!(read, b"the end");
    }

    #[tokio::test]
    async fn a_client_that_stays_is_left() {
        let (server, _client) = UnixStream::pair().unwrap();
        let started = tokio::time::Instant::now();
        Connection { stream: server, deadline: None }.shutdown().await.unwrap();
        assert!(started.elapsed() >= FAREWELL);
    }
}
