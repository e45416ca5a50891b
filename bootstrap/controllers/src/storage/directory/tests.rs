use std::fs::{create_dir, create_dir_all};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::storage::record::Policy;

fn record(volume: &str) -> Record {
    Record {
        volume: volume.into(),
        claim_uid: "u".into(),
        requested: "1Gi".into(),
        bytes: 1 << 30,
        policy: Policy::Delete,
        time: "2026-11-21T17:00:00Z".into(),
    }
}

fn data() -> Name {
    Name::new("shop", "data")
}

fn put(path: &Path, text: &str) {
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// A directory of volumes, and beside it something that nothing may touch.
fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let (volumes, outside) = (place.path().join("volumes"), place.path().join("outside"));
    create_dir(&volumes).unwrap();
    create_dir_all(outside.join("data")).unwrap();
    put(&outside.join("data/precious"), "mine");
    (place, volumes, outside)
}

fn is_untouched(outside: &Path) -> bool {
    std::fs::read_to_string(outside.join("data/precious")).is_ok_and(|text| text == "mine")
        && std::fs::read_dir(outside).unwrap().count() == 1
        && std::fs::read_dir(outside.join("data")).unwrap().count() == 1
}

fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_directory_is_open_to_all_and_recorded() {
    let (_place, path, _) = place();
    let volumes = Volumes::open(&path).unwrap();
    assert_eq!(volumes.record(&data()).unwrap(), None);
    volumes.make(&data(), &record("pvc-1")).unwrap();
    let made = volumes.path_of(&data());
    assert_eq!(made, path.join("shop/data"));
    assert_eq!(made.metadata().unwrap().mode() & 0o7777, 0o777);
    assert_eq!(path.join("shop").metadata().unwrap().mode() & 0o7777, 0o700);
    assert_eq!(entries(&path.join("shop")), [".data", "data"]);
    assert_eq!(entries(&path), ["shop"]);
    assert_eq!(volumes.record(&data()).unwrap(), Some(record("pvc-1")));
}

#[test]
fn what_is_there_is_taken_over_with_its_data_and_mode() {
    let (_place, path, _) = place();
    let volumes = Volumes::open(&path).unwrap();
    volumes.make(&data(), &record("pvc-1")).unwrap();
    let made = volumes.path_of(&data());
    put(&made.join("file"), "kept");
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o700)).unwrap();
    volumes.make(&data(), &record("pvc-2")).unwrap();
    assert_eq!(volumes.record(&data()).unwrap(), Some(record("pvc-2")));
    assert_eq!(std::fs::read_to_string(made.join("file")).unwrap(), "kept");
    assert_eq!(made.metadata().unwrap().mode() & 0o7777, 0o700);
    // The earlier owner has lost it.
    assert_eq!(volumes.retire(&data(), "pvc-1").unwrap(), Retired::NotOwned);
    assert_eq!(std::fs::read_to_string(made.join("file")).unwrap(), "kept");
}

#[test]
fn removal_leaves_nothing() {
    let (_place, path, _) = place();
    let volumes = Volumes::open(&path).unwrap();
    volumes.make(&data(), &record("pvc-1")).unwrap();
    volumes.make(&Name::new("shop", "other"), &record("pvc-2")).unwrap();
    put(&volumes.path_of(&data()).join("file"), "gone");
    assert_eq!(volumes.retire(&data(), "pvc-1").unwrap(), Retired::Moved);
    assert_eq!(entries(&path.join("shop")), [".other", "other"]);
    assert_eq!(volumes.remains().unwrap(), ["pvc-1"]);
    volumes.remove("pvc-1").unwrap();
    volumes.remove("pvc-1").unwrap();
    assert_eq!(volumes.remains().unwrap(), [""; 0]);
    assert_eq!(volumes.retire(&data(), "pvc-1").unwrap(), Retired::NotOwned);
    assert_eq!(volumes.retire(&Name::new("shop", "other"), "pvc-2").unwrap(), Retired::Moved);
    assert_eq!(entries(&path), [DELETED]);
}

