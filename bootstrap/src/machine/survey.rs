//! Looks for everything that an instance needs.

use std::path::{Path, PathBuf};

use rustix::mount::{FsOpenFlags, fsopen};

use super::{apt, probe};
use crate::command;
use crate::containerd::version::Version;
use crate::error::{Error, Result};
use crate::network::cni;

/// Programs that must be in the search path, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 5] = [
    ("containerd-shim-runc-v2", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    // Used by the plug-in `portmap`.
    ("iptables", "iptables"),
];

/// One thing that is needed, and whether it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) what: String,
    /// Where it is, or what is wrong.
    pub(crate) seen: Result<String, String>,
    /// What mends it.
    pub(crate) remedy: Remedy,
}

/// How a thing that is missing is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// By installing this package, as Debian calls it.
    Package(&'static str),
    /// In words.
    Words(&'static str),
}

impl Finding {
    pub(crate) const fn is_missing(&self) -> bool {
        self.seen.is_err()
    }

    /// Returns what the user can type or do.
    pub(crate) fn advice(&self) -> String {
        match self.remedy {
            Remedy::Package(package) if apt::is_there() => apt::command_line(&[package]),
            Remedy::Package(package) => format!("install {package} (its name in Debian)"),
            Remedy::Words(words) => words.to_owned(),
        }
    }
}

/// Looks for everything. The kernel is only asked what it can do where the programs for that are there.
pub(crate) async fn survey() -> Vec<Finding> {
    let mut findings = vec![containerd_finding().await];
    findings.extend(PROGRAMS.map(program_finding));
    findings.push(plugins_finding());
    findings.push(shimd_finding());
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map(|_| "in the kernel".to_owned());
    findings.push(kernel_finding("overlayfs", overlay.map_err(|error| error.to_string())));
    let programs_are_there = PROGRAMS.iter().all(|(name, _)| command::find(name).is_some());
    if programs_are_there && rustix::process::geteuid().is_root() {
        findings.extend(probed().await);
    }
    findings
}

/// Returns the packages that mend what a package mends.
pub(crate) fn packages(findings: &[Finding]) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for finding in findings.iter().filter(|finding| finding.is_missing()) {
        if let Remedy::Package(package) = finding.remedy
            && !packages.contains(&package)
        {
            packages.push(package);
        }
    }
    packages
}

/// Returns the error that says what is missing and what mends it, if anything is.
pub(crate) fn lacking(findings: &[Finding]) -> Option<Error> {
    let missing: Vec<&Finding> = findings.iter().filter(|finding| finding.is_missing()).collect();
    let describe = |finding: &&Finding| {
        format!("{}: {}", finding.what, finding.seen.as_ref().err().map_or("missing", String::as_str))
    };
    let packages = packages(findings);
    let mut remedies: Vec<String> = Vec::new();
    if !packages.is_empty() {
        remedies.push(if apt::is_there() {
            apt::command_line(&packages)
        } else {
            format!("install these, which Debian calls {}", packages.join(" "))
        });
    }
    remedies.extend(missing.iter().filter(|f| matches!(f.remedy, Remedy::Words(_))).map(|f| f.advice()));
    remedies.dedup();
    (!missing.is_empty()).then(|| Error::Lacking {
        missing: missing.iter().map(describe).collect(),
        remedy: remedies.join("; "),
    })
}

/// Finds the containerd that is used, and its version.
///
/// # Errors
/// There is none, or an old one.
pub(crate) async fn containerd() -> Result<(PathBuf, Version), String> {
    let program = command::find("containerd").ok_or("not in PATH")?;
    let said = command::containerd_version(&program).await.map_err(|error| error.to_string())?;
    match Version::parse(&said) {
        None => Err(format!("{} says of its version {:?}", program.display(), said.trim())),
        Some(version) if version < Version::OLDEST => {
            Err(format!("{} is version {version}; {} or newer is needed", program.display(), Version::OLDEST))
        }
        Some(version) => Ok((program, version)),
    }
}

