//! Who has a port of the machine.
//!
//! The kernel lists sockets with their inode numbers (proc(5), `/proc/net/tcp`), and for each process the sockets that it has open.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::wanted::{Key, Protocol};
use crate::error::{Error, Result};
use crate::files;

/// The state of a socket that listens, as the kernel writes it. Sockets of UDP have no such state.
const LISTENING: &str = "0A";
/// The longest name of a program or a root directory in a message, in characters.
const MAX_NAME_CHARS: usize = 64;

/// A socket of somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    local: SocketAddr,
    inode: u64,
}

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The number of the socket, by which it is seen whether it still is the same one.
    pub(crate) inode: u64,
    /// The process, if it is one that can be seen.
    pub(crate) pid: Option<u32>,
    /// For people: "nginx (pid 123)".
    pub(crate) name: String,
}

/// Finds who has each of these ports at one of the addresses; `known` is what was found before.
pub(crate) fn holders(wanted: &[(Key, &[IpAddr])], known: &[Option<&Holder>]) -> Vec<Option<Holder>> {
    let (tcp, udp) = (sockets(Protocol::Tcp), sockets(Protocol::Udp));
    let inodes: Vec<Option<u64>> = wanted
        .iter()
        .map(|(key, addresses)| {
            let all = if key.protocol == Protocol::Tcp { &tcp } else { &udp };
            find(all, key.port, addresses).map(|socket| socket.inode)
        })
        .collect();
    let is_known = |number: usize, inode: Option<u64>| {
        inode.is_none()
            || known.get(number).copied().flatten().is_some_and(|holder| Some(holder.inode) == inode)
    };
    // Looking through everybody's files takes a while on a busy machine.
    let owners = if inodes.iter().enumerate().all(|(number, inode)| is_known(number, *inode)) {
        Vec::new()
    } else {
        owners(&inodes.iter().copied().flatten().collect::<Vec<u64>>())
    };
    let describe = |number: usize, inode: u64| match known.get(number).copied().flatten() {
        Some(holder) if holder.inode == inode => holder.clone(),
        _ => {
            let pid = owners.iter().find(|(owned, _)| *owned == inode).map(|(_, pid)| *pid);
            Holder { inode, pid, name: pid.map_or_else(|| "another program".into(), name) }
        }
    };
    inodes.into_iter().enumerate().map(|(number, inode)| inode.map(|inode| describe(number, inode))).collect()
}

/// Tells whether somebody else has a port of TCP at this address, so that it can be said before anything is changed.
///
/// # Errors
/// Somebody has it; with who.
pub(crate) fn check(listen: SocketAddr, remedy: &str) -> Result<()> {
    let key = Key { protocol: Protocol::Tcp, port: listen.port() };
    let holder = holders(&[(key, &[listen.ip()])], &[]).pop().flatten();
    match holder.filter(|holder| holder.pid != Some(std::process::id())) {
        None => Ok(()),
        Some(holder) => Err(conflict(listen, &holder.name, remedy)),
    }
}

/// Says that an address is somebody else's.
pub(crate) fn conflict(listen: SocketAddr, holder: &str, remedy: &str) -> Error {
    Error::Conflict {
        subject: format!("{listen} (TCP)"),
        problem: format!("is taken by {holder}"),
        remedy: remedy.to_owned(),
    }
}

fn sockets(protocol: Protocol) -> Vec<Socket> {
    let lists = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    lists.iter().flat_map(|list| listed(list, protocol)).collect()
}

/// Reads one of the kernel's lists. A machine without IPv6 lacks some, and a process that has ended all.
fn listed(list: &str, protocol: Protocol) -> Vec<Socket> {
    let text = files::read(list).unwrap_or_default();
    text.lines().filter_map(|line| parse(line, protocol)).collect()
}

/// Counts the sockets that listen at exactly this address, by a list of the kernel's for TCP.
pub(super) fn listeners(list: &str, at: SocketAddr) -> usize {
    listed(list, Protocol::Tcp).iter().filter(|socket| socket.local == at).count()
}

/// Reads a line of the kernel's list.
fn parse(line: &str, protocol: Protocol) -> Option<Socket> {
    let mut fields = line.split_whitespace();
    let local = address(fields.nth(1)?)?;
    let state = fields.nth(1)?;
    if protocol == Protocol::Tcp && state != LISTENING {
        return None;
    }
    // Queues, timer, retransmissions, user and time-out lie between.
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Socket { local, inode })
}

/// Reads an address: words of four bytes in the machine's order, in hexadecimal, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (number, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(number * 8)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

fn find(sockets: &[Socket], port: u16, addresses: &[IpAddr]) -> Option<Socket> {
    let overlaps = |socket: &&Socket| {
        let local = socket.local.ip();
        let is_same = |address: &IpAddr| {
            // A wildcard of IPv6 mostly is one of IPv4 too, and the list does not say so.
            local.is_unspecified() && (local.is_ipv6() || address.is_ipv4())
                || local.to_canonical() == *address
        };
        socket.local.port() == port && addresses.iter().any(is_same)
    };
    sockets.iter().find(overlaps).copied()
}

/// Finds the processes that have sockets open, by the sockets' numbers.
fn owners(inodes: &[u64]) -> Vec<(u64, u32)> {
    let mut found = Vec::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().filter_map(std::result::Result::ok);
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Processes end while they are looked at.
        let files = std::fs::read_dir(process.path().join("fd")).into_iter().flatten();
        for file in files.filter_map(std::result::Result::ok) {
            let Some(inode) = std::fs::read_link(file.path()).ok().as_deref().and_then(socket_number) else {
                continue;
            };
            if inodes.contains(&inode) && !found.iter().any(|(known, _)| *known == inode) {
                found.push((inode, pid));
            }
        }
        if found.len() == inodes.len() {
            break;
        }
    }
    found
}