#[test]
fn every_state_that_a_kill_leaves_is_gone_on_from() {
    let (_place, path, _) = place();
    // Killed while it made the directory: the temporary names are taken.
    create_dir(path.join(".new-pvc-1")).unwrap();
    let volumes = Volumes::open(&path).unwrap();
    assert_eq!(entries(&path), [""; 0]);
    // Or failed.
    create_dir_all(path.join(".new-pvc-1/x")).unwrap();
    // Killed when the record was there, and no directory.
    volumes.make(&data(), &record("pvc-1")).unwrap();
    std::fs::remove_dir(path.join("shop/data")).unwrap();
    volumes.make(&data(), &record("pvc-1")).unwrap();
    assert_eq!(entries(&path.join("shop")), [".data", "data"]);
    // Killed between the move and the end of the record.
    put(&path.join("shop/data/file"), "old");
    create_dir(path.join(DELETED)).unwrap();
    fs::rename(path.join("shop/data"), path.join(".deleted/pvc-1")).unwrap();
    assert_eq!(volumes.retire(&data(), "pvc-1").unwrap(), Retired::Moved);
    volumes.remove("pvc-1").unwrap();
    assert_eq!((entries(&path), entries(&path.join(DELETED))), (vec![DELETED.to_owned()], vec![]));
}

#[test]
fn links_and_files_in_the_way_are_named_and_not_followed() {
    let (_place, path, outside) = place();
    let volumes = Volumes::open(&path).unwrap();
    // Instead of the namespace's directory.
    symlink(&outside, path.join("shop")).unwrap();
    for error in [
        volumes.make(&data(), &record("pvc-1")).unwrap_err(),
        volumes.retire(&data(), "pvc-1").unwrap_err(),
        volumes.record(&data()).unwrap_err(),
    ] {
        assert!(format!("{error:#}").contains("is not a directory"), "{error:#}");
    }
    std::fs::remove_file(path.join("shop")).unwrap();
    // Instead of the claim's directory.
    create_dir(path.join("shop")).unwrap();
    symlink(outside.join("data"), path.join("shop/data")).unwrap();
    let error = volumes.make(&data(), &record("pvc-1")).unwrap_err();
    assert!(format!("{error:#}").contains("\"data\" is there and is not a directory"), "{error:#}");
    // The link goes, and not what it leads to.
    assert_eq!(volumes.retire(&data(), "pvc-1").unwrap(), Retired::Moved);
    volumes.remove("pvc-1").unwrap();
    // Instead of the directory of what is being removed.
    volumes.make(&data(), &record("pvc-1")).unwrap();
    std::fs::remove_dir(path.join(DELETED)).unwrap();
    symlink(&outside, path.join(DELETED)).unwrap();
    assert!(volumes.retire(&data(), "pvc-1").is_err());
    assert!(volumes.remove("data").is_err());
    assert!(volumes.remains().is_err());
    assert!(is_untouched(&outside));
}

