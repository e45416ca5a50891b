//! Archives that want out, or that are nonsense.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use tar::Header;

use super::super::unpack::into_directory;
use super::archive::{Tar, current_gid, current_uid};
use crate::digest::Digest;
use crate::oci::manifest::Compression;

/// A layer that is being unpacked, beside files that must stay as they are.
struct Place(tempfile::TempDir);

/// What can be seen of files: every change of one changes its inode's time.
type Picture = BTreeMap<PathBuf, (u64, u32, u64, (i64, i64), (i64, i64))>;

impl Place {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        let path = |name: &str| outer.path().join(name);
        fs::create_dir_all(path("layer/d")).unwrap();
        fs::create_dir_all(path("victim/directory")).unwrap();
        fs::File::create(path("victim/file")).unwrap().write_all(b"untouched").unwrap();
        symlink("file", path("victim/link")).unwrap();
        Self(outer)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Unpacks; returns the error's text. Whatever the archive is, nothing outside of the layer has changed.
    fn unpack(&self, what: &str, tar: &[u8]) -> Option<String> {
        let before = self.outside();
        let result = into_directory(tar, &self.path("layer"));
        assert_eq!(self.outside(), before, "{what}: something outside was touched");
        assert_eq!(fs::read(self.path("victim/file")).unwrap(), b"untouched", "{what}");
        result.err().map(|error| error.to_string())
    }

    fn outside(&self) -> Picture {
        let mut picture = Picture::new();
        let mut paths = vec![self.0.path().to_owned()];
        while let Some(path) = paths.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let changed = (metadata.ctime(), metadata.ctime_nsec());
            let modified = (metadata.mtime(), metadata.mtime_nsec());
            let facts = (metadata.ino(), metadata.mode(), metadata.nlink(), changed, modified);
            if metadata.is_dir() {
                paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                paths.retain(|path| *path != self.path("layer"));
            }
            picture.insert(path, facts);
        }
        picture
    }

    /// Returns where a name leads in the layer, without following a last link.
    fn metadata(&self, name: &str) -> Option<fs::Metadata> {
        fs::symlink_metadata(self.path("layer/d").join(name)).ok()
    }
}

/// Unpacks in a place of its own.
fn refused(tar: &[u8]) -> Option<String> {
    Place::new().unpack("an archive", tar)
}

/// A file that claims a size which it does not have.
fn claiming(name: &str, size: u64) -> Tar {
    let mut header = Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_mode(0o644);
    header.set_uid(current_uid());
    header.set_gid(current_gid());
    header.set_mtime(0);
    header.set_size(size);
    Tar::new().push(header, b"little")
}

/// A GNU long name, or the target of a long link.
fn long(kind: u8, name: &[u8]) -> Tar {
    Tar::new().member(kind, b"././@LongLink", b"", &[name, b"\0"].concat())
}

fn each_is_refused(rows: Vec<(&str, Tar, &str)>) {
    for (what, tar, name) in rows {
        let error = Place::new().unpack(what, &tar.end()).unwrap_or_else(|| panic!("{what}: was unpacked"));
        assert!(error.contains(name), "{what}: {error:?} does not name {name:?}");
        assert!(error.len() < 1000, "{what}: an error of {} bytes", error.len());
    }
}

#[test]
fn what_would_leave_the_layer_is_refused_by_name() {
    let out = |link: &str| Tar::new().symlink(link, "../../victim");
    each_is_refused(vec![
        ("dots", Tar::new().file("../victim/new", b"x"), "../victim/new"),
        ("dots inside", Tar::new().file("a/../../victim/new", b"x"), "victim/new"),
        ("dots at the end", Tar::new().directory("a/.."), "a/.."),
        ("absolute dots", Tar::new().file("/../victim/new", b"x"), "/../victim/new"),
        ("path in a record", Tar::new().pax(&[("path", b"../victim/new")]).file("ok", b"x"), "../victim/new"),
        ("gnu long name", long(b'L', b"../victim/new").file("ok", b"x"), "../victim/new"),
        (
            "name of a sparse file",
            Tar::new().pax(&[("GNU.sparse.name", b"../victim/new")]).file("ok", b"x"),
            "../victim/new",
        ),
        ("absolute link", Tar::new().symlink("evil", "/tmp").file("evil/new", b"x"), "evil"),
        ("relative link", out("evil").file("evil/new", b"x"), "evil"),
        ("directory through a link", out("evil").directory("evil/directory"), "evil"),
        ("link through a link", out("evil").symlink("evil/new", "x"), "evil"),
        ("link to a link", out("a").symlink("b", "a").file("b/new", b"x"), "b"),
        ("link in a directory", Tar::new().symlink("d/e", "../../../victim").file("d/e/new", b"x"), "d/e"),
        (
            "link above",
            Tar::new().symlink("evil", "../..").directory("evil/victim").file("evil/victim/new", b""),
            "evil",
        ),
        ("magic link", Tar::new().symlink("evil", "/proc/self/root").file("evil/tmp/new", b"x"), "evil"),
        (
            "a link for a directory that was open",
            Tar::new().file("d/a", b"x").symlink("d", "../../victim").file("d/new", b"x"),
            "d",
        ),
        (
            "a link for a directory above the one that was open",
            Tar::new().file("d/directory/a", b"x").symlink("d", "../../victim").file("d/directory/new", b"x"),
            "d/directory",
        ),
        ("hard link out", Tar::new().hardlink("h", "../../victim/file"), "victim/file"),
        ("hard link through a link", out("e").hardlink("h", "e/file"), "e"),
        ("hard link to an absolute path", Tar::new().hardlink("h", "/etc/passwd"), "h"),
        ("long hard link out", long(b'K', b"../../victim/file").hardlink("h", "x"), "victim/file"),
        ("whiteout through a link", out("e").file("e/.wh.file", b""), "e"),
        ("opaque through a link", out("e").file("e/.wh..wh..opq", b""), "e"),
        ("whiteout above the root", Tar::new().file("../.wh.victim", b""), "../.wh.victim"),
    ]);
}

