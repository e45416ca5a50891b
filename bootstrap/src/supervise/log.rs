//! The logs of the parts: what they print, appended to a file each, and kept at a size.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{IoContext, Result};
use crate::files;

/// How large a log may be before it becomes the old one, in place of the one before.
pub(crate) const MAX_LOG_BYTES: u64 = 16 << 20;
/// How often sizes are looked at while parts run.
pub(crate) const CHECK_PERIOD: Duration = Duration::from_secs(10);
/// How much of a log is shown with a failure.
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 12;

/// Opens a log for a process that appends to it.
pub(crate) fn open(path: &Path) -> Result<File> {
    rotate(path, MAX_LOG_BYTES)?;
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).at("open", path)
}

/// Makes a log that is too large the old one. Its writer has it open and goes on writing, so it is copied and emptied; the writer
/// appends, so that what it writes next stands at the beginning. Lines written between the two are lost.
pub(crate) fn rotate(path: &Path, limit: u64) -> Result<()> {
    let size = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata.at("examine", path)?.len(),
    };
    if size < limit {
        return Ok(());
    }
    let old = old(path);
    files::remove(&old)?;
    std::fs::copy(path, &old).at("copy", path)?;
    OpenOptions::new().write(true).open(path).and_then(|log| log.set_len(0)).at("empty", path)
}

fn old(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Returns where a log ends: what is written later is behind it.
pub(crate) fn end(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Returns the last lines of a log behind a position, or behind its beginning if it was emptied meanwhile.
pub(crate) fn tail(path: &Path, from: u64) -> Result<String> {
    let Some(mut log) = open_to_read(path)? else { return Ok(String::new()) };
    let size = log.metadata().at("examine", path)?.len();
    let from = if from > size { 0 } else { from };
    let begin = from.max(size.saturating_sub(TAIL_BYTES));
    log.seek(SeekFrom::Start(begin)).at("read", path)?;
    let mut bytes = Vec::new();
    log.take(TAIL_BYTES).read_to_end(&mut bytes).at("read", path)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<&str> = text.lines().collect();
    if begin > from && !lines.is_empty() {
        // Half a line.
        lines.remove(0);
    }
    // kubeadm says there which token lets nodes join.
    lines.retain(|line| !line.contains("Using token"));
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    Ok(lines[skipped..].join("\n"))
}

fn open_to_read(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        opened => opened.at("open", path).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_large_log_becomes_the_old_one_under_its_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        rotate(&path, 4).unwrap();
        let mut log = open(&path).unwrap();
        log.write_all(b"12345").unwrap();
        rotate(&path, 6).unwrap();
        assert_eq!(end(&path), 5);
        rotate(&path, 5).unwrap();
        log.write_all(b"new\n").unwrap();
        assert_eq!(
            (files::read(&path).unwrap(), files::read(old(&path)).unwrap()),
            ("new\n".into(), "12345".into())
        );
        rotate(&path, 4).unwrap();
        assert_eq!(files::read(old(&path)).unwrap(), "new\n");
        assert_eq!(end(&path), 0);
    }

    #[test]
    fn tails() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        assert_eq!(tail(&path, 0).unwrap(), "");
        let mut log = open(&path).unwrap();
        log.write_all(b"before\n").unwrap();
        let from = end(&path);
        log.write_all(b"one\ntwo\n").unwrap();
        assert_eq!(tail(&path, from).unwrap(), "one\ntwo");
        assert_eq!(tail(&path, 1000).unwrap(), "before\none\ntwo");
        for number in 0..2000 {
            writeln!(log, "line {number}").unwrap();
        }
        let shown = tail(&path, from).unwrap();
        assert_eq!((shown.lines().count(), shown.lines().last().unwrap()), (TAIL_LINES, "line 1999"));
        log.write_all(&[b'x'; 10_000]).unwrap();
        assert_eq!(tail(&path, from).unwrap(), "");
    }
}
