use std::io::ErrorKind;
use std::time::Duration;

use proto::ports::ports_client::PortsClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tonic::transport::Channel;

use super::*;
use crate::node::Node;
use crate::supervise::health;

const LOCALHOST: IpAddr = LOOPBACK[0];
const SOON: Duration = Duration::from_secs(20);

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    listener().await.1
}

fn started() -> (tempfile::TempDir, Ports) {
    let directory = tempfile::tempdir().unwrap();
    let ports = Ports::start(&directory.path().join("ports")).unwrap();
    (directory, ports)
}

async fn said(stream: &mut TcpStream, words: &[u8]) {
    let mut heard = vec![0; words.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, words);
}

/// Who comes here is cut off, perhaps before it has seen that it was let in.
async fn is_turned_away(at: SocketAddr) {
    let error = match TcpStream::connect(at).await {
        Ok(mut client) => client.read(&mut [0]).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn connections_are_passed_on_with_how_they_end() {
    let (_directory, ports) = started();
    let ((target, to), at) = (listener().await, nobody().await);
    ports.publish_fixed("x", at, Target::Outside(to)).await.unwrap();

    // The client has said everything and still hears.
    let mut client = TcpStream::connect(at).await.unwrap();
    let (mut server, _) = target.accept().await.unwrap();
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"question");
    server.write_all(&[7; 1 << 20]).await.unwrap();
    drop(server);
    heard.clear();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, [7; 1 << 20]);

    // The other way round.
    let mut client = TcpStream::connect(at).await.unwrap();
    let (mut server, _) = target.accept().await.unwrap();
    server.write_all(b"welcome").await.unwrap();
    server.shutdown().await.unwrap();
    heard.clear();
    client.read_to_end(&mut heard).await.unwrap();
    client.write_all(b"thanks").await.unwrap();
    said(&mut server, b"thanks").await;

    // Who is cut off, is.
    let mut client = TcpStream::connect(at).await.unwrap();
    let (server, _) = target.accept().await.unwrap();
    server.set_zero_linger().unwrap();
    drop(server);
    assert_eq!(client.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    drop(target);
    is_turned_away(at).await;
}

#[tokio::test]
async fn a_published_port_changes_and_goes() {
    let (_directory, ports) = started();
    let ((one, to_one), (two, to_two)) = (listener().await, listener().await);
    let at = nobody().await;
    ports.publish_fixed("x", at, Target::Outside(to_one)).await.unwrap();
    let mut early = TcpStream::connect(at).await.unwrap();
    let (mut early_server, _) = one.accept().await.unwrap();
    ports.publish_fixed("x", at, Target::Outside(to_two)).await.unwrap();
    let mut late = TcpStream::connect(at).await.unwrap();
    let (mut late_server, _) = two.accept().await.unwrap();
    early_server.write_all(b"one").await.unwrap();
    late_server.write_all(b"two").await.unwrap();
    said(&mut early, b"one").await;
    said(&mut late, b"two").await;
    let published = ports.list().await;
    let [OpenPort { owner, listen, target, problem }] = &published[..] else { panic!("{published:?}") };
    assert_eq!((owner.as_str(), listen, target), ("x", &format!("{at}/tcp"), &to_two.to_string()));
    assert_eq!(problem, "");

    // Somebody else has another one.
    let error = ports.publish_fixed("y", to_one, Target::Outside(to_two)).await.unwrap_err().to_string();
    assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");

    let again = nobody().await;
    ports.publish_fixed("x", again, Target::Outside(to_one)).await.unwrap();
    let _bound = TcpListener::bind(at).await.unwrap();
    for stream in [&mut early, &mut late, &mut early_server, &mut late_server] {
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    }
    assert!(ports.is_published("x").await && !ports.is_published("y").await);
    ports.close().await;
    assert_eq!(TcpStream::connect(again).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(ports.publish_fixed("x", again, Target::Outside(to_one)).await.is_err());
}

#[tokio::test]
async fn there_is_a_limit_of_connections() {
    let (_directory, ports) = started();
    let all = ports.shared.connections.available_permits();
    let kept = Arc::clone(&ports.shared.connections).acquire_many_owned(u32::try_from(all).unwrap() - 1);
    let kept = kept.await.unwrap();
    let ((target, to), at) = (listener().await, nobody().await);
    ports.publish_fixed("x", at, Target::Outside(to)).await.unwrap();
    let _first = TcpStream::connect(at).await.unwrap();
    let _server = target.accept().await.unwrap();
    is_turned_away(at).await;
    drop(kept);
    let _third = TcpStream::connect(at).await.unwrap();
    target.accept().await.unwrap();
}

struct Datagrams {
    shared: Arc<Shared>,
    at: SocketAddr,
    target: UdpSocket,
    _listener: Listener,
}

async fn datagrams(flows: Flows) -> Datagrams {
    let shared = Arc::new(Shared {
        dialer: Dialer::default(),
        connections: Arc::new(Semaphore::new(0)),
        flows,
        open: tokio::sync::Mutex::default(),
    });
    let target = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let served = shared.served("x", Target::Outside(target.local_addr().unwrap()));
    let at = UdpSocket::bind((LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let key = Key { protocol: Protocol::Udp, port: at.port() };
    let listener = Listener::open(key, &[LOCALHOST], served).unwrap();
    Datagrams { shared, at, target, _listener: listener }
}

async fn client(at: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    // Answers from any other port are not heard.
    client.connect(at).await.unwrap();
    client
}

impl Datagrams {
    /// Receives what one client sent, and answers; returns whom the target took it for.
    async fn echo(&self, client: &UdpSocket, words: &[u8]) -> SocketAddr {
        client.send(words).await.unwrap();
        let mut buffer = vec![0; 70_000];
        let (length, peer) = self.target.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], words);
        self.target.send_to(&buffer[..length], peer).await.unwrap();
        let length = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], words);
        peer
    }

    fn flows(&self) -> usize {
        self.shared.flows.all.lock().unwrap().len()
    }
}

