//! Pods reach the world and its names, on machines that make it hard; the world does not reach them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::containerd::Engine;
use tests::crictl::Crictl;
use tests::daemon::Daemon;
use tests::eventually;
use tests::files;
use tests::host::{Host, Options};
use tests::images::base_set;
use tests::instance::Instance;
use tests::registry::Registry;

use super::{SOON, is_as_before};

/// A look at the box, which is taken every 30 seconds, and what it may take to mend it.
const LOOK: Duration = Duration::from_secs(60);

const NAMES: &str = include_str!("names.pl");
const NAME: &str = "there.example";

/// Another machine, as the host sees it: a network namespace at the other end of a link, which knows its neighbours only.
const WORLD: &str = "ip netns add world; ip link add out type veth peer name in netns world; \
                     ip addr add 192.0.2.1/24 dev out; ip link set out up; \
                     ip -n world addr add 192.0.2.2/24 dev in; ip -n world link set in up; ip -n world link set lo up";
/// Asks for the name, and then for the page, which says who asked for it. (Debian's static busybox has a wget that crashes.)
const REACH: &str = "nslookup there.example | grep -q 'Address: 192.0.2.2' || exit 1; \
                     printf 'GET /cgi-bin/peer HTTP/1.0\\r\\n\\r\\n' | nc -w 5 192.0.2.2 8000 | tail -n 1 | grep .";

/// What ufw leaves on a machine, typed with iptables.
const UFW: &str = "iptables -A INPUT -i lo -j ACCEPT; iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; \
                   iptables -P INPUT DROP; iptables -P FORWARD DROP; iptables -A FORWARD -i docker0 -j ACCEPT";

/// A host with a world around it, a resolver on loopback, and an instance with a pod.
struct Site {
    host: Host,
    instance: Instance,
    crictl: Crictl,
    shell: String,
    names: Daemon,
    _page: Daemon,
    _registry: Registry,
}

impl Site {
    /// Makes it; the script makes it hard, before there is an instance.
    fn new(options: &Options, script: &str, engine: &Engine) -> Result<Self> {
        let host = Host::with(&Options { resolv_conf_symlink: true, ..options.clone() })?;
        host.sh(WORLD)?;
        files::put(host.dir().join("names.pl"), NAMES)?;
        let names =
            host.command("perl").arg(host.dir().join("names.pl")).args(["127.0.0.53", NAME, "192.0.2.2"]);
        let names = host.daemon("names", names)?;
        let www = host.dir().join("www");
        files::put_program(www.join("cgi-bin/peer"), "#!/bin/sh\nprintf '\\n%s\\n' \"$REMOTE_ADDR\"\n")?;
        let page = host
            .command("ip")
            .args(["netns", "exec", "world", "busybox", "httpd", "-f", "-p", "192.0.2.2:8000", "-h"])
            .arg(&www);
        let page = host.daemon("page", page)?;
        let registry = Registry::stocked(&host, &[base_set()?])?;
        host.sh(script)?;
        let instance = Instance::up(&host, engine)?;
        let crictl = instance.crictl()?;
        crictl.run(&["pull", "busybox"])?;
        let shell = crictl.run_pod("shell")?.start("shell", "busybox", &["sleep", "1000"])?;
        Ok(Self { host, instance, crictl, shell, names, _page: page, _registry: registry })
    }

    /// Asks from within the pod for a page of the world's, by its name; returns whom the world took it for.
    fn reach(&self) -> Result<String> {
        reach(&self.crictl, &self.shell)
    }

    fn is_connected(&self) -> Result<()> {
        let peer = eventually(SOON, "the world's page", || self.reach())?;
        ensure!(peer == "192.0.2.1", "the world sees {peer}");
        Ok(())
    }
}

fn reach(crictl: &Crictl, container: &str) -> Result<String> {
    crictl.run(&["exec", container, "sh", "-c", REACH])
}

