//! Walks the failpoints of an operation.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use cachestore::Store;
use cachestore::gc::{CachePolicy, Mode};
use cachestore::verify::Depth;
use rustix::process::Signal;

use crate::victim::{self, Order, Task, end_at, failpoints, open, said};
use crate::{fixture, picture};

/// The first failpoint of an opening that comes after the lock. Those before it are the same for every store, and are
/// walked by the tests of opening.
const FIRST_AFTER_LOCK: u64 = 3;
/// No opening has so many failpoints.
const MAX_FAILPOINTS: u64 = 500;

/// An operation of the store. It may be repeated, however far it got the last time.
pub(crate) struct Operation {
    /// It has at least so many failpoints; a test that walks fewer has lost them.
    pub(crate) least: usize,
    /// Makes what it needs, beside what every store of these tests holds.
    pub(crate) before: fn(&Store),
    pub(crate) run: fn(&Store),
    /// Whether it has one commit point, so that a crash leaves either what was there before or what is there after.
    pub(crate) is_atomic: bool,
}

/// The test of an operation: kills it at each of its failpoints, on a fresh store each time.
pub(crate) fn drive(name: &str, operation: &Operation) {
    if let Some(order) = Order::of_this_process() {
        return order.carry_out(operation.run);
    }
    let directory = fixture::temporary();
    let template = directory.path().join("template");
    let store = open(&template);
    fixture::fill(&store);
    (operation.before)(&store);
    let before = picture::of(&store);
    drop(store);

    let whole = copy(&template, &directory.path().join("whole"));
    let points = failpoints(name, Task::Run, whole.as_ref());
    assert!(points.len() >= operation.least, "{name}: has only these failpoints: {points:?}");
    let after = picture::of(&open(&whole));

    for (number, point) in (1..).zip(&points) {
        let case = format!("{name}, killed at failpoint {number}, {point:?}");
        let place = copy(&template, &directory.path().join(number.to_string()));
        dies(&case, name, Task::Run, &place, number);
        recover_with_crashes(&case, name, &place);
        let store = open(&place);
        assert_clean(&case, &store);
        let found = picture::of(&store);
        let is_whole = found == before || found == after || !operation.is_atomic;
        assert!(is_whole, "{case}: left\n{found:#?}\nand not\n{before:#?}");
        (operation.run)(&store);
        assert_clean(&case, &store);
        assert_eq!(picture::of(&store), after, "{case}: repeated");
        assert_tidy(&case, &store);
        assert_empties(&case, &store);
        drop(store);
        std::fs::remove_dir_all(&place).expect("the case's directory is removed");
    }
}

/// Lets a victim die, and makes sure that it died of the failpoint.
pub(crate) fn dies(case: &str, test: &str, task: Task, store: &Path, failpoint: u64) {
    let output = end_at(test, task, store, failpoint);
    let signal = output.status.signal();
    assert_eq!(signal, Some(Signal::ABORT.as_raw()), "{case}: it did not die there\n{}", said(&output));
}

/// Opens what a crash left again and again, each time dying one failpoint later, until it opens; returns how often.
pub(crate) fn recover_with_crashes(case: &str, test: &str, store: &Path) -> u64 {
    for failpoint in FIRST_AFTER_LOCK..MAX_FAILPOINTS {
        let output = end_at(test, Task::Open, store, failpoint);
        if output.status.success() {
            return failpoint - FIRST_AFTER_LOCK;
        }
        let signal = output.status.signal();
        assert_eq!(signal, Some(Signal::ABORT.as_raw()), "{case}: it does not open\n{}", said(&output));
    }
    panic!("{case}: it never opens");
}

/// Copies a closed store, with everything that its trees hold.
pub(crate) fn copy(from: &Path, to: &Path) -> std::path::PathBuf {
    let status = victim::start(Command::new("cp").arg("-a").args([from, to])).wait().expect("its status");
    assert!(status.success(), "cp -a {} {}", from.display(), to.display());
    to.to_owned()
}

/// Everything that the store promises holds, to the last byte of every layer.
pub(crate) fn assert_clean(case: &str, store: &Store) {
    let mut findings = Vec::new();
    store.verify(Depth::Content, &mut |finding| findings.push(finding)).expect("the check can be done");
    assert!(findings.is_empty(), "{case}: {findings:#?}");
}

/// Nothing lies anywhere that no record explains. That directories without record are none is [`assert_clean`]'s.
pub(crate) fn assert_tidy(case: &str, store: &Store) {
    store.cleanup().expect("removed directories go");
    let names = |directory: &Path| fixture::names(directory);
    let root = names(store.dir());
    let known = ["b", "c", "format", "l", "lock", "meta.db", "meta.db-shm", "meta.db-wal", "p", "s", "t"];
    assert!(root.iter().all(|name| known.contains(&name.as_str())), "{case}: {root:?}");
    assert_eq!(names(&store.dir().join("t")), [""; 0], "{case}: work in progress");
    for layer in names(&store.dir().join("l")) {
        let parts = names(&store.dir().join("l").join(&layer));
        let whole = [&["d"][..], &["d", "r"], &["d", "o", "r", "x"]];
        assert!(whole.iter().any(|whole| parts == *whole), "{case}: layer {layer} is {parts:?}");
    }
    let snapshots = store.snapshots().expect("the snapshots");
    let works = |snapshot: &String| store.dir().join("s").join(snapshot).join("w").exists();
    let with_work = names(&store.dir().join("s")).iter().filter(|snapshot| works(snapshot)).count();
    let mounted = snapshots.iter().filter(|info| info.kind != cachestore::snapshots::Kind::Committed);
    assert_eq!(with_work, mounted.count(), "{case}: overlay's work directories");
}

/// When everything is removed, nothing is left.
pub(crate) fn assert_empties(case: &str, store: &Store) {
    fixture::remove_everything(store);
    fixture::expire_leases(store.dir());
    store.collect(CachePolicy::DROP_ALL, Mode::Remove).expect("it collects");
    let mut findings = Vec::new();
    let checked = store.verify(Depth::Content, &mut |finding| findings.push(finding)).expect("it verifies");
    assert_eq!((checked.images, checked.layers, checked.blobs), (0, 0, 0), "{case}: {findings:?}");
    assert!(findings.is_empty(), "{case}: {findings:?}");
    for folder in ["l", "s", "t", "p", "b"] {
        assert_eq!(fixture::names(&store.dir().join(folder)), [""; 0], "{case}: {folder}/ after everything");
    }
}
