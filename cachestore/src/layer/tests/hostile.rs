//! Archives that want out, or that are nonsense.

use std::fs;

use super::super::unpack::into_directory;
use super::archive::Tar;

/// Unpacks beside a directory that must stay as it is; returns the error's text.
fn refused(tar: &[u8]) -> Option<String> {
    let outer = tempfile::tempdir().unwrap();
    fs::create_dir_all(outer.path().join("layer/d")).unwrap();
    fs::create_dir(outer.path().join("victim")).unwrap();
    fs::File::create(outer.path().join("victim/file")).unwrap();
    let result = into_directory(tar, &outer.path().join("layer"));
    let victims: Vec<_> = fs::read_dir(outer.path().join("victim")).unwrap().collect();
    assert_eq!(victims.len(), 1, "something outside was touched");
    assert_eq!(fs::read(outer.path().join("victim/file")).unwrap(), b"");
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2, "something appeared outside");
    result.err().map(|error| error.to_string())
}

#[test]
fn what_would_leave_the_layer_is_refused_by_name() {
    for (what, tar, name) in [
        ("dots", Tar::new().file("../victim/new", b"x"), "../victim/new"),
        ("dots inside", Tar::new().file("a/../../victim/new", b"x"), "victim/new"),
        ("absolute link", Tar::new().symlink("evil", "/tmp").file("evil/new", b"x"), "evil"),
        ("relative link", Tar::new().symlink("evil", "../../victim").file("evil/new", b"x"), "evil"),
        (
            "link above",
            Tar::new().symlink("evil", "../..").directory("evil/victim").file("evil/victim/new", b""),
            "evil",
        ),
        ("hard link out", Tar::new().hardlink("h", "../../victim/file"), "victim/file"),
        ("hard link through a link", Tar::new().symlink("e", "../../victim").hardlink("h", "e/file"), "e"),
        ("whiteout through a link", Tar::new().symlink("e", "../../victim").file("e/.wh.file", b""), "e"),
        ("opaque through a link", Tar::new().symlink("e", "../../victim").file("e/.wh..wh..opq", b""), "e"),
        ("whiteout of dots", Tar::new().file("a/.wh...", b""), ".wh..."),
        ("overlay's whiteout", Tar::new().device("null", 0, 0), "null"),
        ("unknown type", Tar::new().member(b'V', b"volume", b"", b""), "volume"),
        ("file as directory", Tar::new().file("f", b"x").file("f/g", b"y"), "f"),
        ("hard link to nothing", Tar::new().hardlink("h", "absent"), "h"),
        ("hard link to a directory", Tar::new().directory("d").hardlink("h", "d"), "h"),
        ("root as a file", Tar::new().file(".", b"x"), "."),
        ("path in a record", Tar::new().pax(&[("path", b"../victim/new")]).file("ok", b"x"), "../victim/new"),
        ("empty link", Tar::new().symlink("s", ""), "s"),
        ("huge owner", Tar::new().pax(&[("uid", b"99999999999")]).file("owned", b"x"), "owned"),
    ] {
        let error = refused(&tar.end()).unwrap_or_else(|| panic!("{what}: was unpacked"));
        assert!(error.contains(name), "{what}: {error:?} does not name {name:?}");
    }
}

#[test]
fn a_link_within_the_layer_may_be_followed() {
    let tar =
        Tar::new().directory("usr").directory("usr/lib").symlink("lib", "usr/lib").file("lib/x", b"x").end();
    assert_eq!(refused(&tar), None);
}

#[test]
fn damaged_archives_are_refused() {
    let good = Tar::new().file("file", &[b'x'; 1000]).end();
    for length in [1, 511, 513, 1000, 1535] {
        assert!(refused(&good[..length]).is_some(), "cut at {length}");
    }
    let mut wrong_sum = good.clone();
    wrong_sum[0] ^= 1;
    assert!(refused(&wrong_sum).is_some());
    let mut records = Tar::new().pax(&[("path", b"x")]).file("x", b"").end();
    records[512] = b'8';
    assert!(refused(&records).is_some());
    for sparse in [
        &[("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"10")][..],
        &[("GNU.sparse.size", b"10"), ("GNU.sparse.map", b"0,20")],
        &[("GNU.sparse.size", b"10"), ("GNU.sparse.offset", b"0")],
        &[("size", b"99999999999999999999")],
        &[("mtime", b"never")],
    ] {
        assert!(refused(&Tar::new().pax(sparse).file("s", b"1234567890").end()).is_some(), "{sparse:?}");
    }
    // An archive without its end is what some writers leave.
    assert_eq!(refused(&good[..512 + 1024]), None);
    assert_eq!(refused(b""), None);
}
