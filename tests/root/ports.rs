//! Ports of localhost that lead into the box, and the way back: what listens on the host's loopback is reached from the box.

mod back;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use proto::ports::ports_client::PortsClient;
use proto::ports::{Port, Problem, Protocol, Reason, SyncRequest};
use rustix::process::{Resource, getrlimit, setrlimit};
use tests::containerd::Engine;
use tests::eventually;
use tests::host::Host;
use tests::instance::Instance;
use tests::network::Network;
use tests::product;
use tonic::transport::{Channel, Endpoint};

/// How long anything may take that takes no time.
const SOON: Duration = Duration::from_secs(30);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// The cluster's controller, as far as this service sees it.
struct Controller {
    runtime: tokio::runtime::Runtime,
    client: PortsClient<Channel>,
}

impl Controller {
    fn new(instance: &Instance) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let socket = instance.run_dir().join("ports/ports.sock");
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let channel = runtime.block_on(endpoint.connect()).context("connect to ports.sock")?;
        Ok(Self { runtime, client: PortsClient::new(channel) })
    }

    fn sync(&mut self, ports: &[Port]) -> Result<Vec<Problem>> {
        let request = SyncRequest { ports: ports.to_vec() };
        Ok(self.runtime.block_on(self.client.sync(request))?.into_inner().problems)
    }

    /// Says what is wanted, all of which must be served.
    fn serve(&mut self, ports: &[Port]) -> Result<()> {
        let problems = self.sync(ports)?;
        ensure!(problems.is_empty(), "{problems:?}");
        Ok(())
    }
}

fn port(protocol: Protocol, port: u16, target: SocketAddr) -> Port {
    Port {
        owner: format!("default/test-{port}"),
        protocol: protocol.into(),
        port: port.into(),
        target_address: target.ip().to_string(),
        target_port: target.port().into(),
    }
}

/// An instance whose sockets the test reaches, and both networks.
struct Site {
    host: Host,
    instance: Instance,
    outside: Network,
    inside: Network,
    node: IpAddr,
}

impl Site {
    fn new(engine: &Engine) -> Result<Self> {
        let host = Host::new()?;
        let instance = Instance::new(&host, engine, &host.dir().join("instance"));
        instance.start()?;
        Self::of(host, instance)
    }

    /// Looks at an instance that is up.
    fn of(host: Host, instance: Instance) -> Result<Self> {
        let (outside, inside) = (host.network()?, instance.network()?);
        let route = instance.in_box("ip")?.args(["-4", "-o", "addr", "show", "dev", "eth0"]).stdout()?;
        let node = route.split_whitespace().nth(3).and_then(|word| word.split('/').next());
        let node = node.and_then(|node| node.parse().ok()).with_context(|| route.clone())?;
        Ok(Self { host, instance, outside, inside, node })
    }

    fn listen(&self) -> Result<(TcpListener, SocketAddr)> {
        listen(&self.inside, self.node)
    }

    fn connect(&self, at: IpAddr, port: u16) -> Result<TcpStream> {
        connect(&self.outside, (at, port).into())
    }
}

fn listen(network: &Network, at: IpAddr) -> Result<(TcpListener, SocketAddr)> {
    network.within(|| {
        let listener = TcpListener::bind((at, 0))?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    })
}

