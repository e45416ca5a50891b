//! The end of a log, and what is added to it, across rotation.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use anyhow::Context as _;

/// How much is read at once.
const BLOCK_BYTES: usize = 64 << 10;
/// How much of a line waits for its end before it is written.
const MAX_LINE_BYTES: usize = 64 << 10;

/// A log that is read from some line on. Lines get a prefix; they come whole, so that logs do not mix within a line.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    prefix: String,
    /// `None` between a rotation and the new file.
    file: Option<File>,
    offset: u64,
    /// A line whose end has not come yet.
    partial: Vec<u8>,
}

impl Tail {
    /// Reads from the beginning.
    pub(crate) fn whole(path: PathBuf, prefix: String) -> anyhow::Result<Self> {
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self { path, prefix, file: Some(file), offset: 0, partial: Vec::new() })
    }

    /// Reads the last lines.
    pub(crate) fn last(path: PathBuf, prefix: String, lines: u64) -> anyhow::Result<Self> {
        let mut tail = Self::whole(path, prefix)?;
        if let Some(file) = &mut tail.file {
            tail.offset =
                offset_of_last(file, lines).with_context(|| format!("read {}", tail.path.display()))?;
        }
        Ok(tail)
    }

    /// Writes all whole lines that are there and were not written yet.
    pub(crate) fn copy(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        self.copy_file(out)?;
        if self.was_replaced()? {
            // What was written between the last look and the rotation.
            self.copy_file(out)?;
            self.finish(out)?;
            self.file = match File::open(&self.path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error).with_context(|| format!("open {}", self.path.display())),
            };
            self.offset = 0;
            self.copy_file(out)?;
        }
        Ok(())
    }

    /// Writes the last line even if it has not ended.
    pub(crate) fn finish(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        if !self.partial.is_empty() {
            self.partial.push(b'\n');
            self.write_line(out)?;
        }
        Ok(())
    }

    /// Tells whether the path no longer leads to what is read, or the file became shorter.
    fn was_replaced(&self) -> anyhow::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        let opened = file.metadata().with_context(|| format!("stat {}", self.path.display()))?;
        match self.path.metadata() {
            Ok(named) => {
                let same = (named.dev(), named.ino()) == (opened.dev(), opened.ino());
                Ok(!same || opened.len() < self.offset)
            }
            // The new file is not there yet.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("stat {}", self.path.display())),
        }
    }

    fn copy_file(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let Some(file) = &mut self.file else { return Ok(()) };
            let read = file.seek(SeekFrom::Start(self.offset)).and_then(|_| file.read(&mut block));
            let size = read.with_context(|| format!("read {}", self.path.display()))?;
            if size == 0 {
                return Ok(());
            }
            self.offset += size as u64;
            for piece in block[..size].split_inclusive(|&byte| byte == b'\n') {
                self.partial.extend_from_slice(piece);
                if piece.ends_with(b"\n") {
                    self.write_line(out)?;
                } else if self.partial.len() >= MAX_LINE_BYTES {
                    self.finish(out)?;
                }
            }
        }
    }

    fn write_line(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        let written = out.write_all(self.prefix.as_bytes()).and_then(|()| out.write_all(&self.partial));
        self.partial.clear();
        written.context("write to standard output")
    }
}

/// Finds where the last lines begin, reading backwards.
fn offset_of_last(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    if lines == 0 {
        return Ok(end);
    }
    let last = end;
    let mut found = 0;
    let mut block = vec![0; BLOCK_BYTES];
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES as u64);
        let size = usize::try_from(end - start).map_err(std::io::Error::other)?;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..size])?;
        for (at, _) in block[..size].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + at as u64 + 1;
            // The end of the last line is not the beginning of another.
            if after < last {
                found += 1;
                if found == lines {
                    return Ok(after);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn append(path: &Path, text: &str) {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn copied(tail: &mut Tail) -> String {
        let mut out = Vec::new();
        tail.copy(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn log(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part.log");
        append(&path, text);
        (dir, path)
    }

    #[test]
    fn the_last_lines() {
        let rows = [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc\n", 9, "a\nb\nc\n"),
            ("a\nb\nc\n", 0, ""),
            ("", 3, ""),
            ("\n\n\n", 2, "\n\n"),
        ];
        for (text, lines, expected) in rows {
            let (_dir, path) = log(text);
            assert_eq!(
                copied(&mut Tail::last(path, String::new(), lines).unwrap()),
                expected,
                "{text:?} {lines}"
            );
        }
        let (_dir, path) = log("a\nb\nc");
        let mut tail = Tail::last(path, "p | ".into(), 2).unwrap();
        let mut out = Vec::new();
        tail.copy(&mut out).unwrap();
        tail.finish(&mut out).unwrap();
        assert_eq!(out, b"p | b\np | c\n");
    }

    #[test]
    fn long_logs() {
        let text: String = (0..50_000).map(|number| format!("line {number}\n")).collect();
        let (_dir, path) = log(&text);
        let shown = copied(&mut Tail::last(path.clone(), String::new(), 30_000).unwrap());
        assert_eq!(shown.lines().next(), Some("line 20000"));
        assert_eq!(shown.lines().count(), 30_000);
        assert_eq!(copied(&mut Tail::whole(path, String::new()).unwrap()), text);
    }

    #[test]
    fn endless_lines_are_cut() {
        let (_dir, path) = log(&"x".repeat(3 * MAX_LINE_BYTES));
        let mut tail = Tail::whole(path, String::new()).unwrap();
        assert_eq!(copied(&mut tail).lines().count(), 3);
        assert!(tail.partial.is_empty());
    }

    #[test]
    fn lines_are_added() {
        let (_dir, path) = log("a\n");
        let mut tail = Tail::whole(path.clone(), "p: ".into()).unwrap();
        assert_eq!(copied(&mut tail), "p: a\n");
        append(&path, "b");
        assert_eq!(copied(&mut tail), "");
        append(&path, "c\nd\n");
        assert_eq!(copied(&mut tail), "p: bc\np: d\n");
    }

    #[test]
    fn rotation() {
        let (dir, path) = log("a\n");
        let old = dir.path().join("part.log.1");
        let mut tail = Tail::whole(path.clone(), String::new()).unwrap();
        assert_eq!(copied(&mut tail), "a\n");
        append(&path, "late");
        std::os::unix::fs::symlink("part.log", dir.path().join("unrelated")).unwrap();
        rename(&path, &old);
        assert_eq!(copied(&mut tail), "");
        append(&old, "r\n");
        append(&path, "new\n");
        assert_eq!(copied(&mut tail), "later\nnew\n");
        // Truncated in place.
        File::create(&path).unwrap();
        append(&path, "x\n");
        assert_eq!(copied(&mut tail), "x\n");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(copied(&mut tail), "");
        append(&path, "y\n");
        assert_eq!(copied(&mut tail), "y\n");
    }

    /// Renames as a daemon that rotates its log does.
    fn rename(from: &Path, to: &Path) {
        rustix::fs::rename(from, to).unwrap();
    }
}
