//! The answer to the kubelet's probes: an HTTP response costs far less than a process in the container.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::warn;

/// Probes at once; the kubelet needs one. Any pod can connect.
const MAX_CONNECTIONS: usize = 16;
/// How long one probe may take.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// The longest head of a request.
const MAX_REQUEST_BYTES: usize = 4096;
/// The pause after `accept` failed: it may be for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens on a port of every address; pods' addresses are IPv4.
pub(crate) async fn listen(port: u16) -> Result<TcpListener> {
    let address = (Ipv4Addr::UNSPECIFIED, port);
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on port {port}"))
}

/// Answers probes, for ever: 200 if `check` finds no problem, else 503 and the problem.
pub(crate) async fn serve(listener: TcpListener, check: impl Fn() -> Result<(), String>) {
    let mut probes = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while probes.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if probes.len() < MAX_CONNECTIONS => {
                let response = response(check());
                probes.spawn(async move {
                    // Who asks and does not wait for the answer gets none.
                    tokio::time::timeout(TIME_LIMIT, answer(stream, &response)).await.ok();
                });
            }
            Ok(_) => {}
            Err(error) => {
                warn!(%error, "cannot accept a probe");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn response(health: Result<(), String>) -> String {
    let (status, text) = match health {
        Ok(()) => ("200 OK", "ok".to_owned()),
        Err(problem) => ("503 Service Unavailable", problem),
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    )
}

async fn answer(mut stream: TcpStream, response: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    // The request is read to its end: closing with unread bytes would reset the connection before the answer is seen.
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < MAX_REQUEST_BYTES {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(request: &[u8], problem: Option<&'static str>) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = JoinSet::new();
        let request = request.to_vec();
        client.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&request).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
        let check = || problem.map_or(Ok(()), |problem| Err(problem.to_owned()));
        tokio::select! {
            () = serve(listener, check) => unreachable!("it serves for ever"),
            answer = client.join_next() => answer.unwrap().unwrap(),
        }
    }

    #[tokio::test]
    async fn probes_are_answered() {
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        let well = ask(request, None).await;
        assert!(well.starts_with("HTTP/1.1 200 OK\r\n") && well.ends_with("\r\n\r\nok\n"), "{well}");
        let ill = ask(request, Some("no ports")).await;
        assert!(ill.starts_with("HTTP/1.1 503 ") && ill.ends_with("\r\n\r\nno ports\n"), "{ill}");
        // Neither endless heads nor silence keep it.
        let long = vec![b'x'; MAX_REQUEST_BYTES];
        assert!(ask(&long, None).await.starts_with("HTTP/1.1 200 "));
    }
}
