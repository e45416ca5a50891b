//! The root directory of kube-proxy's image: the programs that it tells the kernel its rules with, from Debian's packages.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::command::{self, tied};
use crate::component::cache::Draft;
use crate::error::{Error, IoContext, Result};
use crate::{fault, files};

/// What the root is made from, packages first: part of the cache's key. `base-files` has the links from `/lib` to `/usr/lib`.
pub(crate) const RECIPE: &str =
    "base-files,iptables,nftables,conntrack,ipset,kmod; iptables by nft; no devices";
/// Where the root is in an entry of the cache.
const ROOT: &str = "images/kube-proxy/root";
/// The program behind all names of iptables that use nftables.
const MULTI: &str = "xtables-nft-multi";
/// Names that Debian's maintainer scripts, which are not run, would make.
const LINKS: [&str; 6] =
    ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];
/// What does not belong into an image: devices, what is of this machine, and what only dpkg and readers want.
const REMOVED: [&str; 8] = [
    "dev",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/apt",
    "usr/share/man",
    "usr/share/lintian",
    "var/cache",
    "var/log",
];
/// The suite where the machine does not say its own.
const SUITE: &str = "stable";

/// Tells whether a file of an entry belongs to the root.
fn owns(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'))
}

/// Makes the root, unless the draft has it.
pub(crate) async fn ensure(draft: &Draft) -> Result<()> {
    let root = draft.path(ROOT);
    if draft.wrong().iter().any(|path| owns(path)) {
        files::remove_tree(&root)?;
    }
    if root.try_exists().at("examine", &root)? {
        return Ok(());
    }
    if command::find("mmdebstrap").is_none() {
        return Err(lacking());
    }
    draft.directory("images/kube-proxy")?;
    let unfinished = draft.path(&format!("{ROOT}.new"));
    files::remove_tree(&unfinished)?;
    let packages = RECIPE.split(';').next().unwrap_or(RECIPE);
    tied::mmdebstrap(packages, &suite()?, &unfinished).run(&|_| {}).await?;
    fault::point("packages of kube-proxy's root are unpacked");
    trim(&unfinished)?;
    for name in ["iptables", "ip6tables", "nft", "conntrack"] {
        let path = format!("/usr/sbin/{name}");
        tied::chroot(&unfinished, &[&path, "--version"]).run(&|_| {}).await?;
    }
    let opened = std::fs::File::open(&unfinished).at("open", &unfinished)?;
    rustix::fs::syncfs(&opened).at("sync", &unfinished)?;
    files::rename(&unfinished, &root)
}

fn trim(root: &Path) -> Result<()> {
    for name in REMOVED {
        let path = root.join(name);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => files::remove_tree(&path)?,
            _ => files::remove(&path)?,
        }
    }
    for name in LINKS {
        let path = root.join("usr/sbin").join(name);
        files::remove(&path)?;
        symlink(MULTI, &path).at("link", &path)?;
    }
    Ok(())
}

/// Returns the name of this machine's Debian or Ubuntu.
fn suite() -> Result<String> {
    let text = files::read_if_there("/etc/os-release".as_ref())?.unwrap_or_default();
    Ok(codename(&text).unwrap_or(SUITE).to_owned())
}

fn codename(os_release: &str) -> Option<&str> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let value = value.trim().trim_matches('"');
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (!value.is_empty() && !value.starts_with('-') && value.chars().all(is_name)).then_some(value)
}

/// Says what is missing to build the image.
pub(crate) fn lacking() -> Error {
    Error::Lacking {
        missing: vec!["mmdebstrap, which makes kube-proxy's image where components are built".into()],
        remedy: crate::machine::apt::command_line(&["mmdebstrap"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites() {
        for (text, expected) in [
            ("NAME=x\nVERSION_CODENAME=bookworm\n", Some("bookworm")),
            ("VERSION_CODENAME=\"noble\"", Some("noble")),
            ("VERSION_CODENAME=\nID=debian", None),
            ("VERSION_CODENAME=--help", None),
            ("VERSION_CODENAME=a b", None),
            ("", None),
        ] {
            assert_eq!(codename(text), expected, "{text}");
        }
    }

    #[test]
    fn which_files_are_the_roots() {
        assert!(owns("images/kube-proxy/root/usr/sbin/nft"));
        assert!(!owns("images/kube-proxy/Dockerfile"));
        assert!(!owns("images/kube-proxy/root.new/x"));
    }

    #[test]
    fn what_is_of_this_machine_goes_and_iptables_speaks_to_nftables() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["dev", "etc", "usr/sbin", "var/cache/apt"] {
            files::ensure_directory(&root.join(name), 0o755).unwrap();
        }
        files::put(&root.join("etc/hostname"), b"me", 0o644).unwrap();
        symlink("/run/resolv.conf", root.join("etc/resolv.conf")).unwrap();
        files::put(&root.join("etc/protocols"), b"tcp", 0o644).unwrap();
        for _ in 0..2 {
            trim(root).unwrap();
        }
        let seen = crate::component::manifest::survey(root).unwrap();
        let names: Vec<&str> = seen.keys().map(String::as_str).collect();
        assert_eq!(names[0], "etc/protocols");
        assert_eq!(names[1..].len(), LINKS.len());
        assert_eq!(std::fs::read_link(root.join("usr/sbin/iptables-save")).unwrap(), Path::new(MULTI));
    }
}
