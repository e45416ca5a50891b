//! Where everything is: every path of the store is a method here.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::fault;
use crate::error::{Error, Result};

/// The directories of an open store.
#[derive(Debug)]
pub(crate) struct Paths {
    root: PathBuf,
    next_temporary: AtomicU64,
}

/// The directories that hold layers, snapshots, kept blobs, partial downloads, what builds remember of contexts, and work
/// in progress.
const FOLDERS: [&str; 6] = ["l", "s", "b", "p", "c", "t"];

impl Paths {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf(), next_temporary: AtomicU64::new(1) }
    }

    pub(crate) fn create_folders(&self) -> Result<()> {
        for folder in FOLDERS {
            let path = self.root.join(folder);
            match fs::create_dir(&path) {
                Ok(()) => fault::point("folder made"),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", path, error)),
            }
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("meta.db")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("l")
    }

    pub(crate) fn layer(&self, id: i64) -> PathBuf {
        self.layers().join(base36(id.unsigned_abs()))
    }

    pub(crate) fn layer_tree(&self, id: i64) -> PathBuf {
        self.layer(id).join("d")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("s")
    }

    pub(crate) fn snapshot(&self, id: i64) -> PathBuf {
        self.snapshots().join(base36(id.unsigned_abs()))
    }

    pub(crate) fn kept_blobs(&self) -> PathBuf {
        self.root.join("b")
    }

    pub(crate) fn kept_blob(&self, id: i64) -> PathBuf {
        self.kept_blobs().join(base36(id.unsigned_abs()))
    }

    pub(crate) fn partials(&self) -> PathBuf {
        self.root.join("p")
    }

    pub(crate) fn contexts(&self) -> PathBuf {
        self.root.join("c")
    }

    pub(crate) fn temporaries(&self) -> PathBuf {
        self.root.join("t")
    }

    /// Returns a path in `t/` that nothing else uses.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.temporaries().join(base36(self.next_temporary.fetch_add(1, Ordering::Relaxed)))
    }
}

/// Returns the number in base 36: the shortest form that is safe in every file name.
pub(crate) fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = (number % 36) as u8;
        digits.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        number /= 36;
        if number == 0 {
            break;
        }
    }
    digits.iter().rev().map(|&digit| char::from(digit)).collect()
}

/// Reads what [`base36`] wrote; anything else is `None`.
pub(crate) fn from_base36(text: &str) -> Option<i64> {
    let number = i64::from_str_radix(text, 36).ok()?;
    (base36(number.unsigned_abs()) == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base36_round_trips() {
        for (number, text) in [(0, "0"), (35, "z"), (36, "10"), (46_655, "zzz")] {
            assert_eq!(base36(number), text);
            assert_eq!(from_base36(text), i64::try_from(number).ok());
        }
        for bad in ["", "-1", "+1", "01", "Z", " 1", "1.new"] {
            assert_eq!(from_base36(bad), None, "{bad:?}");
        }
    }
}