fn connect(network: &Network, to: SocketAddr) -> Result<TcpStream> {
    network.within(|| {
        let stream = TcpStream::connect_timeout(&to, SOON).with_context(|| format!("connect to {to}"))?;
        stream.set_read_timeout(Some(SOON))?;
        Ok(stream)
    })
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

fn hears(mut stream: &TcpStream, words: &[u8]) -> Result<()> {
    let mut heard = vec![0; words.len()];
    stream.read_exact(&mut heard)?;
    ensure!(heard == words, "{heard:?} instead of {words:?}");
    Ok(())
}

/// Tells whether a connection has ended, in either way.
fn has_ended(mut stream: &TcpStream) -> Result<()> {
    match stream.read(&mut [0]) {
        Ok(0) => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => bail!("it goes on: {other:?}"),
    }
}

/// Tells whether nobody has a port.
fn is_free(network: &Network, protocol: Protocol, at: SocketAddr) -> Result<()> {
    network.within(|| {
        let bound = match protocol {
            Protocol::Udp => UdpSocket::bind(at).map(drop),
            _ => TcpListener::bind(at).map(drop),
        };
        bound.with_context(|| format!("bind {at}"))
    })
}

fn udp(network: &Network, at: IpAddr) -> Result<UdpSocket> {
    network.within(|| {
        let socket = UdpSocket::bind((at, 0))?;
        socket.set_read_timeout(Some(SOON))?;
        Ok(socket)
    })
}

#[test]
fn connections_from_localhost() -> Result<()> {
    let site = Site::new(&Engine::debian()?)?;
    let mut controller = Controller::new(&site.instance)?;
    let (server, target) = site.listen()?;
    controller.serve(&[port(Protocol::Tcp, 8080, target)])?;
    for at in [V4, V6] {
        // Each side ends what it says, and hears the other to its end.
        let mut client = site.connect(at, 8080)?;
        let mut inside = accept(&server)?;
        assert_eq!(inside.peer_addr()?.ip(), site.node);
        client.write_all(b"question")?;
        client.shutdown(Shutdown::Write)?;
        let mut heard = Vec::new();
        inside.read_to_end(&mut heard)?;
        assert_eq!(heard, b"question");
        std::thread::scope(|scope| {
            scope.spawn(|| inside.write_all(&[7; 3 << 20]).map(|()| inside.shutdown(Shutdown::Both)));
            heard.clear();
            client.read_to_end(&mut heard)
        })?;
        ensure!(heard == [7; 3 << 20], "{} bytes came", heard.len());
    }
    // A changed target is for later connections.
    let (other, later) = site.listen()?;
    let early = site.connect(V4, 8080)?;
    let mut early_inside = accept(&server)?;
    controller.serve(&[port(Protocol::Tcp, 8080, later), port(Protocol::Tcp, 8081, target)])?;
    let late = site.connect(V4, 8080)?;
    accept(&other)?.write_all(b"late")?;
    hears(&late, b"late")?;
    early_inside.write_all(b"early")?;
    hears(&early, b"early")?;
    // Where nobody listens, nobody answers, at once.
    drop(other);
    match site.connect(V6, 8080) {
        Ok(client) => has_ended(&client)?,
        // It was faster than the one who connects.
        Err(error) => {
            let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            ensure!(kind == Some(ErrorKind::ConnectionReset), "{error:#}");
        }
    }
    // A port that is not wanted any more is free, and its connections are over.
    controller.serve(&[port(Protocol::Tcp, 8081, target)])?;
    for stream in [&early, &early_inside] {
        has_ended(stream)?;
    }
    for at in [V4, V6] {
        is_free(&site.outside, Protocol::Tcp, (at, 8080).into())?;
    }
    site.connect(V4, 8081)?;
    accept(&server)?;
    // Only the host itself has these ports.
    let sockets = site.host.sh("ss -Hltn 'sport = :8081' | awk '{ print $4 }' | sort")?;
    assert_eq!(sockets, "127.0.0.1:8081\n[::1]:8081");
    site.instance.down()?;
    ensure!(site.connect(V4, 8081).is_err(), "the port is open without the instance");
    Ok(())
}

#[test]
fn thousands_of_connections() -> Result<()> {
    const COUNT: usize = 2000;
    /// How many files may be open in the shell that `up` is typed in.
    const USUAL: u32 = 999;
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)?;
    let (host, engine) = (Host::new()?, Engine::two()?);
    let instance = Instance::new(&host, &engine, &host.dir().join("instance"));
    let usual = format!("--nofile={USUAL}:");
    let up = host.command("prlimit").arg(&usual).arg(product::program("shimctl")?).arg("--root");
    let up = up.arg(host.dir().join("instance")).args(["up", "--no-kubernetes"]);
    up.env("PATH", engine.path()).run().with_context(|| instance.logs())?;
    let site = Site::of(host, instance)?;
    let mut controller = Controller::new(&site.instance)?;
    let (server, target) = site.listen()?;
    let many: Vec<Port> = (0..100).map(|number| port(Protocol::Tcp, 9000 + number, target)).collect();
    controller.serve(&many)?;
    let (sender, accepted) = mpsc::channel();
    let acceptor = std::thread::spawn(move || {
        for _ in 0..COUNT {
            if sender.send(accept(&server)).is_err() {
                return;
            }
        }
    });
    let clients = site.outside.within(|| {
        let connect = |number: usize| -> Result<TcpStream> {
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9000 + u16::try_from(number % 100)?));
            let mut stream = TcpStream::connect_timeout(&to, SOON)?;
            stream.set_read_timeout(Some(SOON))?;
            stream.write_all(&u32::try_from(number)?.to_be_bytes())?;
            Ok(stream)
        };
        (0..COUNT).map(connect).collect::<Result<Vec<TcpStream>>>()
    })?;
    // All are there at once; each server says what its client said.
    let mut inside = Vec::new();
    for _ in 0..COUNT {
        inside.push(accepted.recv_timeout(SOON)??);
    }
    for mut stream in &inside {
        let mut said = [0; 4];
        stream.read_exact(&mut said)?;
        stream.write_all(&said)?;
    }
    for (number, client) in clients.iter().enumerate() {
        hears(client, &u32::try_from(number)?.to_be_bytes())?;
    }
    acceptor.join().map_err(|_| anyhow::anyhow!("the acceptor panicked"))?;
    // What the service needs, others do not get.
    let limit = |pid: u64| site.host.sh(&format!("awk '/open files/ {{ print $4 }}' /proc/{pid}/limits"));
    assert_ne!(limit(site.instance.service_pid()?)?, USUAL.to_string());
    assert_eq!(limit(site.instance.pid("box")?)?, USUAL.to_string());
    controller.serve(&[])?;
    clients.iter().try_for_each(has_ended)?;
    Ok(())
}

