//! Opening a store: one that is not there, and ones that a crash, a power failure or time has left to be mended.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cachestore::Store;
use cachestore::gc::{CachePolicy, Mode};

use crate::driver::{assert_clean, assert_empties, assert_tidy, copy, dies, recover_with_crashes};
use crate::victim::{Order, Task, failpoints, open};
use crate::{fixture, operations, picture};

/// Does what a victim was started for; tells whether this process is one.
fn is_victim() -> bool {
    match Order::of_this_process() {
        Some(order) => {
            order.carry_out(operations::ingest);
            true
        }
        None => false,
    }
}

#[test]
fn create() {
    if is_victim() {
        return;
    }
    let name = "recovery::create";
    let directory = fixture::temporary();
    let points = failpoints(name, Task::Open, &directory.path().join("whole"));
    assert!(points.len() >= 12, "{points:?}");
    for (number, point) in (1..).zip(&points) {
        let case = format!("creation, killed at failpoint {number}, {point:?}");
        let place = directory.path().join(number.to_string());
        dies(&case, name, Task::Open, &place, number);
        recover_with_crashes(&case, name, &place);
        let store = open(&place);
        fixture::fill(&store);
        assert_clean(&case, &store);
        assert_tidy(&case, &store);
    }
}

/// Kills the opening of a copy of a closed store at each of its failpoints; then that of another copy, again and again.
fn walk_opening(what: &str, test: &str, template: &Path, least: usize, check: impl Fn(&str, &Store)) {
    let whole = copy(template, &template.with_extension("whole"));
    let points = failpoints(test, Task::Open, &whole);
    assert!(points.len() >= least, "{what}: has only these failpoints: {points:?}");
    for (number, point) in (1..).zip(&points) {
        let case = format!("{what}, killed at failpoint {number}, {point:?}");
        let place = copy(template, &template.with_extension(number.to_string()));
        dies(&case, test, Task::Open, &place, number);
        let store = open(&place);
        assert_clean(&case, &store);
        check(&case, &store);
        assert_tidy(&case, &store);
        drop(store);
        std::fs::remove_dir_all(&place).expect("the case's directory is removed");
    }
    let case = format!("{what}, killed again and again");
    let place = copy(template, &template.with_extension("again"));
    // Each attempt comes one failpoint further than the last, from where that one has brought it.
    let crashes = recover_with_crashes(&case, test, &place);
    assert!(crashes >= 5, "{case}: it died only {crashes} times");
    let store = open(&place);
    assert_clean(&case, &store);
    check(&case, &store);
    assert_tidy(&case, &store);
    assert_empties(&case, &store);
}

/// Leaves in a closed store what every kind of crash leaves, all at once.
fn leave_everything(store: &Path) {
    let junk = |path: &Path| {
        std::fs::create_dir_all(path.join("d/deep/er")).expect("directories");
        symlink("/etc", path.join("d/link")).expect("a link");
        fixture::write(&path.join("r"), b"x");
    };
    fixture::write(&store.join("b/zz"), b"a blob without a record");
    for path in ["l/zz", "l/not-a-number", "s/zz", "t/1", "t/2"] {
        junk(&store.join(path));
    }
    std::fs::create_dir(store.join("s/zy")).expect("an empty directory");
    let hour = Duration::from_secs(60 * 60);
    for (path, age) in [("p/".to_owned() + &"0".repeat(64), 25 * hour), ("c/old".into(), 31 * 24 * hour)] {
        let old = store.join(path);
        fixture::write(&old, b"x");
        let file = std::fs::File::open(old);
        file.and_then(|file| file.set_modified(SystemTime::now() - age)).expect("its time");
    }
}

#[test]
fn leftovers() {
    if is_victim() {
        return;
    }
    let name = "recovery::leftovers";
    let directory = fixture::temporary();
    let template = directory.path().join("template");
    let store = open(&template);
    fixture::fill(&store);
    let before = picture::of(&store);
    drop(store);
    leave_everything(&template);
    fixture::write(&template.join("c/young"), b"x");
    walk_opening("leftovers", name, &template, 40, |case, store| {
        assert_eq!(picture::of(store), before, "{case}");
        assert_eq!(fixture::names(&store.contexts_dir()), ["young"], "{case}");
    });
}

