//! Which cgroup hierarchies this machine has (pure).

use std::path::{Path, PathBuf};

/// One mounted hierarchy: one of cgroup v1's several, or cgroup v2's one. Hybrid machines have both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) mount_point: PathBuf,
    /// Whether groups need processors and memory nodes before a process can enter them: cgroup v1's cpuset.
    pub(crate) is_cpuset: bool,
}

/// Finds the hierarchies in the text of `/proc/self/mountinfo`. One that is mounted several times is taken once, where it was
/// mounted first and whole.
pub(crate) fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<(&str, &str, Hierarchy)> = Vec::new();
    for line in mountinfo.lines() {
        let Some((device, root, hierarchy)) = parse_line(line) else { continue };
        // A later mount hides an earlier one in the same place.
        found.retain(|(_, _, other)| other.mount_point != hierarchy.mount_point);
        match found.iter_mut().find(|(other, _, _)| *other == device) {
            Some(known) if known.1 != "/" && root == "/" => *known = (device, root, hierarchy),
            Some(_) => {}
            None => found.push((device, root, hierarchy)),
        }
    }
    found.into_iter().map(|(_, _, hierarchy)| hierarchy).collect()
}

/// Reads `36 31 0:34 / /sys/fs/cgroup/freezer rw,relatime shared:1 - cgroup cgroup rw,freezer`; see proc(5).
fn parse_line(line: &str) -> Option<(&str, &str, Hierarchy)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let (device, root, mount_point) = (left.next()?, left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, options) = (right.next()?, right.nth(1)?);
    let is_v1 = match kind {
        "cgroup" => true,
        "cgroup2" => false,
        _ => return None,
    };
    let is_cpuset = is_v1 && options.split(',').any(|option| option == "cpuset");
    Some((device, root, Hierarchy { mount_point: unescape(mount_point), is_cpuset }))
}

/// Undoes the octal escapes of white space and backslashes.
fn unescape(text: &str) -> PathBuf {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(code.map_or('\\', char::from));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    plain.push_str(rest);
    PathBuf::from(plain)
}

/// Tells whether a process is in the subtree of this name, by the text of its `/proc/PID/cgroup`: in any hierarchy is enough.
pub(crate) fn is_member(proc_cgroup: &str, name: &str) -> bool {
    proc_cgroup
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .any(|path| Path::new(path).strip_prefix("/").is_ok_and(|path| path.starts_with(name)))
}

/// Returns, for each hierarchy, the group that a process is in, by the text of its `/proc/PID/cgroup` and of
/// `/proc/self/mountinfo`: what it has to go back to.
pub(crate) fn groups_of(proc_cgroup: &str, mountinfo: &str) -> Vec<PathBuf> {
    let mut groups = Vec::new();
    for line in proc_cgroup.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let matches = |line: &&str| {
            let Some((_, right)) = line.split_once(" - ") else { return false };
            let mut right = right.split(' ');
            let (kind, options) = (right.next(), right.nth(1).unwrap_or_default());
            match controllers {
                "" => kind == Some("cgroup2"),
                names => {
                    kind == Some("cgroup")
                        && names.split(',').all(|name| options.split(',').any(|o| o == name))
                }
            }
        };
        let mount = mountinfo.lines().find(matches).and_then(parse_line);
        groups
            .extend(mount.map(|(_, _, hierarchy)| hierarchy.mount_point.join(path.trim_start_matches('/'))));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const UNIFIED: &str = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn points(mountinfo: &str) -> Vec<String> {
        parse(mountinfo)
            .iter()
            .map(|h| format!("{}{}", h.mount_point.display(), if h.is_cpuset { " cpuset" } else { "" }))
            .collect()
    }

    #[test]
    fn hierarchies() {
        let nested = "\
1 0 0:5 /docker/abc /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids
2 0 0:5 / /other/pids rw - cgroup cgroup rw,pids
3 0 0:5 / /third/pids rw - cgroup cgroup rw,pids
4 0 0:6 / /with\\040space rw - cgroup2 none rw
garbage
5 0 - cgroup
";
        let hidden = "\
1 0 0:5 / /sys/fs/cgroup rw - cgroup2 none rw
2 0 0:6 / /sys/fs/cgroup rw - cgroup cgroup rw,pids
";
        let rows: [(&str, &[&str]); 5] = [
            (
                HYBRID,
                &[
                    "/sys/fs/cgroup/cpu,cpuacct",
                    "/sys/fs/cgroup/cpuset cpuset",
                    "/sys/fs/cgroup/systemd",
                    "/sys/fs/cgroup/unified",
                ],
            ),
            (UNIFIED, &["/sys/fs/cgroup"]),
            (nested, &["/other/pids", "/with space"]),
            (hidden, &["/sys/fs/cgroup"]),
            ("", &[]),
        ];
        for (mountinfo, expected) in rows {
            assert_eq!(points(mountinfo), expected, "{mountinfo}");
        }
    }

    #[test]
    fn escapes() {
        for (text, plain) in [("a\\040b", "a b"), ("\\134", "\\"), ("a\\", "a\\"), ("\\9", "\\9"), ("", "")] {
            assert_eq!(unescape(text), Path::new(plain), "{text}");
        }
    }

    #[test]
    fn members() {
        for (cgroup, expected) in [
            ("8:pids:/shim/pods/x\n0::/\n", true),
            ("8:pids:/\n0::/shim\n", true),
            ("0::/shim-2/pods\n", false),
            ("0::/user.slice/shim\n", false),
            ("3:cpu:/\n", false),
            ("0::/shim/a:b\n", true),
            ("nonsense\n", false),
        ] {
            assert_eq!(is_member(cgroup, "shim"), expected, "{cgroup}");
        }
    }

    #[test]
    fn the_way_back() {
        let groups =
            groups_of("4:cpu,cpuacct:/user/a\n3:cpuset:/\n2:pids:/x\n1:name=systemd:/s\n0::/u\n", HYBRID);
        let expected = [
            "/sys/fs/cgroup/cpu,cpuacct/user/a",
            "/sys/fs/cgroup/cpuset/",
            "/sys/fs/cgroup/systemd/s",
            "/sys/fs/cgroup/unified/u",
        ];
        assert_eq!(groups, expected.map(PathBuf::from));
        assert_eq!(groups_of("0::/user.slice/x\n", UNIFIED), [PathBuf::from("/sys/fs/cgroup/user.slice/x")]);
    }
}
