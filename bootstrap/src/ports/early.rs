//! A port in the box that is listened on before its server does.
//!
//! Who connects meanwhile waits in the queue of our socket instead of being refused and coming back seconds later. When the server
//! listens, our socket is closed, and the kernel moves its queue to the server's (`net.ipv4.tcp_migrate_req`, Linux 5.14). An older kernel
//! resets those connections, which is no worse than to refuse them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{SocketType, bind, listen};
use tokio::time::sleep;

use super::{Ports, taken};

/// How long anybody is kept waiting.
const LIMIT: Duration = Duration::from_secs(5);
/// How often it is looked for.
const POLL: Duration = Duration::from_millis(10);
/// How many connections wait at most.
const BACKLOG: i32 = 128;

impl Ports {
    /// Listens on a port of the box until its server does, which must share it (`SO_REUSEPORT`), and for no longer than [`LIMIT`].
    ///
    /// # Errors
    /// There is no box, or somebody has the port who does not share it.
    pub(crate) async fn listen_early(&self, at: SocketAddr) -> io::Result<()> {
        let home = self.shared.dialer.home().ok_or_else(|| io::Error::other("the box is not there"))?;
        let sockets = format!("/proc/{}/net/tcp", home.holder.pid);
        if taken::listeners(&sockets, at) > 0 {
            return Ok(());
        }
        let (socket, life) = self.shared.dialer.socket(at, SocketType::STREAM).await?;
        set_socket_reuseport(&socket, true)?;
        bind(&socket, &at)?;
        listen(&socket, BACKLOG)?;
        // A box that is left ends with its last socket.
        tokio::select! {
            () = life.cancelled() => {}
            () = another(&sockets, at) => {}
            () = sleep(LIMIT) => tracing::warn!(%at, "nobody else listens after {LIMIT:?}; who waits is sent away"),
        }
        Ok(())
    }
}

/// Waits until two sockets listen at an address, by the kernel's list.
async fn another(sockets: &str, at: SocketAddr) {
    while taken::listeners(sockets, at) < 2 {
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::timeout;

    use super::*;

    fn shared(at: SocketAddr) -> TcpListener {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind(at).unwrap();
        socket.listen(8).unwrap()
    }

    #[tokio::test]
    async fn who_listens_is_seen() {
        let sockets = "/proc/self/net/tcp";
        let first = shared("127.0.0.1:0".parse().unwrap());
        let at = first.local_addr().unwrap();
        assert_eq!(taken::listeners(sockets, at), 1);
        assert_eq!(taken::listeners(sockets, SocketAddr::from(([127, 0, 0, 2], at.port()))), 0);
        timeout(POLL * 3, another(sockets, at)).await.unwrap_err();
        let second = shared(at);
        another(sockets, at).await;
        drop((first, second));
        assert_eq!(taken::listeners(sockets, at), 0);
    }
}
