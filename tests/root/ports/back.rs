//! From the box to the host's loopback, and to nothing else that is not its business.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Result, ensure};
use tests::containerd::Engine;
use tests::eventually;
use tests::host::{Host, Options};
use tests::images::base_set;
use tests::instance::{DEFAULT_ROOT, Instance};
use tests::network::Network;
use tests::registry::Registry;

use super::{SOON, V4, connect, hears, listen, udp};

const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 65, 254));
/// What ufw leaves on a machine, for packets to itself.
const DROPS: &str = "iptables -A INPUT -i lo -j ACCEPT; iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; \
                     iptables -P INPUT DROP; iptables -P FORWARD DROP";

/// Says who asked, to one who asks.
fn answer(listener: &TcpListener) -> Result<()> {
    let (mut stream, peer) = listener.accept()?;
    Ok(write!(stream, "{}", peer.ip())?)
}

/// Both kinds of listeners are reached by both transports, as if a program of the host had asked.
fn is_reached(outside: &Network, inside: &Network) -> Result<()> {
    for at in [V4, ANYWHERE] {
        let (listener, address) = listen(outside, at)?;
        let client = connect(inside, (HOST, address.port()).into())?;
        answer(&listener)?;
        hears(&client, b"127.0.0.1")?;
        let (server, client) = (udp(outside, at)?, udp(inside, ANYWHERE)?);
        client.connect((HOST, server.local_addr()?.port()))?;
        client.send(b"question")?;
        let mut buffer = [0; 100];
        let (length, peer) = server.recv_from(&mut buffer)?;
        assert_eq!((&buffer[..length], peer.ip()), (&b"question"[..], V4));
        server.send_to(b"answer", peer)?;
        assert_eq!(client.recv(&mut buffer)?, 6);
    }
    Ok(())
}

/// Tells whether somebody gets through to a listener of the host's loopback.
fn gets_in(network: &Network, to: SocketAddr) -> Result<bool> {
    network
        .within(|| Ok(std::net::TcpStream::connect_timeout(&to, std::time::Duration::from_secs(1)).is_ok()))
}

#[test]
fn pods_reach_the_host_by_its_name() -> Result<()> {
    let host = Host::with(&Options { forward_drop: true, ..Options::default() })?;
    let _registry = Registry::stocked(&host, &[base_set()?])?;
    host.sh(DROPS)?;
    let instance = Instance::new(&host, &Engine::debian()?, DEFAULT_ROOT.as_ref());
    instance.start()?;
    let (outside, inside) = (host.network()?, instance.network()?);
    is_reached(&outside, &inside)?;
    // By its names, from a pod.
    let crictl = instance.crictl()?;
    crictl.run(&["pull", "busybox"])?;
    let pod = crictl.run_pod("asks")?;
    let shell = pod.start("shell", "busybox", &["sleep", "1000"])?;
    for (name, address) in [
        ("host.docker.internal", "192.168.65.254"),
        ("Gateway.Docker.Internal", "192.168.65.1"),
        ("kubernetes.docker.internal", "192.168.65.3"),
    ] {
        let answer = crictl.run(&["exec", &shell, "nslookup", name])?;
        ensure!(answer.contains(&format!("Address: {address}")), "{answer}");
    }
    let (listener, address) = listen(&outside, V4)?;
    let answering = std::thread::spawn(move || answer(&listener));
    let knock = format!("nc -w 5 host.docker.internal {} </dev/null", address.port());
    assert_eq!(crictl.run(&["exec", &shell, "sh", "-c", &knock])?, "127.0.0.1");
    answering.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;

    nobody_else_gets_in(&host, &instance)?;
    // The rules are gone with the instance, those in foreign chains too.
    instance.down()?;
    let rules = host.sh("nft list ruleset")?;
    ensure!(!rules.contains("shim"), "{rules}");
    Ok(())
}

/// Makes the box send what it should not, in two ways: to loopback itself, and by another address.
const LOOPBACK_BY_LINK: &str = "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; \
    ip rule add pref 5 lookup local; ip rule del pref 0; ip rule add pref 1 to 127.0.0.0/8 lookup 77; \
    ip route add 127.0.0.0/8 via 192.168.65.1 dev eth0 src 192.168.65.3 table 77";
const ANOTHER_ADDRESS: &str = "ip addr add 192.168.65.77/24 dev eth0; \
    ip route replace 192.168.65.254 via 192.168.65.1 src 192.168.65.77";
/// Another machine, which knows the way.
const WORLD: &str = "ip netns add world; ip link add out type veth peer name in netns world; \
    ip addr add 192.0.2.1/24 dev out; ip link set out up; ip -n world addr add 192.0.2.2/24 dev in; \
    ip -n world link set in up; ip -n world route add 192.168.65.0/24 via 192.0.2.1";

/// Nobody but the box gets in, and that by no other way.
fn nobody_else_gets_in(host: &Host, instance: &Instance) -> Result<()> {
    let (outside, inside) = (host.network()?, instance.network()?);
    let (_listener, address) = listen(&outside, V4)?;
    let to = |ip: [u8; 4]| SocketAddr::from((ip, address.port()));
    let (name, loopback) = (to([192, 168, 65, 254]), to([127, 0, 0, 1]));
    host.sh(WORLD)?;
    let knock = format!("ip netns exec world busybox nc -w 1 192.168.65.254 {} </dev/null", address.port());
    let refused = host.command("sh").args(["-c", &knock]).output()?;
    ensure!(!refused.status.success(), "the world: {refused}");
    host.sh("ip netns del world")?;
    instance.in_box("sh")?.args(["-euc", LOOPBACK_BY_LINK]).run()?;
    ensure!(gets_in(&inside, name)?, "the box itself");
    ensure!(!gets_in(&inside, loopback)?, "to loopback");
    instance.in_box("sh")?.args(["-euc", ANOTHER_ADDRESS]).run()?;
    ensure!(!gets_in(&inside, name)?, "by another address");
    // It is the rules that keep it out.
    host.sh("nft flush chain inet shim guard")?;
    ensure!(gets_in(&inside, loopback)?, "without rules, to loopback");
    ensure!(gets_in(&inside, name)?, "without rules, by another address");
    Ok(())
}

#[test]
fn the_host_is_reached_again_after_somebody_flushed_its_rules() -> Result<()> {
    let host = Host::new()?;
    let instance = Instance::up(&host, &Engine::two()?)?;
    let (outside, inside) = (host.network()?, instance.network()?);
    is_reached(&outside, &inside)?;
    host.sh("nft flush ruleset; echo 0 >/proc/sys/net/ipv4/conf/shim/route_localnet")?;
    let (listener, address) = listen(&outside, V4)?;
    ensure!(!gets_in(&inside, (HOST, address.port()).into())?, "without rules");
    drop(listener);
    instance.start()?;
    eventually(SOON, "the host", || is_reached(&outside, &inside))?;
    instance.down()
}

#[test]
fn a_socket_of_datagrams_is_told_of_nobody() -> Result<()> {
    let host = Host::new()?;
    let instance = Instance::up(&host, &Engine::two()?)?;
    let inside = instance.network()?;
    let client: UdpSocket = udp(&inside, ANYWHERE)?;
    client.connect((HOST, 9))?;
    client.send(b"x")?;
    let refused = client.recv(&mut [0]).map_err(|error| error.kind());
    assert_eq!(refused, Err(std::io::ErrorKind::ConnectionRefused));
    instance.down()
}