#[test]
fn nonsense_is_refused_by_name() {
    let kind = |kind: u8| Tar::new().member(kind, b"strange", b"", b"");
    each_is_refused(vec![
        ("whiteout of dots", Tar::new().file("a/.wh...", b""), ".wh..."),
        ("whiteout of the directory", Tar::new().file("a/.wh..", b""), ".wh.."),
        ("whiteout of the root", Tar::new().file(".wh..", b""), ".wh.."),
        ("whiteout of nothing", Tar::new().file("a/.wh.", b""), "a/.wh."),
        ("opaque file", Tar::new().file("f", b"x").file("f/.wh..wh..opq", b""), "f"),
        ("overlay's whiteout", Tar::new().device("null", 0, 0), "null"),
        ("volume", kind(b'V'), "strange"),
        ("the rest of a volume", kind(b'M'), "strange"),
        ("gnu's directory", kind(b'D'), "strange"),
        ("gnu's names", kind(b'N'), "strange"),
        ("Solaris's attributes", kind(b'X'), "strange"),
        ("no type at all", kind(b'!'), "strange"),
        ("file as directory", Tar::new().file("f", b"x").file("f/g", b"y"), "f"),
        ("link to nothing as directory", Tar::new().symlink("s", "nowhere").file("s/g", b"y"), "s"),
        ("a loop of links", Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", b""), "a"),
        ("hard link to nothing", Tar::new().hardlink("h", "absent"), "h"),
        ("hard link to a directory", Tar::new().directory("d").hardlink("h", "d"), "h"),
        ("hard link to the root", Tar::new().hardlink("h", "."), "h"),
        ("hard link to what is removed", Tar::new().file(".wh.gone", b"").hardlink("h", "gone"), "h"),
        ("root as a file", Tar::new().file(".", b"x"), "."),
        ("root as a link", Tar::new().symlink("./", "x"), "."),
        ("empty link", Tar::new().symlink("s", ""), "s"),
        ("NUL in a name", Tar::new().pax(&[("path", b"a\0b")]).file("x", b""), "a"),
        ("NUL in a link", Tar::new().pax(&[("linkpath", b"a\0b")]).symlink("s", "x"), "s"),
        ("NUL in a hard link", Tar::new().pax(&[("linkpath", b"a\0b")]).hardlink("h", "x"), "h"),
        ("a component too long", Tar::new().pax(&[("path", &[b'n'; 300])]).file("x", b""), "nnnn"),
    ]);
}

#[test]
fn what_is_too_much_is_refused_by_name() {
    let deep = b"d/".repeat(1990);
    let deeper = [b"s/".to_vec(), b"e/".repeat(100), b"f".to_vec()].concat();
    let linked = Tar::new()
        .pax(&[("path", &deep)])
        .directory("x")
        .pax(&[("linkpath", &deep)])
        .symlink("s", "x")
        .pax(&[("path", &deeper)])
        .file("x", b"");
    let records = |count: usize| {
        (0..count).fold(Tar::new(), |tar, _| tar.pax(&[("comment", &[b'c'; 900 << 10])])).file("many", b"")
    };
    each_is_refused(vec![
        ("a size that is a lie", claiming("big", 1 << 40), "big"),
        ("a size beyond numbers", claiming("big", u64::MAX), "big"),
        ("a size in a record", Tar::new().pax(&[("size", b"18446744073709551615")]).file("big", b"x"), "big"),
        ("a huge record", Tar::new().pax(&[("comment", &[b'c'; 2 << 20])]).file("x", b""), "PaxHeaders/x"),
        ("many records", records(2), "PaxHeaders/x"),
        ("a huge name", long(b'L', &[b'n'; 2 << 20]).file("x", b""), "@LongLink"),
        ("a long name", long(b'L', &b"n/".repeat(2100)).file("x", b""), "n/n/"),
        ("a long link", long(b'K', &[b'n'; 4096]).symlink("s", "x"), "s"),
        ("a path that is too long behind a link", linked, "s/e/e"),
        ("huge owner", Tar::new().pax(&[("uid", b"99999999999")]).file("owned", b"x"), "owned"),
        ("an owner that means none", Tar::new().pax(&[("uid", b"4294967295")]).file("owned", b"x"), "owned"),
        ("a group that means none", Tar::new().pax(&[("gid", b"4294967295")]).file("owned", b"x"), "owned"),
        (
            "a huge attribute",
            Tar::new().pax(&[("SCHILY.xattr.user.x", &[b'v'; 70 << 10])]).file("attributed", b"x"),
            "attributed",
        ),
        (
            "a map of a million pieces",
            Tar::new()
                .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")])
                .file("sparse", &b"9999999999\n".repeat(200_000)),
            "sparse",
        ),
        (
            "a sparse file larger than any",
            Tar::new()
                .pax(&[("GNU.sparse.size", b"9223372036854775807"), ("GNU.sparse.map", b"0,1")])
                .file("sparse", b"x"),
            "sparse",
        ),
    ]);
}

/// What an archive may say, however odd it is, stays inside.
#[test]
fn what_is_odd_stays_inside() {
    let place = Place::new();
    let victim = "../../victim/file";
    let tar = Tar::new()
        .file("/absolute", b"1")
        .directory("//twice/./absolute/")
        .symlink("replaced-by-file", victim)
        .file("replaced-by-file", b"2")
        .symlink("replaced-by-directory", "../../victim/directory")
        .directory("replaced-by-directory")
        .symlink("out", victim)
        .hardlink("name-of-a-link", "out")
        .file("one", b"3")
        .hardlink("two", "one")
        .file("two", b"4")
        .hardlink("three", "/one")
        .symlink("up", "..")
        .symlink("real-later", "./usr//../real/.")
        .symlink("usr", "real")
        .directory("real")
        .file("usr/x", b"5")
        .file("real-later/implicit/y", b"7")
        .file("usr/gone/z", b"")
        .symlink("real/gone", "implicit")
        .directory("usr/implicit")
        .hardlink("usr/implicit/again", "real-later/implicit/y")
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/victim"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ])
        .directory("marked")
        .file(".wh.hidden/file", b"6")
        .pax(&[("mtime", b"9223372036854775807")])
        .file("from-the-future", b"");
    assert_eq!(place.unpack("odd", &tar.clone().end()), None);
    pulled(&tar.end());
    let content = |name: &str| fs::read(place.path("layer/d").join(name)).unwrap();
    for (name, expected) in [
        ("absolute", &b"1"[..]),
        ("replaced-by-file", b"2"),
        ("one", b"3"),
        ("two", b"4"),
        ("three", b"3"),
        ("real/x", b"5"),
        ("real/gone/again", b"7"),
        (".wh.hidden/file", b"6"),
    ] {
        assert_eq!(content(name), expected, "{name}");
    }
    let link = |name: &str| fs::read_link(place.path("layer/d").join(name)).unwrap();
    assert_eq!((link("name-of-a-link"), link("up")), (PathBuf::from(victim), PathBuf::from("..")));
    assert!(place.metadata("replaced-by-directory").unwrap().is_dir());
    let marked = fs::File::open(place.path("layer/d/marked")).unwrap();
    for attribute in ["trusted.overlay.redirect", "user.overlay.opaque"] {
        let found = rustix::fs::fgetxattr(&marked, attribute, &mut [0; 8]);
        assert_eq!(found, Err(rustix::io::Errno::NODATA), "{attribute}");
    }
}

/// Takes an archive into a store, as a pull does, and finds it whole.
fn pulled(tar: &[u8]) {
    let (_directory, store) = crate::testing::store();
    let unpacked = store.unpack(tar, Compression::None, Digest::of(tar)).unwrap();
    store.commit_unpacked(unpacked, &[], &store.lease()).unwrap();
    let mut findings = Vec::new();
    store.verify(crate::verify::Depth::Content, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(findings, []);
}

/// A path may be as long as Linux allows, whatever it leads through.
#[test]
fn deep_trees_are_unpacked() {
    let path = [&b"d/".repeat(2000)[..], b"file"].concat();
    let tar = Tar::new().pax(&[("path", &path)]).file("x", b"deep").end();
    let place = Place::new();
    assert_eq!(place.unpack("deep", &tar), None);
    crate::disk::remove::tree(&place.path("layer")).unwrap();
    assert!(!place.path("layer").exists());
    pulled(&tar);
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
