//! Other programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program that must succeed; returns what it prints.
pub(crate) fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8");
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}; install it"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a directory.
pub(crate) fn directory(path: PathBuf) -> PathBuf {
    std::fs::create_dir_all(&path).expect("a directory");
    path
}

/// Makes an archive of what is in a directory, with GNU tar.
pub(crate) fn gnu_create(archive: &Path, tree: &Path, options: &[&str]) {
    let fixed = ["--create", "--numeric-owner", "--file"].map(OsStr::new);
    let place = [archive.as_os_str(), OsStr::new("--directory"), tree.as_os_str(), OsStr::new(".")];
    run("tar", options.iter().map(OsStr::new).chain(fixed).chain(place));
}

/// Extracts an archive with GNU tar, with all that it can restore.
pub(crate) fn gnu_extract(archive: &Path, tree: &Path) {
    let options = ["--extract", "--numeric-owner", "--same-owner", "--preserve-permissions", "--xattrs"];
    let place = [OsStr::new("--file"), archive.as_os_str(), OsStr::new("--directory"), tree.as_os_str()];
    run("tar", options.iter().map(OsStr::new).chain([OsStr::new("--xattrs-include=*")]).chain(place));
}

/// Copies everything in a directory, exactly.
pub(crate) fn copy(from: &Path, to: &Path) {
    run("cp", [OsStr::new("-a"), from.join(".").as_os_str(), to.as_os_str()]);
}

/// Copies what overlayfs shows of trees, given top first, to a new directory `place/merged`.
pub(crate) fn merge(trees: &[PathBuf], place: &Path) -> PathBuf {
    let merged = directory(place.join("merged"));
    let [mount, upper, work] = ["mount", "upper", "work"].map(|name| directory(place.join(name)));
    let lower: Vec<_> = trees.iter().map(|tree| tree.display().to_string()).collect();
    let options = format!(
        "index=off,lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        upper.display(),
        work.display()
    );
    let script = r#"mount -t overlay overlay -o "$1" "$2" && cp -a "$2/." "$3""#;
    let arguments = ["--mount", "sh", "-euc", script, "sh", &options].map(OsStr::new);
    run("unshare", arguments.into_iter().chain([mount.as_os_str(), merged.as_os_str()]));
    merged
}
