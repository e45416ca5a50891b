//! A scripted HTTP/1.1 server, for tests: what no real registry does when it is asked to.

use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use cachestore::digest::Digest;
use cachestore::oci::manifest::BlobRef;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::{Client, Config, Credentials, Fixed, Limits, Repository};

/// A request as the server saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Which connection it came over, counted from 0.
    pub(crate) connection: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns where the wanted range starts.
    pub(crate) fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Where the body stops, and what happens then.
    stop: Option<(usize, Stop)>,
    chunked: bool,
}

#[derive(Clone, Debug)]
enum Stop {
    Close,
    Stall,
    Hold(Gate),
}

/// Holds answers up until it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(crate) fn open(&self) {
        self.0.close();
    }

    async fn pass(&self) {
        self.0.acquire().await.unwrap_err();
    }
}

impl Answer {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), stop: None, chunked: false }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200).body(body)
    }

    /// Returns the blob as a server that knows ranges does.
    pub(crate) fn ranged(seen: &Seen, blob: &[u8]) -> Self {
        match seen.range_start() {
            Some(start) if start >= blob.len() => Self::new(416),
            Some(start) => Self::new(206)
                .header("Content-Range", &format!("bytes {start}-{}/{}", blob.len() - 1, blob.len()))
                .body(&blob[start..]),
            None => Self::ok(blob),
        }
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::new(307).header("Location", to)
    }

    pub(crate) fn challenge(scheme: &str) -> Self {
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        Self::new(401).header("WWW-Authenticate", scheme).body(body)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.stop = Some((bytes, Stop::Close));
        self
    }

    pub(crate) fn stall_after(mut self, bytes: usize) -> Self {
        self.stop = Some((bytes, Stop::Stall));
        self
    }

    pub(crate) fn hold_after(mut self, bytes: usize, gate: &Gate) -> Self {
        self.stop = Some((bytes, Stop::Hold(gate.clone())));
        self
    }

    pub(crate) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    async fn write(&self, head_only: bool, out: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<bool> {
        let mut head = format!("HTTP/1.1 {} -\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.chunked {
            true => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
            false => head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len())),
        }
        out.write_all(head.as_bytes()).await?;
        let end = self.stop.as_ref().map_or(self.body.len(), |(bytes, _)| (*bytes).min(self.body.len()));
        if !head_only && self.chunked {
            for piece in self.body[..end].chunks(1000) {
                out.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                out.write_all(piece).await?;
                out.write_all(b"\r\n").await?;
            }
            if self.stop.is_none() {
                out.write_all(b"0\r\n\r\n").await?;
            }
        } else if !head_only {
            out.write_all(&self.body[..end]).await?;
        }
        out.flush().await?;
        match &self.stop {
            None => Ok(true),
            Some((_, Stop::Close)) => out.shutdown().await.map(|()| false),
            Some((_, Stop::Stall)) => std::future::pending().await,
            Some((_, Stop::Hold(gate))) => {
                gate.pass().await;
                out.write_all(&self.body[end..]).await?;
                out.flush().await.map(|()| true)
            }
        }
    }
}

type Script = dyn Fn(&Seen) -> Answer + Send + Sync;

/// A server on a loopback port; it ends when it is dropped.
pub(crate) struct Server {
    /// `127.0.0.1:PORT`
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(script, None).await
    }

    pub(crate) async fn start_with(
        script: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Arc<Script>, _) = (Arc::new(script), seen.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, log, tls) = (script.clone(), log.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, number, &*script, &log).await,
                        // A client that does not trust us ends the handshake.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, number, &*script, &log).await,
                            Err(error) => Err(error),
                        },
                    }
                });
            }
        });
        Self { host, seen, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Returns the requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns method and target of the requests so far.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    script: &Script,
    log: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut seen = Seen { connection, ..Seen::default() };
        (seen.method, seen.target) = (words.next().unwrap(), words.next().unwrap());
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            seen.headers.push((name.to_lowercase(), value.to_owned()));
        }
        let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        seen.body = String::from_utf8(body).unwrap();
        log.lock().unwrap().push(seen.clone());
        let answer = script(&seen);
        if !answer.write(seen.method == "HEAD", &mut stream).await? {
            return Ok(());
        }
    }
}

/// Makes a client that loses no time and is patient only where nothing should be slow.
pub(crate) fn client(host_dirs: Vec<std::path::PathBuf>) -> Client {
    client_with(Config { host_dirs, limits: limits() })
}

pub(crate) fn client_with(config: Config) -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    Client::new(config).unwrap()
}

pub(crate) fn limits() -> Limits {
    Limits { backoff: Duration::from_millis(1), resumes: 3, tries: 3, ..Limits::default() }
}

/// Opens `HOST/NAME` without configuration and credentials.
pub(crate) async fn repository(host: &str, name: &str) -> Repository {
    repository_for(&client(Vec::new()), host, name, Fixed::anonymous()).await
}

pub(crate) async fn repository_for(
    client: &Client,
    host: &str,
    name: &str,
    credentials: impl Credentials + 'static,
) -> Repository {
    let reference = format!("{host}/{name}").parse().unwrap();
    client.repository(&reference, Arc::new(credentials)).await.unwrap()
}

/// Writes a `hosts.toml` for a host into a `certs.d` directory.
pub(crate) fn write_hosts(directory: &std::path::Path, host: &str, text: &str) {
    let directory = directory.join(host.replace(':', "_") + if host.contains(':') { "_" } else { "" });
    std::fs::create_dir_all(&directory).unwrap();
    let mut file = std::fs::File::create(directory.join("hosts.toml")).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

/// Returns bytes that differ from offset to offset.
pub(crate) fn blob(length: usize) -> (Vec<u8>, BlobRef) {
    let bytes: Vec<u8> = (0..length).map(|at| (at * 31 % 251).to_le_bytes()[0]).collect();
    let blob = BlobRef { digest: Digest::of(&bytes), size_bytes: length as u64 };
    (bytes, blob)
}
