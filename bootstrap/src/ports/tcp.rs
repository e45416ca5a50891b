//! Connections: what one side says the other hears, to the last byte, and how it ends too.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::Served;

/// How many connections may wait to be accepted; the kernel has a limit of its own.
const BACKLOG: u32 = 4096;
/// How much is on its way in each direction of a connection, besides what the kernel holds.
const BUFFER_BYTES: usize = 16 << 10;
/// How long to wait after the kernel refused a connection.
const RETRY: Duration = Duration::from_millis(100);

/// Listens; connections of an earlier listener may still be closing.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until it is dropped, and they with it.
pub(super) async fn serve(listener: TcpListener, served: Arc<Served>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((client, _)) => match Arc::clone(&served.shared.connections).try_acquire_owned() {
                Ok(permit) => {
                    let passing = pass(client, Arc::clone(&served), permit);
                    connections.spawn(served.guests.track_future(passing));
                }
                Err(_) => {
                    tracing::warn!(
                        owner = served.owner(),
                        "there are too many connections, and one was refused"
                    );
                    reset(&client);
                }
            },
            Err(error) => {
                tracing::warn!(%error, owner = served.owner(), "a connection could not be accepted");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn pass(mut client: TcpStream, served: Arc<Served>, _permit: OwnedSemaphorePermit) {
    let target = served.target();
    let (mut server, life) = match served.shared.dialer.stream(target).await {
        Ok(dialled) => dialled,
        Err(error) => {
            tracing::debug!(%error, ?target, "a connection could not be passed on");
            return reset(&client);
        }
    };
    client.set_nodelay(true).ok();
    // An end of input is passed on, and the other direction goes on.
    let copied = life
        .run_until_cancelled(copy_bidirectional_with_sizes(
            &mut client,
            &mut server,
            BUFFER_BYTES,
            BUFFER_BYTES,
        ))
        .await;
    if !matches!(copied, Some(Ok(_))) {
        reset(&client);
        reset(&server);
    }
}

/// Has a connection end as one that is refused does, instead of as one that has said everything.
fn reset(stream: &TcpStream) {
    // Where that cannot be said, the connection just ends.
    stream.set_zero_linger().ok();
}
