//! The machine knows the API server by its name: a line of `/etc/hosts`, of the default instance only.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::files;
use crate::network::hosts;
use crate::node::Node;

const HOSTS: &str = "/etc/hosts";
/// The largest file that is changed: lists of blocked names have hundreds of thousands of lines.
const MAX_HOSTS_BYTES: u64 = 64 << 20;

/// Tells whether the name is somebody else's, so that it can be said before anything is changed.
///
/// # Errors
/// It is; with the line.
pub(crate) fn conflict(node: &Node) -> Result<()> {
    match hosts::conflict(&read(HOSTS.as_ref())?).filter(|_| node.paths.is_default()) {
        None => Ok(()),
        Some(line) => Err(Error::Conflict {
            subject: hosts::NAME.into(),
            problem: format!("has another address by {HOSTS}: {line:?}"),
            remedy: format!("remove that line from {HOSTS}, which another program may have put there"),
        }),
    }
}

pub(crate) fn check(node: &Node) -> Result<bool> {
    Ok(!node.paths.is_default() || hosts::with_line(&read(HOSTS.as_ref())?).is_none())
}

pub(crate) fn apply(node: &Node) -> Result<()> {
    conflict(node)?;
    if node.paths.is_default()
        && let Some(text) = hosts::with_line(&read(HOSTS.as_ref())?)
    {
        write(HOSTS.as_ref(), &text)?;
        fault::point("the name of the API server is in the machine's list");
    }
    Ok(())
}

pub(crate) fn undo(node: &Node) -> Result<()> {
    match hosts::without_line(&read(HOSTS.as_ref())?).filter(|_| node.paths.is_default()) {
        None => Ok(()),
        Some(text) => write(HOSTS.as_ref(), &text),
    }
}

/// Reads the file as it is; without one it is empty.
fn read(path: &Path) -> Result<Vec<u8>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        found if found.as_ref().is_ok_and(|metadata| metadata.len() > MAX_HOSTS_BYTES) => {
            Err(Error::invalid(path.display().to_string(), format!("is larger than {MAX_HOSTS_BYTES} bytes")))
        }
        _ => std::fs::read(path).at("read", path),
    }
}

/// Replaces the content of a file that is somebody else's, which keeps its owner and mode. Links are followed. A file that is
/// mounted, as in containers, cannot be replaced, and is written over.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    let target = match std::fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_path_buf(),
        found => found.at("follow", path)?,
    };
    let (mode, owner) = match std::fs::metadata(&target) {
        Err(error) if error.kind() == ErrorKind::NotFound => (0o644, None),
        found => {
            let found = found.at("examine", &target)?;
            (found.permissions().mode() & 0o7777, Some((found.uid(), found.gid())))
        }
    };
    match replace(&target, content, mode, owner) {
        Err(Error::Io { source, .. }) if is_fixed(&source) => over(&target, content),
        replaced => replaced,
    }
}

/// Tells whether a file cannot get another's place: it is mounted, or nothing can be made beside it.
fn is_fixed(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ResourceBusy
            | ErrorKind::CrossesDevices
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::PermissionDenied
    )
}

fn replace(target: &Path, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(".shim");
    let temporary = target.with_file_name(name);
    files::put(&temporary, content, 0o600)?;
    let dressed = || -> std::io::Result<()> {
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&temporary, Some(user), Some(group))?;
        }
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode))
    };
    let renamed =
        dressed().at("set the owner of", &temporary).and_then(|()| files::rename(&temporary, target));
    if renamed.is_err() {
        files::remove(&temporary)?;
    }
    renamed
}

/// Writes over a file, and cuts off what is left of it only then.
fn over(target: &Path, content: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new().write(true).open(target).at("open", target)?;
    let written = file.write_all(content).and_then(|()| file.set_len(content.len() as u64));
    written.and_then(|()| file.sync_all()).at("write", target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_mode_and_its_links() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("real"), directory.path().join("hosts"));
        files::put(&target, b"one\n", 0o600).unwrap();
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o664)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        write(&link, b"two\n").unwrap();
        assert!(link.is_symlink());
        assert_eq!(read(&target).unwrap(), b"two\n");
        assert_eq!(target.metadata().unwrap().permissions().mode() & 0o7777, 0o664);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
        let missing = directory.path().join("new");
        assert_eq!(read(&missing).unwrap(), b"");
        write(&missing, b"x").unwrap();
        assert_eq!(missing.metadata().unwrap().permissions().mode() & 0o7777, 0o644);
    }

    #[test]
    fn what_cannot_be_replaced_is_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        for content in [&b"longer than before\n"[..], b"x\n", b""] {
            files::put(&path, b"before\n", 0o644).unwrap();
            over(&path, content).unwrap();
            assert_eq!(read(&path).unwrap(), content);
        }
        for (kind, expected) in [(ErrorKind::ResourceBusy, true), (ErrorKind::StorageFull, false)] {
            assert_eq!(is_fixed(&kind.into()), expected);
        }
    }
}