#[tokio::test]
async fn each_client_has_its_own_flow() {
    let site = datagrams(Flows::new(2, SOON * 10)).await;
    let (one, two, three) = (client(site.at).await, client(site.at).await, client(site.at).await);
    let as_one = site.echo(&one, b"1").await;
    let as_two = site.echo(&two, &[2; 60_000]).await;
    assert_ne!(as_one, as_two);
    assert_eq!((site.echo(&one, b"").await, site.flows()), (as_one, 2));
    // The one that was silent longest makes room, and may come back.
    let now = site.shared.flows.now();
    Node::eventually(SOON, "another moment", || {
        std::future::ready(if site.shared.flows.now() > now { Ok(()) } else { Err(String::new()) })
    })
    .await
    .unwrap();
    site.echo(&one, b"1").await;
    site.echo(&three, b"3").await;
    assert_eq!((site.echo(&one, b"1").await, site.flows()), (as_one, 2));
    assert_ne!(site.echo(&two, b"2").await, as_two);
    assert_eq!(site.flows(), 2);
}

#[tokio::test]
async fn silent_clients_are_forgotten() {
    let site = datagrams(Flows::new(8, Duration::from_secs(1))).await;
    let client = client(site.at).await;
    let first = site.echo(&client, b"1").await;
    Node::eventually(SOON, "the flow to end", || {
        std::future::ready(if site.flows() == 0 { Ok(()) } else { Err("it is there".into()) })
    })
    .await
    .unwrap();
    assert_ne!(site.echo(&client, b"2").await, first);
}

#[tokio::test]
async fn nobody_in_the_box_is_no_end() {
    let site = datagrams(Flows::default()).await;
    let client = client(site.at).await;
    let address = site.target.local_addr().unwrap();
    drop(site.target);
    for _ in 0..3 {
        client.send(b"lost").await.unwrap();
    }
    let site = Datagrams { target: UdpSocket::bind(address).await.unwrap(), ..site };
    Node::eventually(SOON, "an answer", || async {
        client.send(b"again").await.unwrap();
        let mut buffer = [0; 10];
        let (length, peer) = site.target.recv_from(&mut buffer).await.unwrap();
        if &buffer[..length] != b"again" {
            return Err("an earlier one".to_owned());
        }
        site.target.send_to(b"yes", peer).await.unwrap();
        assert_eq!(client.recv(&mut buffer).await.unwrap(), 3);
        Ok(())
    })
    .await
    .unwrap();
}

