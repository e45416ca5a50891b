use super::*;

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01";
/// Asks for the address of `host.docker.internal`.
const OWN_QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04host\x06docker\x08internal\0\0\x01\0\x01";
const NAMES: Names = Names::new(crate::network::subnet::Subnet::DEFAULT);
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn answer_to(query: &[u8], rcode: u8) -> Vec<u8> {
    let mut answer = query.to_vec();
    (answer[2], answer[3]) = (0x81, 0x80 | rcode);
    answer.extend(b"the rest");
    answer
}

/// A server of the machine that answers every question with this code; counts them.
async fn server(rcode: u8) -> (SocketAddr, JoinSet<()>) {
    let (udp, tcp) = bind(LOOPBACK, 0).await.unwrap();
    let address = udp.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
            // Somebody else's answer comes first.
            udp.send_to(b"\xff\xff\x81\x80\0\0\0\0\0\0\0\0", peer).await.unwrap();
            udp.send_to(&answer_to(&buffer[..length], rcode), peer).await.unwrap();
        }
    });
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let query = receive(&mut stream).await.unwrap();
            send(&mut stream, &answer_to(&query, rcode)).await.unwrap();
        }
    });
    (address, tasks)
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let (udp, _tcp) = bind(LOOPBACK, 0).await.unwrap();
    udp.local_addr().unwrap()
}

#[tokio::test]
async fn servers_are_asked_until_one_knows() {
    let ((good, _a), (bad, _b), nobody) = (server(0).await, server(5).await, nobody().await);
    let query = Query::parse(QUERY).unwrap();
    for transport in [Transport::Udp, Transport::Tcp] {
        for servers in [vec![good], vec![nobody, good], vec![bad, good], vec![bad, nobody, good]] {
            assert_eq!(ask(query, &servers, transport).await, answer_to(QUERY, 0), "{transport:?}");
        }
        assert_eq!(ask(query, &[nobody, bad], transport).await, answer_to(QUERY, 5));
        assert_eq!(ask(query, &[nobody], transport).await, query.failure());
        assert_eq!(ask(query, &[], transport).await, query.failure());
    }
}

#[tokio::test]
async fn both_transports_are_served_and_the_file_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("resolv.conf");
    let taken = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let resolver = Resolver::start(LOOPBACK, Some(port), source.clone(), NAMES).await.unwrap();
    assert_ne!(resolver.port(), port);
    let failure = Query::parse(QUERY).unwrap().failure();

    let client = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    client.connect((LOOPBACK, resolver.port())).await.unwrap();
    client.send(b"no question").await.unwrap();
    client.send(QUERY).await.unwrap();
    let mut buffer = [0; 512];
    let length = client.recv(&mut buffer).await.unwrap();
    assert_eq!(buffer[..length], failure);

    let mut stream = TcpStream::connect((LOOPBACK, resolver.port())).await.unwrap();
    for _ in 0..2 {
        send(&mut stream, QUERY).await.unwrap();
        assert_eq!(receive(&mut stream).await.unwrap(), failure);
    }

    // For its own names it needs nobody.
    client.send(OWN_QUERY).await.unwrap();
    let length = client.recv(&mut buffer).await.unwrap();
    assert_eq!(buffer[length - 4..length], [192, 168, 65, 254]);
    send(&mut stream, OWN_QUERY).await.unwrap();
    assert_eq!(receive(&mut stream).await.unwrap(), buffer[..length]);

    let servers = Servers { source: source.clone(), own: LOOPBACK, names: NAMES, known: Mutex::default() };
    assert_eq!(servers.get(), []);
    for text in ["nameserver 192.0.2.1\n", "nameserver 192.0.2.22\n", ""] {
        files::put(&source, text.as_bytes(), 0o644).unwrap();
        assert_eq!(servers.get().len(), text.lines().count());
    }
}

#[test]
fn only_the_link_s_own_network_is_served() {
    let servers = Servers {
        source: "/x".into(),
        own: Ipv4Addr::new(192, 168, 65, 1),
        names: NAMES,
        known: Mutex::default(),
    };
    for (peer, expected) in [("192.168.65.3:9", true), ("192.168.66.3:9", false), ("[::1]:9", false)] {
        assert_eq!(servers.is_served(peer.parse().unwrap()), expected, "{peer}");
    }
}

#[test]
fn attempts_share_the_time() {
    for (number, attempts, millis) in [(1, 2, 2000), (2, 2, 4000), (1, 3, 1333), (3, 3, 4000)] {
        assert_eq!(share(number, attempts).as_millis(), millis, "{number} of {attempts}");
    }
}
