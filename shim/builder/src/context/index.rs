//! What is remembered of a context: the digest of each file, by what the file was when it was read.
//!
//! One file, read whole; records are in the order of a walk, so that an unchanged tree is looked up by stepping from one
//! record to the next. It is a cache: whatever is wrong with it, it is as if it were not there.

use std::cmp::Ordering;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cachestore::Digest;

use crate::tree::Identity;

const MAGIC: &[u8; 8] = b"context1";
/// A context with ten million files has an index of about this size.
const MAX_FILE_BYTES: u64 = 2 << 30;
/// The kernel's clock for file times ticks every few milliseconds: a file that was changed so shortly before it was
/// read could change again without showing it.
const CLOCK_TICK: Duration = Duration::from_millis(100);
const FIXED_BYTES: usize = 4 + 3 * 8 + 2 * 12 + 32;

/// The remembered digests.
pub(super) struct Index {
    old: Vec<Record>,
    /// Which of the old records were found to be right.
    confirmed: Vec<bool>,
    /// Where the next file of a walk is expected.
    next: usize,
    new: Vec<Record>,
    scanned: Vec<Vec<u8>>,
    has_news: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    path: Vec<u8>,
    identity: Identity,
    digest: Digest,
}

impl Index {
    /// Reads an index; one that is missing or damaged is empty.
    pub(super) fn load(path: &Path) -> Self {
        let bytes = match std::fs::metadata(path) {
            Ok(metadata) if metadata.len() <= MAX_FILE_BYTES => std::fs::read(path).unwrap_or_default(),
            _ => Vec::new(),
        };
        let old = decode(&bytes).unwrap_or_default();
        Self {
            confirmed: vec![false; old.len()],
            old,
            next: 0,
            new: Vec::new(),
            scanned: Vec::new(),
            has_news: false,
        }
    }

    /// Returns the digest of a file if the file is what it was.
    pub(super) fn find(&mut self, path: &[u8], identity: &Identity) -> Option<Digest> {
        let expected = self.old.get(self.next).is_some_and(|record| record.path == path);
        let index = if expected {
            self.next
        } else {
            self.old.binary_search_by(|record| compare(&record.path, path)).ok()?
        };
        self.next = index + 1;
        let record = &self.old[index];
        self.confirmed[index] = record.identity == *identity;
        self.confirmed[index].then_some(record.digest)
    }

    /// Notes a digest, unless the file is so new that it could change without showing it.
    pub(super) fn remember(&mut self, path: &[u8], identity: Identity, digest: Digest, read_at: SystemTime) {
        let safe_before = read_at.checked_sub(CLOCK_TICK).unwrap_or(SystemTime::UNIX_EPOCH);
        let since_epoch = safe_before.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let safe_before = (i64::try_from(since_epoch.as_secs()).unwrap_or(0), since_epoch.subsec_nanos());
        if identity.changed < safe_before && identity.modified < safe_before {
            self.new.push(Record { path: path.to_vec(), identity, digest });
            self.has_news = true;
        }
    }

    /// Notes that every file at or below a path has been asked for.
    pub(super) fn note_scanned(&mut self, path: &[u8]) {
        self.scanned.push(path.to_vec());
    }

    /// Writes the index if there is something new: what was learnt, and what was not looked at.
    pub(super) fn save(&mut self, path: &Path) -> io::Result<()> {
        if !std::mem::take(&mut self.has_news) {
            return Ok(());
        }
        let mut records: Vec<&Record> = self.new.iter().collect();
        records.sort_by(|a, b| compare(&a.path, &b.path));
        let is_new = |path: &[u8]| records.binary_search_by(|record| compare(&record.path, path)).is_ok();
        let kept: Vec<&Record> = (0..self.old.len())
            .filter(|&index| self.confirmed[index] || !self.was_scanned(&self.old[index].path))
            .map(|index| &self.old[index])
            .filter(|record| !is_new(&record.path))
            .collect();
        records.extend(kept);
        records.sort_by(|a, b| compare(&a.path, &b.path));
        records.dedup_by(|a, b| a.path == b.path);
        write(path, &encode(&records))
    }