async fn sync(client: &mut PortsClient<Channel>, ports: &[(&str, u16)]) -> Vec<(api::Reason, String)> {
    let port = |(owner, port): &(&str, u16)| api::Port {
        owner: (*owner).to_owned(),
        protocol: api::Protocol::Tcp.into(),
        port: u32::from(*port),
        target_address: "10.96.0.9".into(),
        target_port: 80,
    };
    let request = api::SyncRequest { ports: ports.iter().map(port).collect() };
    let problems = client.sync(request).await.unwrap().into_inner().problems;
    problems.into_iter().map(|problem| (problem.reason(), problem.message)).collect()
}

#[tokio::test]
async fn what_is_wanted_is_listened_for() {
    let (directory, ports) = started();
    let channel = health::connect(&directory.path().join("ports/ports.sock")).await.unwrap();
    let mut controller = PortsClient::new(channel);
    let ((bound, taken), free, fixed) = (listener().await, nobody().await, nobody().await);
    ports.publish_fixed("the API", fixed, Target::Outside(free)).await.unwrap();
    let wanted = [
        ("a/free", free.port()),
        ("a/taken", taken.port()),
        ("a/fixed", fixed.port()),
        ("b/late", free.port()),
    ];
    let is_taken =
        |port: u16, by: &str| (api::Reason::PortTaken, format!("port {port} (TCP) is taken by {by}"));
    for _ in 0..2 {
        let problems = sync(&mut controller, &wanted).await;
        assert_eq!(problems.len(), 3, "{problems:?}");
        let (reason, message) = &problems[0];
        assert_eq!(*reason, api::Reason::PortTaken);
        assert!(message.ends_with(&format!("(pid {})", std::process::id())), "{message}");
        assert_eq!(problems[1..], [is_taken(fixed.port(), "the API"), is_taken(free.port(), "a/free")]);
        let shown: Vec<(String, bool)> =
            ports.list().await.into_iter().map(|port| (port.owner, port.problem.is_empty())).collect();
        let expected = [("the API", true), ("a/free", true), ("a/taken", false), ("a/fixed", false)];
        assert_eq!(shown.len(), expected.len());
        assert!(
            expected.iter().all(|(owner, served)| shown.contains(&((*owner).to_owned(), *served))),
            "{shown:?}"
        );
    }
    // There is no box here, so that whoever comes is turned away.
    is_turned_away(free).await;
    drop(bound);
    assert_eq!(sync(&mut controller, &wanted[..2]).await, []);
    TcpStream::connect(taken).await.unwrap();
    assert_eq!(sync(&mut controller, &wanted[1..2]).await, []);
    assert_eq!(TcpStream::connect(free).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let request = api::SyncRequest { ports: vec![api::Port::default(); 5000] };
    assert_eq!(controller.sync(request).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    TcpStream::connect(taken).await.unwrap();
    ports.close().await;
    assert_eq!(TcpStream::connect(taken).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(controller.sync(api::SyncRequest::default()).await.is_err());
}

#[tokio::test]
async fn connections_end_with_their_box() {
    let dialer = Dialer::default();
    let identity = crate::process::Identity { pid: 0, start_ticks: 0 };
    let home =
        |network| Home { holder: identity, namespaces: crate::state::Namespaces { network, mount: 1 } };
    dialer.enter(Some(home(1)));
    let first = dialer.life();
    dialer.enter(Some(Home { holder: crate::process::Identity { pid: 1, ..identity }, ..home(1) }));
    assert!(!first.is_cancelled());
    dialer.enter(Some(home(2)));
    assert!(first.is_cancelled());
    let second = dialer.life();
    assert!(!second.is_cancelled());
    // Its holder does not run.
    let error = dialer.stream(Target::Inside("10.0.0.1:80".parse().unwrap())).await.unwrap_err();
    assert_eq!(error.to_string(), "the box is not there");
    dialer.enter(None);
    assert!(second.is_cancelled());
    assert!(dialer.datagrams(Target::Inside("10.0.0.1:80".parse().unwrap())).await.is_err());
}