/// The world's page and name are reached by the box too, names by both transports; and nothing reaches the box.
fn a_way_out_and_none_in(site: &Site) -> Result<()> {
    site.is_connected()?;
    ensure!(site.names.log()?.contains("udp"), "{}", site.names.log()?);
    let by_tcp =
        site.instance.in_box("env")?.args(["RES_OPTIONS=use-vc", "getent", "ahostsv4", NAME]).stdout()?;
    ensure!(by_tcp.starts_with("192.0.2.2"), "{by_tcp}");
    ensure!(site.names.log()?.contains("tcp"), "{}", site.names.log()?);
    let unknown = site.crictl.command(&["exec", &site.shell, "nslookup", "nowhere.example"]).output()?;
    ensure!(format!("{unknown}").contains("NXDOMAIN"), "{unknown}");
    // The world knows the way, and is not let in: neither to the box nor to what the host has for it.
    site.host.sh("ip -n world route add 192.168.65.0/24 via 192.0.2.1")?;
    for (address, port) in [("192.168.65.3", 10010), ("192.168.65.1", 53)] {
        let knock = format!("ip netns exec world busybox nc -w 2 {address} {port} </dev/null");
        let refused = site.host.command("sh").args(["-c", &knock]).output()?;
        ensure!(!refused.status.success(), "the world reaches {address}:{port}: {refused}");
    }
    // Nor does a pod reach the port where commands are run in pods.
    let stream = "nc -w 2 $(ip route | awk '/default/ { print $3 }') 10010 </dev/null";
    let refused = site.crictl.command(&["exec", &site.shell, "sh", "-c", stream]).output()?;
    ensure!(!refused.status.success(), "a pod reaches the streaming port: {refused}");
    site.host.sh("ip -n world route del 192.168.65.0/24")?;
    Ok(())
}

/// Connections that a socket in the box did not accept go to another one of the same port when it is closed: who asks for an API server
/// that is starting need not be refused.
fn who_waits_is_handed_over(site: &Site) -> Result<()> {
    let perl = "use IO::Socket::INET; alarm 10; my %port = (LocalAddr => '127.0.0.1', Listen => 8, ReusePort => 1); \
        my $early = IO::Socket::INET->new(%port) or die $!; $port{LocalPort} = $early->sockport; \
        my $client = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port{LocalPort}) or die $!; \
        my $server = IO::Socket::INET->new(%port) or die $!; close $early; \
        syswrite $client, 'hello' or die $!; my $met = $server->accept or die $!; sysread $met, my $heard, 5; print $heard";
    assert_eq!(site.instance.in_box("perl")?.args(["-e", perl]).stdout()?, "hello");
    Ok(())
}

#[test]
fn on_a_machine_that_forwards_nothing() -> Result<()> {
    let site = Site::new(&Options::default(), ":", &Engine::two()?)?;
    who_waits_is_handed_over(&site)?;
    assert_eq!(site.host.sh("cat /proc/sys/net/ipv4/ip_forward")?, "1");
    a_way_out_and_none_in(&site)?;
    // Somebody flushes all rules and stops forwarding; nobody types anything.
    let rules = site.host.sh("nft list ruleset")?;
    site.host.sh("nft flush ruleset; echo 0 >/proc/sys/net/ipv4/ip_forward")?;
    site.instance.in_box("nft")?.args(["flush", "ruleset"]).run()?;
    eventually(LOOK, "the rules to be back", || {
        let now = site.host.sh("nft list ruleset")?;
        ensure!(now == rules, "{now}");
        Ok(())
    })?;
    site.is_connected()?;
    // Somebody removes the link.
    site.host.sh("ip link delete shim")?;
    site.instance.start()?;
    site.is_connected()?;
    site.instance.down()?;
    assert_eq!(site.host.sh("cat /proc/sys/net/ipv4/ip_forward; nft list ruleset")?, "0");
    Ok(())
}

#[test]
fn on_a_machine_with_docker_s_or_ufw_s_rules() -> Result<()> {
    let options = Options { ip_forward: true, forward_drop: true, ..Options::default() };
    let site = Site::new(&options, UFW, &Engine::debian()?)?;
    let chains = "iptables -S; nft --stateless list ruleset | grep -v -e shim";
    a_way_out_and_none_in(&site)?;
    // iptables can still read, and write, its own chains.
    let listed = site.host.sh("iptables -S FORWARD && iptables -A FORWARD -i other0 -j ACCEPT && iptables -D FORWARD -i other0 -j ACCEPT")?;
    ensure!(listed.contains("-P FORWARD DROP") && listed.contains("-A FORWARD -i shim "), "{listed}");
    // The firewall is started again, and has never heard of us; `up` sees to that at once.
    site.host.sh(&format!("nft flush ruleset; {UFW}"))?;
    let knock = ["exec", &site.shell, "nc", "-w", "2", "192.0.2.2", "8000"];
    let refused = site.crictl.command(&knock).output()?;
    ensure!(!refused.status.success(), "{refused}");
    let without = site.host.sh(chains)?;
    site.instance.start()?;
    site.is_connected()?;
    site.instance.down()?;
    assert_eq!(site.host.sh(chains)?, without);
    assert_eq!(site.host.sh("cat /proc/sys/net/ipv4/ip_forward")?, "1");
    Ok(())
}

