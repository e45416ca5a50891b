//! Ports of the host's localhost that lead to pods, and the way back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tests::host::Host;
use tests::image::{Compression, Entry, Layer, Recipe};
use tests::images::{Set, compiled};
use tests::{eventually, files};

use crate::workloads::{SOON, Site};

pub(crate) const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// How many connections there are at once.
const MANY: usize = 1000;
/// How long an answer may take. What asks again and again may have asked somebody else first, who waits for more.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long a port may be somebody's that nobody wants any more.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Returns `docker.io/test/echo`: what is said to its port 7 comes back.
pub(crate) fn echo_set(host: &Host) -> Result<Set> {
    Set::make(host.dir().join("echo-image"), |maker| {
        let program = Entry::program("echo", compiled("echo")?);
        let layer = Layer::write(maker.blobs(), Compression::Gzip, [program])?;
        let image = Recipe::default().layer(&layer).config(json!({"Entrypoint": ["/echo", "7"]}));
        let image = image.write(maker.blobs())?;
        maker.add("docker.io/test/echo", &["latest"], &image);
        Ok(())
    })
}

/// A connection to the echo.
pub(crate) struct Connection(TcpStream);

impl Connection {
    /// Opens one that is answered.
    pub(crate) fn open(site: &Site, at: IpAddr, port: u16) -> Result<Self> {
        let to = SocketAddr::from((at, port));
        let stream = site.outside.within(|| {
            let stream = TcpStream::connect_timeout(&to, SOON).with_context(|| format!("connect to {to}"))?;
            stream.set_read_timeout(Some(ANSWER_LIMIT))?;
            Ok(stream)
        })?;
        let connection = Self(stream);
        connection.echoes("hello").with_context(|| format!("say hello to {to}"))?;
        Ok(connection)
    }

    pub(crate) fn echoes(&self, words: &str) -> Result<()> {
        let mut stream = &self.0;
        stream.write_all(words.as_bytes())?;
        let mut heard = vec![0; words.len()];
        stream.read_exact(&mut heard)?;
        ensure!(heard == words.as_bytes(), "{heard:?} instead of {words:?}");
        Ok(())
    }

    /// Says no more, and hears the rest.
    fn finish(self) -> Result<String> {
        let mut stream = self.0;
        stream.shutdown(Shutdown::Write)?;
        let mut rest = String::new();
        stream.read_to_string(&mut rest)?;
        Ok(rest)
    }

    fn has_ended(&self) -> Result<()> {
        let read = (&self.0).read(&mut [0]);
        let has_ended = match &read {
            Ok(length) => *length == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        ensure!(has_ended, "it goes on: {read:?}");
        Ok(())
    }
}

/// The far end hears the end of what is said, and still answers.
fn says_and_hears(site: &Site, at: IpAddr, port: u16) -> Result<()> {
    let heard = Connection::open(site, at, port)?.finish()?;
    ensure!(heard == "\n5 bytes\n", "{heard:?}");
    Ok(())
}

fn datagrams_come_back(site: &Site, at: IpAddr, port: u16) -> Result<()> {
    site.outside.within(|| {
        // Two clients at once, each of which hears its own.
        let clients = [UdpSocket::bind((at, 0))?, UdpSocket::bind((at, 0))?];
        let words = ["one", "another"];
        for (client, words) in clients.iter().zip(words) {
            client.set_read_timeout(Some(ANSWER_LIMIT))?;
            client.connect((at, port))?;
            client.send(words.as_bytes())?;
        }
        for (client, words) in clients.iter().zip(words) {
            let mut heard = [0; 100];
            let length = client.recv(&mut heard).with_context(|| format!("UDP {at} {port}"))?;
            ensure!(&heard[..length] == words.as_bytes(), "{length} bytes");
        }
        Ok(())
    })
}

/// Waits until a port serves the page of the web server.
pub(crate) fn serves_the_page(site: &Site, url: &str) -> Result<()> {
    eventually(SOON, url, || {
        let page = site.host.command("curl").args(["-sS", "--max-time", "5", url]).stdout()?;
        ensure!(page == "Getting Started", "{page}");
        Ok(())
    })
}

pub(crate) fn every_way_in(site: &Site) -> Result<()> {
    for name in ["web", "echo"] {
        let service = site.cluster.kubectl(&["get", "svc", name, "--no-headers"]).stdout()?;
        assert_eq!(service.split_whitespace().nth(3), Some("localhost"), "{service}");
    }
    serves_the_page(site, "http://localhost:8080")?;
    serves_the_page(site, "http://[::1]:8080")?;
    // By a Service of type LoadBalancer, by one of type NodePort, and by a pod's host ports.
    for port in [7001, 30_007, 7003, 7004] {
        for at in [V4, V6] {
            eventually(SOON, "an echo", || says_and_hears(site, at, port))?;
            eventually(SOON, "datagrams", || datagrams_come_back(site, at, port))?;
        }
    }
    let listeners = site.host.sh("ss -Hlntu 'sport = :7001' | awk '{ print $1, $5 }' | sort")?;
    assert_eq!(listeners, "tcp 127.0.0.1:7001\ntcp [::1]:7001\nudp 127.0.0.1:7001\nudp [::1]:7001");
    Ok(())
}

/// Says who asked, to one who asks.
fn answer(listener: &TcpListener) -> Result<()> {
    let (mut stream, peer) = listener.accept()?;
    Ok(write!(stream, "{}", peer.ip())?)
}

/// A listener of the host's loopback only.
pub(crate) fn back_to_the_host(site: &Site) -> Result<()> {
    let listener = site.outside.within(|| Ok(TcpListener::bind((V4, 0))?))?;
    let port = listener.local_addr()?.port();
    let answering = std::thread::spawn(move || answer(&listener));
    assert_eq!(site.in_pod(&format!("nc -w 5 host.docker.internal {port} </dev/null"))?, "127.0.0.1");
    answering.join().map_err(|_| anyhow::anyhow!("the server panicked"))?
}

pub(crate) fn a_thousand_connections(site: &Site) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let connections: Vec<Connection> =
        (0..MANY).map(|_| Connection::open(site, V4, 7001)).collect::<Result<_>>()?;
    for (number, connection) in connections.iter().enumerate() {
        connection.echoes(&number.to_string()).with_context(|| format!("connection {number}"))?;
    }
    for connection in connections {
        let rest = connection.finish()?;
        ensure!(rest.ends_with(" bytes\n"), "{rest:?}");
    }
    Ok(())
}