#[test]
fn datagrams_from_localhost() -> Result<()> {
    let site = Site::new(&Engine::debian()?)?;
    let mut controller = Controller::new(&site.instance)?;
    let server = udp(&site.inside, site.node)?;
    controller.serve(&[port(Protocol::Udp, 5353, server.local_addr()?)])?;
    let mut peers = Vec::new();
    for (at, words) in [(V4, &b"one"[..]), (V4, &[2; 20_000]), (V6, b"three")] {
        let client = udp(&site.outside, at)?;
        // Nobody else's answer is heard.
        client.connect((at, 5353))?;
        client.send(words)?;
        let mut buffer = [0; 65_536];
        let (length, peer) = server.recv_from(&mut buffer)?;
        ensure!(&buffer[..length] == words, "{length} bytes came");
        ensure!(peer.ip() == site.node && !peers.contains(&peer), "{peer} after {peers:?}");
        server.send_to(&buffer[..length], peer)?;
        server.send_to(b"more", peer)?;
        for expected in [words, b"more"] {
            let length = client.recv(&mut buffer)?;
            ensure!(&buffer[..length] == expected, "{length} bytes came");
        }
        client.send(b"again")?;
        assert_eq!(server.recv_from(&mut buffer)?, (5, peer));
        peers.push(peer);
    }
    controller.serve(&[])?;
    is_free(&site.outside, Protocol::Udp, (V4, 5353).into())?;
    Ok(())
}

