//! What programs leave behind on a host.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Host;

/// Each kind of trace and the shell command, run inside, that lists it: one a line.
const KINDS: [(&str, &str); 9] = [
    // The processes that list are not traces: the shell and its children.
    ("process", "ps -eo pid=,ppid=,args= | awk -v me=$$ '$1 != me && $2 != me && $1 != 1'"),
    ("mount", "awk '{ print $5, $(NF - 2) }' /proc/self/mountinfo"),
    ("cgroup", "find /sys/fs/cgroup -type d"),
    ("network namespace", "ls -A /run/netns 2>/dev/null || true"),
    ("link", "ip -o link show | awk -F': ' '{ print $2 }'"),
    ("route", "ip route show table all type unicast"),
    ("rule", "nft list ruleset"),
    ("setting", "grep -H . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding"),
    // Directories, sockets and links by name, files by content.
    (
        "file",
        "find /etc /run \"$HOME\" -printf '%p %l\\n'; find /etc /run \"$HOME\" -type f -exec cksum {} +",
    ),
];

/// Everything of a host that outlives a careless program: processes, mounts, cgroups, network, files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces(BTreeMap<&'static str, Vec<String>>);

impl Traces {
    pub(super) fn of(host: &Host) -> Result<Self> {
        let mut found = BTreeMap::new();
        for (kind, script) in KINDS {
            found.insert(kind, host.sh(script)?.lines().map(str::to_owned).collect());
        }
        Ok(Self(found))
    }

    /// Lists what is here and was not there, and, with a minus sign, what was there and is not here.
    pub fn since(&self, before: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for (kind, now) in &self.0 {
            let then = before.0.get(kind).map_or(&[][..], Vec::as_slice);
            changes.extend(lacking(then, now).map(|line| format!("{kind}: {line}")));
            changes.extend(lacking(now, then).map(|line| format!("-{kind}: {line}")));
        }
        changes
    }

    /// Lists the traces of one kind: `process`, `mount`, `cgroup`, `network namespace`, `link`, `route`, `rule`,
    /// `setting`, `file` (of `/etc`, `/run` and the home directory).
    pub fn of_kind(&self, kind: &str) -> &[String] {
        self.0.get(kind).map_or(&[], Vec::as_slice)
    }
}

fn lacking<'a>(from: &'a [String], what: &'a [String]) -> impl Iterator<Item = &'a String> {
    what.iter().filter(|line| !from.contains(line))
}