fn socket_number(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn name(pid: u32) -> String {
    let words = files::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if let Some(root) = root_of(&words) {
        return format!("the instance in {} (pid {pid})", shown(root));
    }
    let program = files::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    match program.trim_end_matches('\n') {
        "" => format!("process {pid}"),
        program => format!("{} (pid {pid})", shown(program)),
    }
}

/// Returns the root directory of the instance whose lifecycle service has this command line.
fn root_of(words: &str) -> Option<&str> {
    let words: Vec<&str> = words.trim_end_matches('\0').split('\0').collect();
    match words[..] {
        [program, "--root", root, "serve"] if program.ends_with("/bootstrap") => Some(root),
        _ => None,
    }
}

/// Makes a name, which is of any bytes, fit for a message.
fn shown(name: &str) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    name.chars().map(plain).take(MAX_NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTEN: &str = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0";
    const V6: &str = "   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 42 1 0 100 0 0 10 0";
    const CONNECTED: &str = "   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1";
    const UDP: &str = " 1234: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 99 2 0000000000000000 0";

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_kernel() {
        let rows = [
            (LISTEN, Protocol::Tcp, Some(("127.0.0.1:8080", 4711))),
            (V6, Protocol::Tcp, Some(("[::1]:80", 42))),
            (CONNECTED, Protocol::Tcp, None),
            (UDP, Protocol::Udp, Some(("0.0.0.0:53", 99))),
            (
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
                Protocol::Udp,
                None,
            ),
            ("   0: 0100007F 0 0A", Protocol::Tcp, None),
            ("   0: 0100007:1F90 00000000:0000 0A 0 0 0 0 0 1", Protocol::Tcp, None),
            ("", Protocol::Tcp, None),
        ];
        for (line, protocol, expected) in rows {
            let expected = expected.map(|(local, inode)| Socket { local: local.parse().unwrap(), inode });
            assert_eq!(parse(line, protocol), expected, "{line}");
        }
    }

    #[test]
    fn addresses_that_overlap() {
        for (local, wanted, expected) in [
            ("127.0.0.1:80", &["127.0.0.1", "::1"][..], true),
            ("127.0.0.1:81", &["127.0.0.1"], false),
            ("127.0.0.2:80", &["127.0.0.1", "::1"], false),
            ("0.0.0.0:80", &["127.0.0.1"], true),
            ("0.0.0.0:80", &["::1"], false),
            ("[::]:80", &["127.0.0.1"], true),
            ("[::]:80", &["::1"], true),
            ("[::1]:80", &["127.0.0.1"], false),
            ("[::ffff:127.0.0.1]:80", &["127.0.0.1"], true),
            ("192.168.1.5:80", &["127.0.0.1", "::1"], false),
        ] {
            let sockets = [Socket { local: local.parse().unwrap(), inode: 1 }];
            let wanted: Vec<IpAddr> = wanted.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(find(&sockets, 80, &wanted).is_some(), expected, "{local} {wanted:?}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(root_of("/usr/bin/bootstrap\0--root\0/srv/two\0serve\0"), Some("/srv/two"));
        assert_eq!(root_of("/usr/bin/nginx\0--root\0/srv\0serve\0"), None);
        assert_eq!(root_of("/usr/bin/bootstrap\0--root\0/srv\0hold\0"), None);
        assert_eq!(root_of(""), None);
        assert_eq!(shown("a\nb\u{7f}"), "a?b?");
        assert_eq!(shown(&"x".repeat(100)).len(), MAX_NAME_CHARS);
        assert_eq!(socket_number(Path::new("socket:[12]")), Some(12));
        assert_eq!(socket_number(Path::new("pipe:[12]")), None);
    }

    #[test]
    fn our_own_sockets_are_found() {
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        let tcp = std::net::TcpListener::bind((loopback, 0)).unwrap();
        let udp = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let key = |protocol, socket: SocketAddr| Key { protocol, port: socket.port() };
        let keys =
            [key(Protocol::Tcp, tcp.local_addr().unwrap()), key(Protocol::Udp, udp.local_addr().unwrap())];
        let addresses = [loopback];
        let wanted = keys.map(|key| (key, &addresses[..]));
        let found = holders(&wanted, &[]);
        for holder in &found {
            let holder = holder.as_ref().unwrap();
            assert_eq!(holder.pid, Some(std::process::id()));
            assert!(holder.name.ends_with(&format!("(pid {})", std::process::id())), "{holder:?}");
        }
        // What is known already is not looked for again.
        let known = Holder { name: "known".into(), ..found[0].clone().unwrap() };
        let again = holders(&wanted, &[Some(&known), found[1].as_ref()]);
        assert_eq!(again[0].as_ref().unwrap().name, "known");
        drop((tcp, udp));
        assert_eq!(holders(&wanted, &[]), [None, None]);
        assert!(check((loopback, keys[0].port).into(), "").is_ok());
    }

    #[test]
    fn conflicts_name_everything() {
        let error = conflict("127.0.0.1:6443".parse().unwrap(), "nginx (pid 7)", "end it");
        assert_eq!(error.to_string(), "127.0.0.1:6443 (TCP): is taken by nginx (pid 7)");
        assert_eq!(error.hint(), Some("end it"));
    }
}
