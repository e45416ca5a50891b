//! How a snapshot is mounted: the arguments of mount(2), for containerd to use.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::{Gid, Uid, getegid, geteuid};

use super::{Kind, Labels};
use crate::error::{IoContext, Result};

/// How users of a container are mapped to users of the machine: `0:HOST:LENGTH`.
const LABEL_UID_MAPPING: &str = "containerd.io/snapshot/uidmapping";
const LABEL_GID_MAPPING: &str = "containerd.io/snapshot/gidmapping";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `overlay` or `bind`.
    pub kind: &'static str,
    /// The device argument: a directory for `bind`.
    pub source: String,
    /// The options, one by one.
    pub options: Vec<String>,
}

/// Returns how to mount a snapshot whose own directory is `directory`, on top of `lower` (top first).
pub(super) fn of(kind: Kind, directory: &Path, lower: &[PathBuf], labels: &Labels) -> Vec<Mount> {
    let own = directory.join("u");
    let mount = match (kind, lower) {
        (Kind::View, []) => bind(&own, "ro"),
        (Kind::View, [only]) => bind(only, "ro"),
        (_, []) => bind(&own, "rw"),
        (Kind::View, _) => overlay(None, lower, labels),
        _ => overlay(Some(directory), lower, labels),
    };
    vec![mount]
}

fn bind(directory: &Path, mode: &str) -> Mount {
    Mount {
        kind: "bind",
        source: directory.display().to_string(),
        options: vec![mode.to_owned(), "rbind".to_owned()],
    }
}

fn overlay(upper: Option<&Path>, lower: &[PathBuf], labels: &Labels) -> Mount {
    // Without the index, hard links of lower layers break apart when one is written, as images have always assumed.
    let mut options = vec!["index=off".to_owned()];
    for (label, option) in [(LABEL_UID_MAPPING, "uidmap"), (LABEL_GID_MAPPING, "gidmap")] {
        if let Some(mapping) = labels.get(label) {
            options.push(format!("{option}={mapping}"));
        }
    }
    if let Some(directory) = upper {
        options.push(format!("workdir={}", directory.join("w").display()));
        options.push(format!("upperdir={}", directory.join("u").display()));
    }
    let lower: Vec<_> = lower.iter().map(|path| path.display().to_string()).collect();
    options.push(format!("lowerdir={}", lower.join(":")));
    Mount { kind: "overlay", source: "overlay".into(), options }
}

/// Gives the new upper directory the owner and mode of the root below it, and the owner that a user namespace makes
/// of that one: overlayfs shows the upper directory as the root. Where nothing is
/// below, it is root's (or the user's who runs the store without being root, which can make no other).
pub(super) fn prepare_upper(upper: &Path, below: Option<&Path>, labels: &Labels) -> Result<()> {
    let (mut uid, mut gid, mut mode) = (0, 0, 0o755);
    if !geteuid().is_root() {
        (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    }
    if let Some(below) = below {
        let stat = rustix::fs::stat(below).at("inspect", below)?;
        (uid, gid, mode) = (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777);
    }
    uid = mapped(labels.get(LABEL_UID_MAPPING), uid);
    gid = mapped(labels.get(LABEL_GID_MAPPING), gid);
    let own = rustix::fs::stat(upper).at("inspect", upper)?;
    if (own.st_uid, own.st_gid) != (uid, gid) {
        rustix::fs::chown(upper, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .at("change owner of", upper)?;
    }
    rustix::fs::chmod(upper, Mode::from_raw_mode(mode)).at("change mode of", upper)
}

/// Maps an ID by `CONTAINER:HOST:LENGTH[,…]`; one outside every range stays.
fn mapped(mapping: Option<&String>, id: u32) -> u32 {
    let ranges = mapping.map(String::as_str).unwrap_or_default().split(',');
    ranges
        .filter_map(|range| {
            let mut numbers = range.split(':').map(str::parse::<u32>);
            let mut next = || numbers.next()?.ok();
            let (inside, outside, length) = (next()?, next()?, next()?);
            let offset = id.checked_sub(inside).filter(|&offset| offset < length)?;
            outside.checked_add(offset)
        })
        .next()
        .unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(mounts: &[Mount]) -> (&str, &str, String) {
        (mounts[0].kind, &mounts[0].source, mounts[0].options.join(","))
    }

    #[test]
    fn mounts_are_those_of_overlayfs() {
        let lower = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let labels = Labels::new();
        for (kind, below, expected) in [
            (Kind::Active, &[][..], ("bind", "/s/1/u", "rw,rbind")),
            (Kind::View, &[], ("bind", "/s/1/u", "ro,rbind")),
            (Kind::View, &["/l/1/d"], ("bind", "/l/1/d", "ro,rbind")),
            (Kind::View, &["/l/2/d", "/l/1/d"], ("overlay", "overlay", "index=off,lowerdir=/l/2/d:/l/1/d")),
            (
                Kind::Active,
                &["/l/1/d"],
                ("overlay", "overlay", "index=off,workdir=/s/1/w,upperdir=/s/1/u,lowerdir=/l/1/d"),
            ),
        ] {
            let mounts = of(kind, Path::new("/s/1"), &lower(below), &labels);
            let (kind, source, options) = options(&mounts);
            assert_eq!((kind, source, options.as_str()), expected);
        }
    }

    #[test]
    fn user_namespaces_are_mapped() {
        let labels = Labels::from([
            (LABEL_UID_MAPPING.to_owned(), "0:100000:65536".to_owned()),
            (LABEL_GID_MAPPING.to_owned(), "0:200000:65536".to_owned()),
        ]);
        let mounts = of(Kind::Active, Path::new("/s/1"), &[PathBuf::from("/l/1/d")], &labels);
        assert_eq!(mounts[0].options[1..3], ["uidmap=0:100000:65536", "gidmap=0:200000:65536"]);
        for (mapping, id, expected) in [
            (Some("0:100000:65536"), 5, 100_005),
            (Some("0:100000:65536"), 70_000, 70_000),
            (Some("0:1:1,1:100:10"), 3, 102),
            (Some("x:1:1"), 0, 0),
            (Some("0:4294967295:2"), 1, 1),
            (None, 7, 7),
        ] {
            assert_eq!(mapped(mapping.map(str::to_owned).as_ref(), id), expected);
        }
    }
}
