use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::files;

fn entry() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    files::ensure_directory(&path.join("images/a/root"), 0o755).unwrap();
    files::put(&path.join("images/a/Dockerfile"), b"FROM scratch\n", 0o644).unwrap();
    files::put(&path.join("images/a/root/program"), b"abc", 0o755).unwrap();
    symlink("program", path.join("images/a/root/link")).unwrap();
    directory
}

fn manifest(directory: &TempDir) -> Manifest {
    Manifest::of(directory.path(), "k", "v1", Vec::new()).unwrap()
}

#[test]
fn an_entry_that_is_whole_has_no_differences() {
    let directory = entry();
    let manifest = manifest(&directory);
    let (size_bytes, sha256) = manifest.sha256("images/a/root/program").unwrap();
    assert_eq!(size_bytes, 3);
    assert_eq!(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(manifest.sha256("images/a/root/link"), None);
    files::put(&directory.path().join(FILE), manifest.text().unwrap().as_bytes(), 0o644).unwrap();
    assert_eq!(manifest.differences(&survey(directory.path()).unwrap()), [""; 0]);
    assert_eq!(manifest.altered(directory.path()).unwrap(), [""; 0]);
    assert_eq!(Manifest::parse(&manifest.text().unwrap(), "k").unwrap(), manifest);
}

#[test]
fn what_was_changed_is_named() {
    type Change = fn(&Path);
    let rows: [(Change, &str); 6] = [
        (|path| files::remove(&path.join("images/a/root/program")).unwrap(), "images/a/root/program"),
        (
            |path| files::put(&path.join("images/a/root/program"), b"abcd", 0o755).unwrap(),
            "images/a/root/program",
        ),
        (
            |path| files::put(&path.join("images/a/root/program"), b"abc", 0o644).unwrap(),
            "images/a/root/program",
        ),
        (
            |path| {
                files::remove(&path.join("images/a/root/link")).unwrap();
                symlink("other", path.join("images/a/root/link")).unwrap();
            },
            "images/a/root/link",
        ),
        (
            |path| files::put(&path.join("images/a/root/link"), b"program", 0o644).unwrap(),
            "images/a/root/link",
        ),
        (|path| files::put(&path.join("images/a/more"), b"", 0o644).unwrap(), "images/a/more"),
    ];
    for (change, named) in rows {
        let directory = entry();
        let manifest = manifest(&directory);
        change(directory.path());
        assert_eq!(manifest.differences(&survey(directory.path()).unwrap()), [named]);
    }
}

#[test]
fn other_content_of_the_same_size_is_seen_by_reading() {
    let directory = entry();
    let manifest = manifest(&directory);
    files::put(&directory.path().join("images/a/root/program"), b"abd", 0o755).unwrap();
    assert_eq!(manifest.differences(&survey(directory.path()).unwrap()), [""; 0]);
    assert_eq!(manifest.altered(directory.path()).unwrap(), ["images/a/root/program"]);
}

#[test]
fn foreign_manifests_are_refused() {
    let good = manifest(&entry()).text().unwrap();
    assert!(Manifest::parse(&good, "k").is_ok());
    for (text, key, named) in [
        (good.replace("\"format\": 1", "\"format\": 2"), "k", "has format 2"),
        (good.clone(), "other", "is of \"k\""),
        (good.replace(std::env::consts::ARCH, "vax"), "k", "is for vax"),
        (good.replace("\"version\"", "\"x\""), "k", "unknown field"),
        (String::new(), "k", "EOF"),
    ] {
        let error = Manifest::parse(&text, key).unwrap_err();
        assert!(error.contains(named), "{error}");
    }
}