#[test]
fn records_that_are_none_own_nothing() {
    let (_place, path, outside) = place();
    let volumes = Volumes::open(&path).unwrap();
    volumes.make(&data(), &record("pvc-1")).unwrap();
    let file = path.join("shop/.data");
    let text = std::fs::read_to_string(&file).unwrap();
    put(&outside.join("data/record"), &text);
    let replacements: [&dyn Fn(); 4] = [
        &|| put(&file, "{\"volume\":"),
        &|| symlink(outside.join("data/record"), &file).unwrap(),
        &|| create_dir(&file).unwrap(),
        &|| put(&file, &format!("{}{text}", " ".repeat(100_000))),
    ];
    for (number, replace) in replacements.iter().enumerate() {
        std::fs::remove_file(&file).or_else(|_| std::fs::remove_dir(&file)).unwrap();
        replace();
        assert_eq!(volumes.record(&data()).unwrap(), None, "{number}");
        assert_eq!(volumes.retire(&data(), "pvc-1").unwrap(), Retired::NotOwned, "{number}");
        assert!(path.join("shop/data").is_dir());
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (_place, path, outside) = place();
    let volumes = Volumes::open(&path).unwrap();
    for (namespace, name, volume) in [
        ("..", "outside", "pvc-1"),
        ("shop", "..", "pvc-1"),
        ("shop", "../../outside/data", "pvc-1"),
        ("shop", ".data", "pvc-1"),
        ("shop", "data", "../../outside"),
        ("", "shop", "pvc-1"),
        (".deleted", "pvc-1", "pvc-1"),
    ] {
        let claim = Name::new(namespace, name);
        assert!(volumes.make(&claim, &record(volume)).is_err(), "{namespace}/{name}");
        assert!(volumes.retire(&claim, volume).is_err(), "{namespace}/{name}");
    }
    assert_eq!(entries(&path), [""; 0]);
    assert!(is_untouched(&outside));
}

#[test]
fn the_longest_names_fit() {
    let (_place, path, _) = place();
    let volumes = Volumes::open(&path).unwrap();
    let claim = Name::new("n".repeat(63), "c".repeat(253));
    volumes.make(&claim, &record("pvc-1")).unwrap();
    assert!(volumes.path_of(&claim).is_dir());
    assert_eq!(volumes.retire(&claim, "pvc-1").unwrap(), Retired::Moved);
    volumes.remove("pvc-1").unwrap();
    assert_eq!(entries(&path), [DELETED]);
}

#[test]
fn links_in_a_tree_are_removed_and_not_followed() {
    let (_place, path, outside) = place();
    let volumes = Volumes::open(&path).unwrap();
    volumes.make(&data(), &record("pvc-1")).unwrap();
    let tree = volumes.path_of(&data());
    create_dir_all(tree.join("a/b")).unwrap();
    symlink(&outside, tree.join("a/out")).unwrap();
    symlink(outside.join("data/precious"), tree.join("a/b/file")).unwrap();
    symlink("..", tree.join("a/up")).unwrap();
    symlink("loop", tree.join("loop")).unwrap();
    std::fs::hard_link(outside.join("data/precious"), tree.join("hard")).unwrap();
    std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    volumes.retire(&data(), "pvc-1").unwrap();
    volumes.remove("pvc-1").unwrap();
    assert_eq!(entries(&path.join(DELETED)), [""; 0]);
    assert!(is_untouched(&outside));
}

/// Makes directories in each other, deeper than any path can name.
fn dig(at: &Path, levels: usize) {
    let mut directory = fs::open(at, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..levels {
        fs::mkdirat(&directory, "deep", Mode::from_raw_mode(0o755)).unwrap();
        drop(
            fs::openat(&directory, "file", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644))
                .unwrap(),
        );
        directory = fs::openat(&directory, "deep", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
}

#[test]
fn no_tree_is_too_deep_or_too_wide() {
    let (_place, path, _) = place();
    let volumes = Volumes::open(&path).unwrap();
    volumes.make(&data(), &record("pvc-1")).unwrap();
    let tree = volumes.path_of(&data());
    for branch in ["a", "b"] {
        create_dir(tree.join(branch)).unwrap();
        dig(&tree.join(branch), 3000);
    }
    for number in 0..3000 {
        put(&tree.join(format!("file-{number}")), "");
    }
    volumes.retire(&data(), "pvc-1").unwrap();
    // What an earlier attempt moved up and did not come to.
    create_dir_all(path.join(DELETED).join("pvc-1~2/left")).unwrap();
    volumes.remove("pvc-1").unwrap();
    assert_eq!(entries(&path.join(DELETED)), [""; 0]);
}

/// Takes from this thread, if it is root's, the right to write where the mode says no.
fn obey_modes() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::DAC_OVERRIDE);
    set_capabilities(None, sets).unwrap();
}

#[test]
fn what_cannot_be_removed_is_named_and_the_rest_goes() {
    obey_modes();
    let (_place, path, _) = place();
    let volumes = Volumes::open(&path).unwrap();
    volumes.make(&data(), &record("pvc-1")).unwrap();
    let tree = volumes.path_of(&data());
    create_dir_all(tree.join("a/b/locked")).unwrap();
    for file in ["a/b/locked/file", "a/b/free", "a/free", "free"] {
        put(&tree.join(file), "");
    }
    let set_mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    set_mode(&tree.join("a/b/locked"), 0o500).unwrap();
    volumes.retire(&data(), "pvc-1").unwrap();
    let error = format!("{:#}", volumes.remove("pvc-1").unwrap_err());
    assert!(error.contains(".deleted/pvc-1: \"file\": Permission denied"), "{error}");
    let left = path.join(DELETED).join("pvc-1");
    assert_eq!((entries(&left), entries(&left.join("a"))), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert_eq!(entries(&left.join("a/b")), ["locked"]);
    set_mode(&left.join("a/b/locked"), 0o700).unwrap();
    volumes.remove("pvc-1").unwrap();
    assert_eq!(volumes.remains().unwrap(), [""; 0]);
}
