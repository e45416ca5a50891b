//! Which processes have to be asked to end last: the first one of a namespace of processes takes the rest along when it ends, and
//! in a pod that shares its processes that is the sandbox's, which ends at once.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;

use crate::files;

/// How long the IDs of containers are: containerd's, in hexadecimal digits.
const ID_DIGITS: usize = 64;

/// What is known of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    /// The number of its namespace of processes.
    namespace: u64,
    is_first: bool,
    /// The container that it belongs to.
    container: String,
}

/// Processes that were looked at once.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<u32, Member>);

impl Members {
    /// Returns those of the processes that are left which other containers among them depend on.
    pub(super) fn needed(&mut self, left: &BTreeSet<u32>) -> BTreeSet<u32> {
        for pid in left {
            if !self.0.contains_key(pid) {
                self.0.extend(look(*pid).map(|member| (*pid, member)));
            }
        }
        self.0.retain(|pid, _| left.contains(pid));
        needed(&self.0)
    }
}

fn needed(members: &BTreeMap<u32, Member>) -> BTreeSet<u32> {
    let depends = |first: &Member, other: &Member| {
        other.namespace == first.namespace && other.container != first.container
    };
    let firsts = members.iter().filter(|(_, member)| member.is_first);
    firsts
        .filter(|(_, first)| members.values().any(|other| depends(first, other)))
        .map(|(pid, _)| *pid)
        .collect()
}

/// Looks at a process; `None` if it has ended.
fn look(pid: u32) -> Option<Member> {
    let namespace = std::fs::metadata(format!("/proc/{pid}/ns/pid")).ok()?.ino();
    let status = files::read(format!("/proc/{pid}/status")).ok()?;
    let cgroup = files::read(format!("/proc/{pid}/cgroup")).ok()?;
    Some(Member { namespace, is_first: is_first(&status), container: container(&cgroup).to_owned() })
}

/// Tells by the text of `/proc/PID/status` whether a process is the first of its namespace.
fn is_first(status: &str) -> bool {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.and_then(|numbers| numbers.split_whitespace().next_back()) == Some("1")
}

/// Returns the ID of a process's container by the text of its `/proc/PID/cgroup`; empty for none.
fn container(cgroup: &str) -> &str {
    let is_id = |name: &&str| name.len() == ID_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    cgroup.split(['/', '\n']).find(is_id).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_shared_namespace_waits_for_the_others() {
        let member = |pid: u32, namespace, is_first, container: &str| {
            (pid, Member { namespace, is_first, container: container.into() })
        };
        let mut members = BTreeMap::from([
            // A pod that shares its processes.
            member(1, 7, true, "sandbox"),
            member(2, 7, false, "one"),
            // A container with its own, and its sandbox with its own.
            member(3, 8, true, "web"),
            member(4, 8, false, "web"),
            member(5, 9, true, "other sandbox"),
        ]);
        assert_eq!(needed(&members), BTreeSet::from([1]));
        members.remove(&2);
        assert_eq!(needed(&members), BTreeSet::new());
    }

    #[test]
    fn texts_of_the_kernel() {
        assert!(is_first("Name:\tpause\nNSpid:\t4711\t12\t1\nVmPeak:\t1\n"));
        assert!(!is_first("NSpid:\t4711\t11\n") && !is_first(""));
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(container(&format!("3:cpu:/shim/pods/{id}/init.scope\n0::/shim/pods/x\n")), id);
        assert_eq!(container("3:cpu:/shim/pods/0123\n"), "");
        assert!(look(std::process::id()).is_some());
        assert_eq!(look(u32::MAX), None);
    }
}