    fn was_scanned(&self, path: &[u8]) -> bool {
        self.scanned.iter().any(|scanned| {
            scanned.is_empty()
                || path.strip_prefix(&scanned[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    }
}

/// The order of a walk: names are compared one after the other, so that `/` comes before every other byte.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory)?;
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = std::fs::File::create(&temporary)?;
    if let Err(error) = file.write_all(bytes) {
        // On a disk that is full, half an index would be in the way.
        std::fs::remove_file(&temporary)?;
        return Err(error);
    }
    #[expect(clippy::disallowed_methods, reason = "a cache with a checksum need not survive a power failure")]
    std::fs::rename(&temporary, path)
}

fn encode(records: &[&Record]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for Record { path, identity, digest } in records {
        bytes.extend_from_slice(&u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes());
        for number in [identity.device, identity.inode, identity.size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for (seconds, nanoseconds) in [identity.modified, identity.changed] {
            bytes.extend_from_slice(&seconds.to_le_bytes());
            bytes.extend_from_slice(&nanoseconds.to_le_bytes());
        }
        bytes.extend_from_slice(digest.as_bytes());
        bytes.extend_from_slice(path);
    }
    let sum = Digest::of(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<Record>> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    let mut rest = body.strip_prefix(MAGIC)?;
    if Digest::of(body).as_bytes() != sum {
        return None;
    }
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (fixed, behind) = rest.split_at_checked(FIXED_BYTES)?;
        let mut fields = Reader(fixed);
        let length = usize::try_from(fields.u32()).ok()?;
        let mut identity =
            Identity { device: fields.u64(), inode: fields.u64(), size: fields.u64(), ..Identity::default() };
        identity.modified = (fields.u64().cast_signed(), fields.u32());
        identity.changed = (fields.u64().cast_signed(), fields.u32());
        let digest = Digest::from_bytes(fields.take());
        let (path, behind) = behind.split_at_checked(length)?;
        records.push(Record { path: path.to_vec(), identity, digest });
        rest = behind;
    }
    Some(records)
}

/// Reads the fixed part of a record, whose length has been checked.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.0.split_at(N);
        self.0 = rest;
        let mut array = [0; N];
        array.copy_from_slice(bytes);
        array
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(inode: u64) -> Identity {
        Identity { device: 1, inode, size: 3, modified: (5, 6), changed: (7, 8) }
    }

    fn remember(index: &mut Index, path: &str, inode: u64) {
        index.remember(path.as_bytes(), identity(inode), Digest::of(path.as_bytes()), SystemTime::now());
    }

    #[test]
    fn digests_are_found_again_until_the_file_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/index");
        let mut index = Index::load(&path);
        for (inode, name) in (1..).zip(["a.go", "a/b", "a/b.go", "a", "z"]) {
            assert_eq!(index.find(name.as_bytes(), &identity(inode)), None);
            remember(&mut index, name, inode);
        }
        index.save(&path).unwrap();
        let mut index = Index::load(&path);
        for (inode, name) in (1..).zip(["a.go", "a/b", "a/b.go", "a", "z"]) {
            assert_eq!(
                index.find(name.as_bytes(), &identity(inode)),
                Some(Digest::of(name.as_bytes())),
                "{name}"
            );
        }
        assert_eq!(index.find(b"z", &identity(9)), None);
        assert_eq!(index.find(b"y", &identity(1)), None);
    }

    #[test]
    fn what_was_removed_is_forgotten_and_what_was_not_looked_at_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        let mut index = Index::load(&path);
        for name in ["kept/x", "scanned/gone", "scanned/there"] {
            remember(&mut index, name, 1);
        }
        index.save(&path).unwrap();
        let mut index = Index::load(&path);
        assert!(index.find(b"scanned/there", &identity(1)).is_some());
        index.note_scanned(b"scanned");
        remember(&mut index, "scanned/new", 1);
        index.save(&path).unwrap();
        let names: Vec<_> = Index::load(&path).old.into_iter().map(|record| record.path).collect();
        assert_eq!(names, [&b"kept/x"[..], b"scanned/new", b"scanned/there"]);
    }

    #[test]
    fn a_file_that_was_changed_just_now_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        let mut index = Index::load(&path);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let changed = (i64::try_from(now.as_secs()).unwrap(), now.subsec_nanos());
        index.remember(b"new", Identity { changed, ..identity(1) }, Digest::of(b""), SystemTime::now());
        index.save(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_damaged_index_is_as_good_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        let mut index = Index::load(&path);
        remember(&mut index, "a", 1);
        index.save(&path).unwrap();
        let good = std::fs::read(&path).unwrap();
        for length in 0..good.len() {
            assert_eq!(decode(&good[..length]), None);
        }
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            assert_eq!(decode(&bad), None, "byte {position}");
        }
    }
}