#[test]
fn ports_that_others_have() -> Result<()> {
    let site = Site::new(&Engine::debian()?)?;
    let mut controller = Controller::new(&site.instance)?;
    let (_server, target) = site.listen()?;
    let root = site.host.dir().join("second");
    let second = Instance::new(&site.host, &Engine::debian()?, &root);
    second.start()?;
    Controller::new(&second)?.serve(&[port(Protocol::Tcp, 8082, target)])?;
    let web = site.host.command("busybox").args(["httpd", "-f", "-p", "8080", "-h"]).arg(site.host.dir());
    let mut web = site.host.daemon("web", web)?;
    eventually(SOON, "the web server", || site.connect(V4, 8080))?;
    let names = udp(&site.outside, V6)?;
    let names_port = names.local_addr()?.port();
    let wanted = [
        port(Protocol::Tcp, 8080, target),
        port(Protocol::Tcp, 8081, target),
        port(Protocol::Tcp, 8082, target),
        port(Protocol::Udp, names_port, target),
    ];
    for _ in 0..2 {
        let problems = controller.sync(&wanted)?;
        assert_eq!(
            problems.iter().map(|problem| problem.port).collect::<Vec<_>>(),
            [8080, 8082, names_port.into()]
        );
        let says = |number: usize, start: &str, end: &str| {
            let Problem { message, .. } = &problems[number];
            ensure!(message.starts_with(start) && message.ends_with(end), "{message:?}: {start}…{end}");
            Ok(())
        };
        ensure!(problems.iter().all(|problem| problem.reason() == Reason::PortTaken), "{problems:?}");
        says(0, "port 8080 (TCP) is taken by busybox (pid ", ")")?;
        says(1, &format!("port 8082 (TCP) is taken by the instance in {} (pid ", root.display()), ")")?;
        // The test itself is no process of the host.
        says(2, &format!("port {names_port} (UDP) is taken by "), "another program")?;
    }
    let status = site.instance.status()?;
    let served: Vec<bool> =
        status["ports"].as_array().context("ports")?.iter().map(|port| port["problem"] == "").collect();
    assert_eq!(served, [true, false, false, false], "{status}");
    // Not even half of it is opened.
    is_free(&site.outside, Protocol::Udp, (V4, names_port).into())?;
    drop(names);
    web.stop(SOON)?;
    second.down()?;
    eventually(SOON, "all ports", || controller.serve(&wanted))?;
    // Without IPv6 there is the other half.
    site.host.sh("echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6")?;
    controller.serve(&[port(Protocol::Tcp, 8083, target)])?;
    site.connect(V4, 8083)?;
    Ok(())
}

#[test]
fn ports_outlive_neither_their_box_nor_their_service() -> Result<()> {
    let site = Site::new(&Engine::two()?)?;
    let mut controller = Controller::new(&site.instance)?;
    let (server, target) = site.listen()?;
    let wanted = [port(Protocol::Tcp, 8080, target)];
    controller.serve(&wanted)?;
    let client = site.connect(V4, 8080)?;
    let _inside = accept(&server)?;
    // The service dies; whoever asks again is served again.
    site.host.command("kill").args(["-9", &site.instance.service_pid()?.to_string()]).run()?;
    has_ended(&client)?;
    site.instance.start()?;
    let mut controller = Controller::new(&site.instance)?;
    controller.serve(&wanted)?;
    let mut client = site.connect(V4, 8080)?;
    client.write_all(b"here")?;
    hears(&accept(&server)?, b"here")?;
    // The holder dies, and what lives in the box keeps it.
    site.instance.kill("box")?;
    client.write_all(b"still")?;
    let mut client = site.connect(V4, 8080)?;
    client.write_all(b"and now")?;
    eventually(SOON, "the connection", || {
        let inside = accept(&server)?;
        hears(&inside, b"and now")
    })?;
    // All of it dies, and there is another box with the same addresses.
    let pids = [site.instance.pid("box")?, site.instance.pid("containerd")?].map(|pid| pid.to_string());
    site.host.command("kill").arg("-9").args(&pids).run()?;
    site.instance.start()?;
    has_ended(&client)?;
    let inside = site.instance.network()?;
    let (server, target) = listen(&inside, site.node)?;
    controller.serve(&[port(Protocol::Tcp, 8080, target)])?;
    let mut client = site.connect(V4, 8080)?;
    client.write_all(b"new")?;
    hears(&accept(&server)?, b"new")?;
    site.instance.down()
}