#[test]
fn two_instances_side_by_side() -> Result<()> {
    let site = Site::new(&Options::default(), ":", &Engine::debian()?)?;
    let root = site.host.dir().join("two");
    let second = Instance::new(&site.host, &Engine::debian()?, &root);
    // What is there without the second one, with the first one's pod.
    let before = site.host.traces()?;
    files::dir(root.join("etc"))?;
    site.host.command("cp").arg("-a").arg(site.host.etc("shim/certs.d")).arg(root.join("etc")).run()?;
    second.start()?;
    let crictl = second.crictl()?;
    assert_eq!(crictl.run(&["images", "-q"])?.lines().count(), 1, "only the image of sandboxes");
    crictl.run(&["pull", "busybox"])?;
    let shell = crictl.run_pod("other")?.start("shell", "busybox", &["sleep", "1000"])?;
    assert_eq!(eventually(SOON, "the world's page", || reach(&crictl, &shell))?, "192.0.2.1");
    site.is_connected()?;
    assert_eq!(site.crictl.run(&["ps", "-q"])?.lines().count(), 1);
    // Neither is in the other's way when it goes.
    second.down()?;
    ensure!(site.host.traces()?.since(&before).is_empty(), "{:?}", site.host.traces()?.since(&before));
    site.is_connected()?;
    second.start()?;
    let shell = crictl.run_pod("again")?.start("shell", "busybox", &["sleep", "1000"])?;
    site.instance.down()?;
    assert_eq!(eventually(SOON, "the world's page", || reach(&crictl, &shell))?, "192.0.2.1");
    assert_eq!(site.host.sh("cat /proc/sys/net/ipv4/ip_forward")?, "1");
    second.down()?;
    assert_eq!(
        site.host.sh("cat /proc/sys/net/ipv4/ip_forward; nft list ruleset; ls -A /run/netns")?,
        "0\nworld"
    );
    let left = site.host.sh(
        "ip -o link show | grep shim || true; find /sys/fs/cgroup -name 'shim*'; pgrep -a bootstrap || true",
    )?;
    assert_eq!(left, "");
    Ok(())
}

#[test]
fn two_instances_at_the_same_time() -> Result<()> {
    let host = Host::new()?;
    let before = host.traces()?;
    let engine = Engine::debian()?;
    let instances = ["one", "two"].map(|name| Instance::new(&host, &engine, &host.dir().join(name)));
    let both = |words: &[&str]| -> Result<()> {
        let mut running = Vec::new();
        for (number, instance) in instances.iter().enumerate() {
            running.push(host.daemon(&format!("{}-{number}", words[0]), instance.shimctl(words)?)?);
        }
        for command in &mut running {
            let status = command.wait(SOON)?;
            ensure!(status.success(), "{status}\n{}", command.log()?);
        }
        Ok(())
    };
    for _ in 0..3 {
        both(&["up", "--no-kubernetes"])?;
        let addresses = host.sh("ip -o -4 addr show | awk '$2 ~ /^shim/ { print $4 }' | sort -u")?;
        assert_eq!(addresses.lines().count(), 2, "{addresses}");
        both(&["down"])?;
        is_as_before(&host, &before)?;
    }
    Ok(())
}

#[test]
fn a_network_that_is_taken_is_not_taken_again() -> Result<()> {
    let host = Host::new()?;
    let before = host.traces()?;
    host.sh("ip link add home type bridge; ip addr add 192.168.65.9/24 dev home; ip link set home up")?;
    let instance = Instance::new(&host, &Engine::debian()?, tests::instance::DEFAULT_ROOT.as_ref());
    let failed = instance.shimctl(&["up", "--no-kubernetes"])?.fails_with(1)?;
    for word in ["192.168.65.0/24", "home", "bootstrap.toml"] {
        ensure!(failed.stderr.contains(word), "{word} is missing in {failed}");
    }
    files::put(host.etc("shim/bootstrap.toml"), "[network]\nsubnet = \"192.168.80.0/24\"\n")?;
    instance.start()?;
    let address = instance.in_box("ip")?.args(["-br", "addr", "show", "eth0"]).stdout()?;
    ensure!(address.contains("192.168.80.3/24"), "{address}");
    instance.down()?;
    host.sh("ip link delete home; rm -r /etc/shim").context("tidy up")?;
    is_as_before(&host, &before)
}
