//! Makes, fills, empties and removes the subtree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, sleep};

use super::GROUPS;
use super::first::Members;
use super::hierarchy::{self, Hierarchy};
use crate::error::{Error, IoContext, Result};
use crate::files;

/// How deep groups of pods and builds may nest: a kubelet makes three levels, a container its own.
const MAX_DEPTH: usize = 32;
/// How often a group is looked at while its processes end.
const POLL: Duration = Duration::from_millis(20);
/// How long killed processes may take to leave: they may have gigabytes to free.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// The subtree of one instance.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    name: String,
    hierarchies: Vec<Hierarchy>,
}

impl Tree {
    /// Finds the hierarchies of the machine.
    ///
    /// # Errors
    /// It has none.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let hierarchies = hierarchy::parse(&files::read("/proc/self/mountinfo")?);
        if hierarchies.is_empty() {
            return Err(Error::Lacking {
                missing: vec!["cgroups: no hierarchy is mounted".into()],
                remedy: "mount -t cgroup2 cgroup2 /sys/fs/cgroup".into(),
            });
        }
        Ok(Self { name: name.to_owned(), hierarchies })
    }

    /// Returns the path of a group as containerd and shimd know it.
    pub(crate) fn path(&self, group: &str) -> String {
        format!("/{}/{group}", self.name)
    }

    /// Tells whether every group is there.
    pub(crate) fn exists(&self) -> bool {
        self.groups().all(|group| group.is_dir())
    }

    fn groups(&self) -> impl Iterator<Item = PathBuf> {
        let below = |h: &Hierarchy| {
            let top = h.mount_point.join(&self.name);
            GROUPS.map(|group| top.join(group))
        };
        self.hierarchies.iter().flat_map(below)
    }

    /// Makes every group that is missing.
    pub(crate) fn ensure(&self) -> Result<()> {
        for hierarchy in &self.hierarchies {
            let top = hierarchy.mount_point.join(&self.name);
            make(hierarchy, &top)?;
            for group in GROUPS {
                make(hierarchy, &top.join(group))?;
            }
        }
        Ok(())
    }

    /// Moves this process into a group. What it starts later is there too.
    pub(crate) fn join(&self, group: &str) -> Result<()> {
        let top = |h: &Hierarchy| h.mount_point.join(&self.name).join(group);
        self.hierarchies.iter().try_for_each(|hierarchy| enter(&top(hierarchy)))
    }

    /// Moves this process back to where it came from, or to the top where that does not exist any more.
    pub(crate) fn leave(&self, origin: &[PathBuf]) -> Result<()> {
        for hierarchy in &self.hierarchies {
            let own = hierarchy.mount_point.join(&self.name);
            let back = origin
                .iter()
                .find(|group| group.starts_with(&hierarchy.mount_point) && !group.starts_with(&own));
            let left = back.map(|group| enter(group));
            if !matches!(left, Some(Ok(()))) {
                enter(&hierarchy.mount_point)?;
            }
        }
        Ok(())
    }

    /// Lists the processes of some groups and of all below them.
    pub(crate) fn processes(&self, groups: &[&str]) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            for group in groups {
                collect(&hierarchy.mount_point.join(&self.name).join(group), MAX_DEPTH, &mut found);
            }
        }
        found
    }

    /// Lists the processes of all groups.
    pub(crate) fn all_processes(&self) -> BTreeSet<u32> {
        self.processes(&[""])
    }

    /// Sends a signal to processes that are in the subtree, proven for each one after it cannot be another one any more.
    fn signal(&self, processes: &BTreeSet<u32>, signal: Signal) {
        for number in processes {
            let pid = i32::try_from(*number).ok().and_then(Pid::from_raw);
            let Some(Ok(pidfd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else { continue };
            let cgroup = files::read(format!("/proc/{number}/cgroup")).unwrap_or_default();
            if hierarchy::is_member(&cgroup, &self.name)
                && let Err(error) = pidfd_send_signal(&pidfd, signal)
                && error != Errno::SRCH
            {
                tracing::warn!(pid = number, ?signal, %error, "cannot send a signal");
            }
        }
    }

    /// Ends the processes of some groups: SIGTERM, then SIGKILL for those that are there after `grace`. Sandboxes that others cannot
    /// live without are asked last. This process is spared.
    ///
    /// # Errors
    /// Some processes do not end: the kernel keeps them.
    pub(crate) async fn end(&self, groups: &[&str], grace: Duration) -> Result<()> {
        let others = || {
            let mut found = self.processes(groups);
            found.remove(&std::process::id());
            found
        };
        let started = Instant::now();
        let (mut asked, mut members) = (BTreeSet::new(), Members::default());
        let mut left = others();
        while !left.is_empty() && started.elapsed() < grace {
            // What was started in the meantime is asked too.
            let needed = members.needed(&left);
            let next: BTreeSet<u32> =
                left.difference(&asked).copied().filter(|pid| !needed.contains(pid)).collect();
            self.signal(&next, Signal::TERM);
            asked.extend(&next);
            sleep(POLL).await;
            left = others();
        }
        let started = Instant::now();
        while !left.is_empty() {
            if started.elapsed() > KILL_LIMIT {
                let seen = left.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                let awaited = format!("the killed processes of {} to end", self.path(&groups.join(", ")));
                return Err(Error::Timeout { awaited, seen: format!("processes {seen}"), limit: KILL_LIMIT });
            }
            self.signal(&left, Signal::KILL);
            sleep(POLL).await;
            left = others();
        }
        Ok(())
    }

    /// Removes a group with all below it, which must be empty of processes.
    pub(crate) async fn remove(&self, group: &str) -> Result<()> {
        let started = Instant::now();
        for hierarchy in &self.hierarchies {
            let top = hierarchy.mount_point.join(&self.name).join(group);
            // Ended processes leave their cgroups a moment later than they end.
            while let Err(error) = remove(&top, MAX_DEPTH) {
                if started.elapsed() > KILL_LIMIT {
                    return Err(error);
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }
}

/// Returns the groups that this process is in.
pub(crate) fn own_groups() -> Result<Vec<PathBuf>> {
    Ok(hierarchy::groups_of(&files::read("/proc/self/cgroup")?, &files::read("/proc/self/mountinfo")?))
}

fn make(hierarchy: &Hierarchy, group: &Path) -> Result<()> {
    files::ensure_directory(group, 0o755)?;
    if !hierarchy.is_cpuset {
        return Ok(());
    }
    let parent = group.parent().unwrap_or(group);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if files::read(group.join(file))?.trim().is_empty() {
            files::set(&group.join(file), files::read(parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

fn enter(group: &Path) -> Result<()> {
    // Zero is the process that writes, whatever its number is called here.
    files::set(&group.join("cgroup.procs"), "0")
}

fn subdirectories(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(group) else { return Vec::new() };
    entries
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn collect(group: &Path, depth: usize, found: &mut BTreeSet<u32>) {
    // A group that vanished meanwhile has no processes.
    let processes = files::read(group.join("cgroup.procs")).unwrap_or_default();
    // Zero is a process that has no number here; it is not ours.
    found.extend(processes.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
    if depth > 0 {
        subdirectories(group).iter().for_each(|below| collect(below, depth - 1, found));
    }
}

fn remove(group: &Path, depth: usize) -> Result<()> {
    if depth > 0 {
        subdirectories(group).iter().try_for_each(|below| remove(below, depth - 1))?;
    }
    match std::fs::remove_dir(group) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", group),
        _ => Ok(()),
    }
}