/// A store of the version before blobs were kept is brought up to date, whatever else has to be mended in it.
#[test]
fn version_1() {
    if is_victim() {
        return;
    }
    let name = "recovery::version_1";
    let directory = fixture::temporary();
    let template = directory.path().join("template");
    fixture::fill(&open(&template));
    fixture::edit(&template, "DROP TABLE kept_blobs; PRAGMA user_version = 1");
    leave_everything(&template);
    std::fs::remove_dir_all(template.join("b")).expect("it goes");
    let before = {
        let copy = copy(&template, &directory.path().join("before"));
        picture::of(&open(&copy))
    };
    assert!(before.iter().all(|line| !line.starts_with("kept blob")), "{before:?}");
    walk_opening("version 1", name, &template, 42, |case, store| {
        assert_eq!(picture::of(store), before, "{case}");
        let tar = fixture::Tar::default().file("kept", b"x").end();
        fixture::keep(store, &tar, fixture::ingest(store, &tar, &[], &store.lease()).id);
        assert_eq!(store.kept_blobs().expect("the kept blobs").len(), 1, "{case}");
    });
}

/// Makes the records say that everything was written in an earlier boot, and damages the layer of this description.
fn fail_power(store: &Path, damaged: &str) {
    fixture::edit(store, "UPDATE layers SET unsettled_boot = 'an earlier one'");
    let damaged = {
        let store = open(store);
        let uses = store.layer_uses().expect("the layers");
        let layer = uses.iter().find(|used| used.layer.description == damaged).expect("the layer");
        store.layer_tree(layer.layer.id)
    };
    // Opening it has settled what was whole.
    fixture::edit(store, "UPDATE layers SET unsettled_boot = 'an earlier one'");
    let file = if damaged.join("etc/new/file").exists() { "etc/new/file" } else { "etc/passwd" };
    fixture::write(&damaged.join(file), b"");
}

/// Layers that are whole are kept; a damaged one goes, with the images, containers and snapshots on top of it, however
/// often the recovery itself is interrupted.
#[test]
fn power_failure() {
    if is_victim() {
        return;
    }
    let name = "recovery::power_failure";
    let directory = fixture::temporary();
    let template = directory.path().join("template");
    fixture::fill(&open(&template));
    for (damaged, images, layers) in [("RUN something", 1, 1), ("", 0, 1)] {
        let what = format!("power failure, damaged {damaged:?}");
        let place = copy(&template, &directory.path().join(format!("{images} images")));
        fail_power(&place, damaged);
        walk_opening(&what, name, &place, 21, |case, store| {
            assert!(store.is_settled().expect("an answer"), "{case}");
            let left = (store.images().len(), store.layer_uses().expect("the layers").len());
            assert_eq!(left, (images, layers), "{case}");
            assert_eq!(store.snapshots().expect("the snapshots"), [], "{case}");
        });
    }
}

/// What a broken pull has committed is there for the next attempt, a collection in between or not.
#[test]
fn lease() {
    if is_victim() {
        return;
    }
    let name = "recovery::lease";
    let directory = fixture::temporary();
    let place = directory.path().join("store");
    fixture::fill(&open(&place));
    let whole = copy(&place, &directory.path().join("whole"));
    let last = failpoints(name, Task::Run, &whole).len() as u64;
    dies("lease", name, Task::Run, &place, last);
    let store = open(&place);
    let layers = |store: &Store| store.layer_uses().expect("the layers").len();
    assert_eq!(layers(&store), 3);
    store.collect(CachePolicy::DROP_ALL, Mode::Remove).expect("it collects");
    assert_eq!(layers(&store), 3, "the lease holds the layer of the broken pull");
    fixture::expire_leases(&place);
    store.collect(CachePolicy::DROP_ALL, Mode::Remove).expect("it collects");
    assert_eq!(layers(&store), 2, "a day later it is garbage");
}