async fn containerd_finding() -> Finding {
    let is_there = command::find("containerd").is_some();
    let seen = containerd().await.map(|(program, version)| format!("{version} ({})", program.display()));
    let newer = "put a containerd of version 1.6 or newer first in PATH: the distribution's backports, or https://github.com/containerd/containerd/releases";
    Finding {
        what: "containerd".into(),
        seen,
        remedy: if is_there { Remedy::Words(newer) } else { Remedy::Package("containerd") },
    }
}

fn program_finding((name, package): (&'static str, &'static str)) -> Finding {
    let found = command::find(name).map(|path| path.display().to_string());
    Finding { what: name.into(), seen: found.ok_or("not in PATH".into()), remedy: Remedy::Package(package) }
}

fn plugins_finding() -> Finding {
    let found = cni::plugin_dir(Path::is_file).map(|dir| dir.display().to_string());
    let problem =
        || format!("{} are not together in one of {}", cni::PLUGINS.join(", "), cni::PLUGIN_DIRS.join(", "));
    Finding {
        what: "CNI plug-ins".into(),
        seen: found.ok_or_else(problem),
        remedy: Remedy::Package("containernetworking-plugins"),
    }
}

/// Returns the path of the daemon, which stands beside this program.
pub(crate) fn shimd() -> Result<PathBuf> {
    Ok(command::own_program()?.with_file_name("shimd"))
}

/// Returns the path of the controllers' program, which stands there too.
pub(crate) fn controllers() -> Result<PathBuf> {
    Ok(command::own_program()?.with_file_name("controllers"))
}

fn shimd_finding() -> Finding {
    let seen = match shimd() {
        Ok(path) if path.is_file() => Ok(path.display().to_string()),
        Ok(path) => Err(format!("{} is not there", path.display())),
        Err(error) => Err(error.to_string()),
    };
    Finding { what: "shimd".into(), seen, remedy: Remedy::Words("put shimd into the directory of bootstrap") }
}

fn kernel_finding(what: &str, seen: Result<String, String>) -> Finding {
    Finding { what: what.into(), seen, remedy: Remedy::Words("use a kernel that has this") }
}

async fn probed() -> Vec<Finding> {
    match command::probe().await {
        Err(error) => vec![kernel_finding("network namespaces", Err(error.to_string()))],
        Ok(report) => {
            let seen =
                |problem: Option<&str>| problem.map_or(Ok("in the kernel".to_owned()), |p| Err(p.to_owned()));
            probe::read(&report)
                .into_iter()
                .map(|(what, problem)| kernel_finding(what, seen(problem)))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(what: &str, problem: Option<&str>, remedy: Remedy) -> Finding {
        let seen = problem.map_or(Ok("here".to_owned()), |problem| Err(problem.to_owned()));
        Finding { what: what.into(), seen, remedy }
    }

    #[test]
    fn all_that_is_missing_is_said_at_once() {
        let findings = [
            finding("containerd", Some("not in PATH"), Remedy::Package("containerd")),
            finding("containerd-shim-runc-v2", Some("not in PATH"), Remedy::Package("containerd")),
            finding("runc", None, Remedy::Package("runc")),
            finding("nft", Some("not in PATH"), Remedy::Package("nftables")),
            finding("veth", Some("no"), Remedy::Words("use a kernel that has this")),
            finding("bridge", Some("no"), Remedy::Words("use a kernel that has this")),
        ];
        assert_eq!(packages(&findings), ["containerd", "nftables"]);
        let error = lacking(&findings).unwrap();
        assert_eq!(
            error.to_string(),
            "this machine lacks containerd: not in PATH; containerd-shim-runc-v2: not in PATH; nft: not in PATH; veth: no; bridge: no"
        );
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("containerd nftables") && hint.ends_with("; use a kernel that has this"),
            "{hint}"
        );
        assert!(lacking(&findings[2..3]).is_none());
    }
}
