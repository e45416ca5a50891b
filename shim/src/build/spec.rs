//! The OCI runtime specification of a build step, as BuildKit's executor writes it.

use std::path::Path;

use builder::Process;
use serde_json::{Value, json};

use super::seccomp;

/// What a step's hostname is, as in BuildKit.
pub(super) const HOSTNAME: &str = "buildkitsandbox";

/// What containers may do by default.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Devices that are in every container: type, major, minor.
const DEVICES: [(&str, Option<i64>, Option<i64>); 10] = [
    ("c", Some(1), Some(3)),
    ("c", Some(1), Some(8)),
    ("c", Some(1), Some(7)),
    ("c", Some(5), Some(0)),
    ("c", Some(1), Some(5)),
    ("c", Some(1), Some(9)),
    ("c", Some(5), Some(1)),
    ("c", Some(136), None),
    ("c", Some(5), Some(2)),
    ("c", Some(10), Some(200)),
];

/// Files that are mounted into every step.
pub(super) struct Files<'a> {
    pub(super) resolv_conf: &'a Path,
    pub(super) hosts: &'a Path,
}

/// Writes the specification. The network is the machine's.
pub(super) fn specification(process: &Process, cgroup: &str, files: &Files<'_>, has_cgroup2: bool) -> Value {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    if has_cgroup2 {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    let mut groups = vec![process.user.gid];
    groups.extend(process.user.additional_gids.iter().filter(|gid| **gid != process.user.gid));
    json!({
        "ociVersion": "1.0.2",
        "hostname": HOSTNAME,
        "root": { "path": process.root },
        "process": {
            "user": { "uid": process.user.uid, "gid": process.user.gid, "additionalGids": groups },
            "args": process.args,
            "env": process.env,
            "cwd": process.cwd,
            "capabilities": { "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES },
        },
        "mounts": mounts(files),
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": namespaces,
            "resources": { "devices": devices() },
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READONLY_PATHS,
            "seccomp": seccomp::profile(),
        },
    })
}

fn mounts(files: &Files<'_>) -> Vec<Value> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let file = |destination: &str, source: &Path| {
        let options = ["nosuid", "noexec", "nodev", "rbind", "ro"];
        json!({ "destination": destination, "type": "bind", "source": source, "options": options })
    };
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        file("/etc/resolv.conf", files.resolv_conf),
        file("/etc/hosts", files.hosts),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
    ]
}

/// Everything may be made, but only the usual devices may be used.
fn devices() -> Vec<Value> {
    let make = |kind: &str| json!({ "allow": true, "type": kind, "access": "m" });
    let mut rules = vec![json!({ "allow": false, "access": "rwm" }), make("c"), make("b")];
    rules.extend(DEVICES.iter().map(|(kind, major, minor)| {
        let mut rule = json!({ "allow": true, "type": kind, "access": "rwm" });
        if let Some(major) = major {
            rule["major"] = json!(major);
        }
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        rule
    }));
    rules
}

#[cfg(test)]
mod tests {
    use builder::UserIds;

    use super::*;

    #[test]
    fn a_step_is_contained_as_in_buildkit() {
        let process = Process {
            root: "/r".into(),
            args: vec!["sh".into()],
            env: vec![],
            cwd: "/w".into(),
            user: UserIds { uid: 5, gid: 6, additional_gids: vec![7, 6] },
        };
        let files = Files { resolv_conf: Path::new("/x/resolv.conf"), hosts: Path::new("/x/hosts") };
        let spec = specification(&process, "/shim/build/1", &files, false);
        assert_eq!(spec["process"]["user"]["additionalGids"], json!([6, 7]));
        assert!(spec["process"].get("rlimits").is_none() && spec["process"].get("oomScoreAdj").is_none());
        assert!(!spec["linux"]["namespaces"].to_string().contains("network"));
        assert!(spec["mounts"].as_array().unwrap().iter().all(|mount| mount["destination"] != "/run"));
        assert!(!spec["process"]["capabilities"].to_string().contains("CAP_SYS_ADMIN"));
        let with_cgroup2 = specification(&process, "/c", &files, true);
        assert!(with_cgroup2["linux"]["namespaces"].to_string().contains("cgroup"));
    }
}
