//! What must be remembered of the directories of an archive until its end.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::{ENTRY, EntryPath, Time};
use crate::error::{Error, Result};

/// All paths together take at most this. A few KB of archive can name a thousand new directories, each with a path of
/// several KB; the largest images have some 100,000 directories, with paths of 100 bytes.
const MAX_PATHS_BYTES: usize = 128 << 20;

/// Directories by their real paths.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Times of directories, which writing into them would change: set at the end.
    times: BTreeMap<EntryPath, Time>,
    /// Directories that the archive used and did not contain.
    implicit: BTreeSet<EntryPath>,
    /// The lengths of all paths that were ever noted.
    bytes: usize,
}

impl Noted {
    fn account(&mut self, path: &EntryPath) -> Result<()> {
        self.bytes = self.bytes.saturating_add(path.as_bytes().len());
        if self.bytes > MAX_PATHS_BYTES {
            let problem = "the archive's directories have paths of more than 128 MiB";
            return Err(Error::invalid(ENTRY, path.display(), problem));
        }
        Ok(())
    }

    /// Notes a directory that was made because something in it was to be made.
    pub(super) fn implicit(&mut self, path: EntryPath) -> Result<()> {
        self.account(&path)?;
        self.implicit.insert(path);
        Ok(())
    }

    /// Notes a directory that the archive contains; what it says last counts.
    pub(super) fn contained(&mut self, path: EntryPath, mtime: Time) -> Result<()> {
        self.account(&path)?;
        self.implicit.remove(&path);
        self.times.insert(path, mtime);
        Ok(())
    }

    /// Forgets a path and everything below it.
    pub(super) fn forget(&mut self, path: &EntryPath) {
        // In order come the path itself, others that only begin like it (`a-b`), then what is below it (`a/b`).
        let inside = path.join(b"");
        let is_below = |found: &&EntryPath| found.below(path.as_bytes()).is_some();
        self.implicit.remove(path);
        while let Some(found) = self.implicit.range(&inside..).next().filter(is_below).cloned() {
            self.implicit.remove(&found);
        }
        self.times.remove(path);
        while let Some(found) =
            self.times.range(&inside..).map(|(found, _)| found).next().filter(is_below).cloned()
        {
            self.times.remove(&found);
        }
    }

    /// Takes the times of the directories that the archive contains.
    pub(super) fn take_times(&mut self) -> BTreeMap<EntryPath, Time> {
        std::mem::take(&mut self.times)
    }

    /// Returns the directories that the archive used and did not contain, parents first.
    pub(super) fn into_implicit(self) -> Vec<EntryPath> {
        self.implicit.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> EntryPath {
        EntryPath::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_replaced_is_forgotten() {
        let mut noted = Noted::default();
        for name in ["a", "a-b", "a/b", "a/b/c", "a.", "b", "ab"] {
            noted.contained(path(name), Time::default()).unwrap();
            noted.implicit(path(name)).unwrap();
        }
        noted.forget(&path("a"));
        let times: Vec<_> = noted.take_times().into_keys().collect();
        let left = ["a-b", "a.", "ab", "b"].map(path);
        assert_eq!((times, noted.into_implicit()), (left.to_vec(), left.to_vec()));
    }

    #[test]
    fn what_is_contained_is_not_implicit_and_the_last_time_counts() {
        let mut noted = Noted::default();
        noted.implicit(path("a")).unwrap();
        noted.implicit(path("a/b")).unwrap();
        for seconds in [1, 2] {
            noted.contained(path("a"), Time { seconds, nanoseconds: 0 }).unwrap();
        }
        assert_eq!(noted.take_times().into_values().map(|time| time.seconds).collect::<Vec<_>>(), [2]);
        assert_eq!(noted.into_implicit(), [path("a/b")]);
    }

    #[test]
    fn paths_have_a_limit() {
        let mut noted = Noted::default();
        let long = path(&"d/".repeat(2000));
        let count = (0..).take_while(|_| noted.implicit(long.clone()).is_ok()).count();
        assert_eq!(count, MAX_PATHS_BYTES / long.as_bytes().len());
    }
}
