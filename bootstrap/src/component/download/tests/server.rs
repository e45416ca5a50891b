//! A web server that answers as a test wants it to.

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What was asked.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// With the query.
    pub(super) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// Returns where the part that is asked for begins.
    pub(super) fn start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    cut: usize,
    is_chunked: bool,
    is_stalling: bool,
}

impl Reply {
    pub(super) fn new(status: u16) -> Self {
        let (headers, body) = (String::new(), Vec::new());
        Self { status, headers, body, cut: usize::MAX, is_chunked: false, is_stalling: false }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        write!(self.headers, "{name}: {value}\r\n").unwrap();
        self
    }

    pub(super) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Sends only so much of the body.
    pub(super) fn cut(mut self, length: usize) -> Self {
        self.cut = length;
        self
    }

    /// Does not say how long the body is.
    pub(super) fn chunked(mut self) -> Self {
        self.is_chunked = true;
        self
    }

    /// Keeps the connection open, and says nothing more; without a body, nothing at all.
    pub(super) fn stall(mut self) -> Self {
        self.is_stalling = true;
        self
    }

    async fn send(self, stream: &mut TcpStream) -> std::io::Result<()> {
        if !self.is_stalling || !self.body.is_empty() {
            let length = if self.is_chunked {
                "Transfer-Encoding: chunked\r\n".to_owned()
            } else {
                format!("Content-Length: {}\r\n", self.body.len())
            };
            let head =
                format!("HTTP/1.1 {} Said\r\n{}{length}Connection: close\r\n\r\n", self.status, self.headers);
            stream.write_all(head.as_bytes()).await?;
            let body = &self.body[..self.body.len().min(self.cut)];
            if self.is_chunked {
                stream.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await?;
            }
            stream.write_all(body).await?;
            if self.is_chunked {
                stream.write_all(b"\r\n0\r\n\r\n").await?;
            }
        }
        if self.is_stalling {
            std::future::pending::<()>().await;
        }
        stream.shutdown().await
    }
}

/// A server on loopback, which ends when it is dropped.
pub(super) struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Request>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(super) async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (noted, mut tasks) = (Arc::clone(&seen), JoinSet::new());
        tasks.spawn(async move {
            let answer = Arc::new(answer);
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                connections.spawn(async move {
                    let Some(request) = read(&mut stream).await else { return };
                    noted.lock().unwrap().push(request.clone());
                    let reply = answer(&request);
                    // Whoever does not want the rest closes.
                    reply.send(&mut stream).await.ok();
                });
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Some(Request { path, headers })
}
