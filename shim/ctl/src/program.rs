//! The bootstrap program: where it is, and how it is run.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::Context as _;

use crate::exit::Failure;
use crate::layout::Layout;

/// The name of the program.
const NAME: &str = "bootstrap";

/// Runs `bootstrap WORD --root DIR FLAGS` with the terminal of this process.
///
/// # Errors
/// [`Failure::Reported`] with its exit code if it fails: it has said why.
pub(crate) fn bootstrap(layout: &Layout, word: &str, flags: &[&str]) -> Result<(), Failure> {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(|dir| dir.join(NAME)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = find(beside, std::env::split_paths(&path)).ok_or_else(|| {
        Failure::failed(format!("the program {NAME} is neither beside shimctl nor in PATH; both are built by: cargo build --release"))
    })?;
    let status = Command::new(&program)
        .args([word, "--root", layout.root()])
        .args(flags)
        .status()
        .with_context(|| format!("run {}", program.display()))?;
    if status.success() { Ok(()) } else { Err(Failure::Reported(code(status))) }
}

fn find(beside: Option<PathBuf>, path: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    // A relative directory in PATH would make the program depend on where the user happens to be.
    let in_path = path.filter(|dir| dir.is_absolute()).map(|dir| dir.join(NAME));
    beside.into_iter().chain(in_path).find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Returns an exit code as a shell would: that of the program, or 128 and the signal that ended it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_one_beside_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("a", 0o755), ("b", 0o644), ("c", 0o755)] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            let file = std::fs::File::create(dir.path().join(name).join(NAME)).unwrap();
            file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let at = |name: &str| dir.path().join(name);
        let found =
            |beside: &str, path: &[&str]| find(Some(at(beside).join(NAME)), path.iter().map(|name| at(name)));
        assert_eq!(found("a", &["c"]), Some(at("a").join(NAME)));
        assert_eq!(found("b", &["b", "none", "c"]), Some(at("c").join(NAME)));
        assert_eq!(found("none", &["b"]), None);
        assert_eq!(find(None, std::iter::once(PathBuf::from("."))), None);
    }

    #[test]
    fn codes() {
        let rows = [(0x0300, 3), (9, 137), (2, 130), (0xff00, 255)];
        for (raw, expected) in rows {
            assert_eq!(code(ExitStatus::from_raw(raw)), expected);
        }
    }
}