fn service(name: &str, app: &str, ports: &Value) -> String {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": "LoadBalancer", "selector": {"app": app}, "ports": ports},
    });
    service.to_string()
}

pub(crate) fn a_hundred_of_one_service(site: &Site) -> Result<()> {
    let numbers = 20_000..20_100;
    let ports: Vec<Value> = numbers
        .clone()
        .map(|port| json!({"name": format!("port-{port}"), "port": port, "targetPort": 7}))
        .collect();
    // One of them is somebody's, whom nobody in the host can see: the test's.
    let other = site.outside.within(|| Ok(TcpListener::bind((V6, 20_050))?))?;
    site.cluster.apply(&service("hundred", "echo", &ports.into()))?;
    for port in numbers.clone().filter(|port| *port != 20_050) {
        eventually(SOON, "an echo", || says_and_hears(site, V4, port))?;
    }
    until_complaints(site, "hundred", &["port 20050 (TCP) is taken by another program".into()])?;
    drop(other);
    eventually(SOON, "an echo", || says_and_hears(site, V6, 20_050))?;
    // A Service of another type has no such ports.
    let other = "{\"spec\": {\"type\": \"ClusterIP\"}}";
    site.cluster.kubectl(&["patch", "svc", "hundred", "-p", other]).run()?;
    is_free(site, 20_099)?;
    site.cluster.until(&["svc", "hundred"], "no address", |service| {
        service["status"]["loadBalancer"]["ingress"].is_null()
    })?;
    site.cluster.kubectl(&["delete", "svc", "hundred"]).run().map(drop)
}

/// Returns the messages of the events of a Service whose port is taken.
fn complaints(site: &Site, service: &str) -> Result<Vec<String>> {
    let of = format!("involvedObject.kind=Service,involvedObject.name={service},reason=PortTaken");
    let events = site.cluster.get(&["events", "--field-selector", &of])?;
    let events = events["items"].as_array().context("no list")?.clone();
    Ok(events.iter().filter_map(|event| event["message"].as_str().map(str::to_owned)).collect())
}

fn until_complaints(site: &Site, service: &str, expected: &[String]) -> Result<()> {
    eventually(SOON, &format!("events of {service}"), || {
        let found = complaints(site, service)?;
        ensure!(found == expected, "{found:?} instead of {expected:?}");
        Ok(())
    })
}

/// By a program of the host, and by another Service.
pub(crate) fn those_that_others_have(site: &Site) -> Result<()> {
    files::put(site.host.home().join("site/index.html"), "the host's")?;
    let web = site.host.command("busybox").args(["httpd", "-f", "-p", "127.0.0.1:8090", "-h"]);
    let mut web = site.host.daemon("web", web.arg(site.host.home().join("site")))?;
    let pid = web.pid_inside()?;
    eventually(SOON, "the host's server", || site.host.sh("curl -sS http://127.0.0.1:8090"))?;
    site.cluster.apply(&service("late", "web", &json!([{"port": 8090, "targetPort": 80}])))?;
    until_complaints(site, "late", &[format!("port 8090 (TCP) is taken by busybox (pid {pid})")])?;
    assert_eq!(site.host.sh("curl -sS http://127.0.0.1:8090")?, "the host's");
    web.stop(SOON)?;
    serves_the_page(site, "http://localhost:8090")?;
    until_complaints(site, "late", &[])?;

    site.cluster.apply(&service("rival", "echo", &json!([{"port": 8090, "targetPort": 7}])))?;
    until_complaints(site, "rival", &["port 8090 (TCP) is taken by Service default/late".into()])?;
    serves_the_page(site, "http://localhost:8090")?;
    site.cluster.kubectl(&["delete", "svc", "late"]).run()?;
    eventually(SOON, "the rival's turn", || says_and_hears(site, V4, 8090))?;
    until_complaints(site, "rival", &[])
}

/// Waits until others can have a port.
pub(crate) fn is_free(site: &Site, port: u16) -> Result<()> {
    let bind =
        |at| site.outside.within(|| Ok((TcpListener::bind((at, port))?, UdpSocket::bind((at, port))?)));
    eventually(AT_ONCE, &format!("port {port} to be free"), || {
        bind(V4)?;
        bind(V6).map(drop)
    })
}

pub(crate) fn free_at_once(site: &Site) -> Result<()> {
    let connection = Connection::open(site, V4, 7001)?;
    site.cluster.kubectl(&["delete", "svc", "echo"]).run()?;
    is_free(site, 7001)?;
    connection.has_ended()?;
    // The others go on.
    says_and_hears(site, V4, 7003)?;
    site.cluster.kubectl(&["delete", "pod", "echo"]).run()?;
    is_free(site, 7003)
}
