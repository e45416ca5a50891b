//! Files that the user named for a result.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

/// A file that is there as a whole in the end, or not at all: it is written under another name and renamed.
#[derive(Debug)]
pub(crate) enum Destination {
    /// The file, and the name that it gets.
    New(NamedTempFile, PathBuf),
    /// Something that is no regular file, such as a fifo: it is written as it is.
    Existing(File, PathBuf),
}

impl Destination {
    /// Begins a file with these permissions, apart from the umask. A link is followed.
    pub(crate) fn create(path: &Path, mode: u32) -> anyhow::Result<Self> {
        let target = match path.canonicalize() {
            Ok(target) => target,
            Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
        };
        if let Ok(metadata) = target.metadata() {
            let kind = metadata.file_type();
            if kind.is_dir() {
                bail!("{} is a directory", path.display());
            }
            if kind.is_char_device() || kind.is_block_device() {
                bail!("{} is a device; write to standard output to reach it", path.display());
            }
            if !kind.is_file() {
                let file = File::options().write(true).open(&target);
                return Ok(Self::Existing(file.with_context(|| format!("open {}", path.display()))?, target));
            }
        }
        let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = dir.canonicalize().with_context(|| format!("create {}", path.display()))?;
        let file = tempfile::Builder::new()
            .prefix(".shimctl-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(&dir)
            .with_context(|| format!("create a file in {}", dir.display()))?;
        Ok(Self::New(file, target))
    }

    /// Adds bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let (written, path) = match self {
            Self::New(file, path) => (file.write_all(bytes), path),
            Self::Existing(file, path) => (file.write_all(bytes), path),
        };
        written.with_context(|| format!("write {}", path.display()))
    }

    /// Gives the file its name. Until then, nothing is there.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::New(file, path) => {
                // What is named is durable, too: the store may be pruned after a save.
                file.as_file().sync_all().with_context(|| format!("sync {}", path.display()))?;
                file.persist(&path).map(drop).with_context(|| format!("create {}", path.display()))
            }
            Self::Existing(..) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) -> anyhow::Result<()> {
        let mut file = Destination::create(path, 0o600)?;
        file.write(text.as_bytes())?;
        file.finish()
    }

    #[test]
    fn files_appear_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut file = Destination::create(&path, 0o600).unwrap();
        file.write(b"one").unwrap();
        assert!(!path.exists());
        file.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // What is given up leaves what was there, and nothing else.
        let mut file = Destination::create(&path, 0o600).unwrap();
        file.write(b"two").unwrap();
        drop(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        write(&real, "one").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write(&link, "two").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(real).unwrap(), "two");
    }

    #[test]
    fn refusals() {
        let dir = tempfile::tempdir().unwrap();
        let error = |path: &Path| format!("{:#}", write(path, "").unwrap_err());
        assert!(error(dir.path()).ends_with("is a directory"));
        assert_eq!(
            error(Path::new("/dev/null")),
            "/dev/null is a device; write to standard output to reach it"
        );
        let missing = dir.path().join("none/out");
        assert!(
            error(&missing).ends_with("none/out: No such file or directory (os error 2)"),
            "{}",
            error(&missing)
        );
    }
}
