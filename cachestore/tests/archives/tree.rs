//! Trees that have one of everything, and what can be seen of a tree.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cachestore::Digest;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, lsetxattr,
    makedev, mknodat, utimensat,
};

/// The capability to bind low ports, permitted and effective, as the kernel keeps it (vfs_cap_data, revision 2).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const OPAQUE: &str = "trusted.overlay.opaque";
const WHITEOUT: &str = "character device 0";
/// Where the sparse file has data, in a hole of this size.
const SPARSE_BYTES: u64 = 8 << 20;
const SPARSE_DATA: [u64; 6] = [0, 1 << 20, 2 << 20, 3 << 20, 5 << 20, SPARSE_BYTES - 70_000];

/// A tree that is being made.
pub(crate) struct Maker(pub(crate) PathBuf);

impl Maker {
    fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.0.join(Path::new(name.as_ref()))
    }

    fn file(&self, name: impl AsRef<OsStr>, content: &[u8], mode: u32) {
        let path = self.path(name);
        File::create(&path).and_then(|mut file| file.write_all(content)).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
    }

    fn node(&self, name: &str, kind: FileType, (major, minor): (u32, u32)) {
        mknodat(CWD, self.path(name), kind, Mode::from_raw_mode(0o640), makedev(major, minor))
            .expect("a node");
    }

    fn own(&self, name: &str, uid: u32, gid: u32) {
        std::os::unix::fs::lchown(self.path(name), Some(uid), Some(gid)).expect("its owner");
    }

    fn set(&self, name: &str, attribute: &str, value: &[u8]) {
        lsetxattr(self.path(name), attribute, value, XattrFlags::empty()).expect("an attribute");
    }

    fn time(&self, name: &str, tv_sec: i64, tv_nsec: i64) {
        let time = Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, self.path(name), &times, AtFlags::SYMLINK_NOFOLLOW).expect("its time");
    }

    /// What even the oldest tars can say: files, directories, links.
    pub(crate) fn oldest(self) -> Self {
        for directory in ["etc", "etc/empty", "srv"] {
            fs::create_dir(self.path(directory)).expect("a directory");
        }
        self.file("etc/passwd", b"root:x:0:0::/:/bin/sh\n", 0o644);
        self.file("etc/empty-file", b"", 0o400);
        self.file("etc/block", &[b'b'; 512], 0o640);
        self.file("etc/more-than-a-block", &[b'c'; 513], 0o604);
        self.file(
            "etc/big",
            &(0..300_000_u32).map(|number| number.to_le_bytes()[0]).collect::<Vec<_>>(),
            0o600,
        );
        self.file("etc/name with blanks, =, \n and \\", b"x", 0o644);
        fs::hard_link(self.path("etc/passwd"), self.path("srv/a-link")).expect("a link");
        fs::hard_link(self.path("etc/passwd"), self.path("a-link")).expect("a link");
        symlink("../etc/passwd", self.path("srv/symlink")).expect("a link");
        symlink("/nowhere/at all", self.path("dangling")).expect("a link");
        self.own("etc/passwd", 1, 2);
        self.own("srv/symlink", 3, 4);
        self.file("etc/set-id", b"#!", 0o755);
        self.own("etc/set-id", 100, 200);
        fs::set_permissions(self.path("etc/set-id"), fs::Permissions::from_mode(0o6755)).expect("its mode");
        fs::set_permissions(self.path("srv"), fs::Permissions::from_mode(0o3777)).expect("its mode");
        self.time("etc/passwd", 1_600_000_000, 0);
        self.time("srv/symlink", 1, 0);
        self.whole_seconds();
        self
    }

    /// Old tars know no parts of a second: every time becomes a whole one.
    fn whole_seconds(&self) {
        for (name, node) in describe(&self.0).into_iter().rev() {
            let name = name.to_str().expect("our own name").to_owned();
            self.time(&name, node.mtime.0, 0);
        }
    }

    /// Also devices and fifos, and names that fit into two fields.
    pub(crate) fn ustar(self) -> Self {
        self.node("etc/fifo", FileType::Fifo, (0, 0));
        self.node("etc/character", FileType::CharacterDevice, (5, 1));
        self.node("etc/block-device", FileType::BlockDevice, (259, 70_000));
        self.own("etc/fifo", 7, 8);
        let long = "d".repeat(90);
        fs::create_dir(self.path(&long)).expect("a directory");
        self.file(format!("{long}/{}", "f".repeat(95)), b"long", 0o644);
        self.file("größe", b"utf-8", 0o644);
        self.file(OsStr::from_bytes(b"latin-\xe9\xff"), b"not utf-8", 0o644);
        for name in ["etc/fifo", "etc/character", "etc/block-device", "größe", "etc", &long] {
            self.time(name, 1_500_000_000, 0);
        }
        self.time(&format!("{long}/{}", "f".repeat(95)), 1_500_000_001, 0);
        utimensat(CWD, self.0.join(OsStr::from_bytes(b"latin-\xe9\xff")), &zero(), AtFlags::empty())
            .expect("its time");
        self
    }

    /// Also names and links of any length, numbers of any size, and sparse files; times stay whole.
    pub(crate) fn gnu(self) -> Self {
        let long = format!("{}/{}", "x".repeat(200), "y".repeat(250));
        fs::create_dir_all(self.path(&long)).expect("directories");
        self.file(format!("{long}/{}", "z".repeat(255)), b"longest", 0o644);
        self.time(&format!("{long}/{}", "z".repeat(255)), 5, 0);
        fs::hard_link(self.path(format!("{long}/{}", "z".repeat(255))), self.path("to-long"))
            .expect("a link");
        symlink("t".repeat(1000), self.path("long-target")).expect("a link");
        self.own("long-target", 3_000_000_000, 2_200_000);
        self.time("long-target", 0o100_000_000_000, 0);
        self.file("before-1970", b"", 0o644);
        self.time("before-1970", -5, 0);
        self.sparse("sparse", &SPARSE_DATA);
        self.sparse("only-a-hole", &[]);
        for name in ["sparse", "only-a-hole", &long, &"x".repeat(200), "."] {
            self.time(name, 1_700_000_000, 0);
        }
        self
    }

    fn sparse(&self, name: &str, data: &[u64]) {
        let mut file = File::create(self.path(name)).expect("a file");
        for offset in data {
            file.seek(SeekFrom::Start(*offset)).expect("its position");
            file.write_all(&[b's'; 4096]).expect("data");
        }
        file.set_len(SPARSE_BYTES).expect("its length");
    }

    /// Also parts of seconds.
    pub(crate) fn pax(self) -> Self {
        self.time("etc/passwd", 1_600_000_000, 123_456_789);
        self.time("srv/symlink", 1, 1);
        self.time("before-1970", -5, 250_000_000);
        self.time("etc", 1_500_000_000, 999_999_999);
        self
    }

    /// Also extended attributes, those that travel and those that do not.
    pub(crate) fn attributes(self) -> Self {
        self.file("srv/capable", b"#!", 0o755);
        self.own("srv/capable", 10, 10);
        self.set("srv/capable", "security.capability", &CAPABILITY);
        self.set("etc/passwd", "user.binary", b"\0=\n\xff");
        self.set("etc/passwd", "user.empty", b"");
        self.set("etc/big", "user.long", &[b'v'; 2000]);
        self.set("srv", "user.directory", b"yes");
        self.time("srv/capable", 1_700_000_000, 1);
        self.time("srv", 1_700_000_000, 2);
        self
    }

    /// Also what is in a layer of ours and in no tar of others: overlayfs's marks, attributes of the machine, sockets.
    pub(crate) fn overlay(self) -> Self {
        self.node("etc/removed", FileType::CharacterDevice, (0, 0));
        self.node("srv/größe", FileType::CharacterDevice, (0, 0));
        self.set("etc/empty", OPAQUE, b"y");
        self.set("srv", OPAQUE, b"y");
        self.set("etc/passwd", "trusted.of-the-machine", b"x");
        let _closed = std::os::unix::net::UnixListener::bind(self.path("srv/socket")).expect("a socket");
        self.time("etc", 1_500_000_000, 999_999_999);
        self.time("srv", 1_700_000_000, 2);
        self
    }

    /// The upper layer of an image whose lower one has everything: it removes, hides, replaces, changes and adds.
    pub(crate) fn change(self) -> Self {
        for directory in ["etc", "etc/empty", "srv", "usr"] {
            fs::create_dir(self.path(directory)).expect("a directory");
        }
        for removed in ["etc/passwd", "sparse", "etc/fifo"] {
            self.node(removed, FileType::CharacterDevice, (0, 0));
        }
        self.set("etc/empty", OPAQUE, b"y");
        self.file("etc/empty/new", b"new", 0o644);
        self.file("etc/big", b"smaller", 0o600);
        self.file("dangling", b"a file for a link", 0o600);
        symlink("etc", self.path("größe")).expect("a link");
        self.file("usr/one", b"x", 0o644);
        fs::hard_link(self.path("usr/one"), self.path("usr/two")).expect("a link");
        fs::set_permissions(self.path("srv"), fs::Permissions::from_mode(0o750)).expect("its mode");
        self.set("usr/one", "user.new", b"x");
        self
    }

    /// The same marks, as archives write them.
    pub(crate) fn whiteouts(self) -> Self {
        for name in ["etc/.wh.removed", "srv/.wh.größe", "etc/empty/.wh..wh..opq", "srv/.wh..wh..opq"] {
            self.file(name, b"", 0o600);
        }
        for name in ["etc", "srv", "etc/empty"] {
            self.time(name, 1_500_000_000, 0);
        }
        self
    }
}

fn zero() -> Timestamps {
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    Timestamps { last_access: zero, last_modification: zero }
}

/// What can be seen of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// What it is, with what it holds: the digest of its content, its target, its device number.
    pub(crate) what: String,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    pub(crate) attributes: BTreeMap<OsString, Vec<u8>>,
    /// The first of its names, and how many there are.
    pub(crate) names: (OsString, u64),
}

/// A tree, by path; the root is the empty path.
pub(crate) type Picture = BTreeMap<OsString, Node>;

/// Looks at every file of a tree. The root's time is nobody's business.
pub(crate) fn describe(root: &Path) -> Picture {
    let mut picture = Picture::new();
    let mut first = BTreeMap::new();
    let mut paths = vec![PathBuf::new()];
    while let Some(path) = paths.pop() {
        let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
        let metadata = fs::symlink_metadata(&full).expect("a file");
        if metadata.is_dir() {
            let mut children: Vec<_> = fs::read_dir(&full)
                .expect("a directory")
                .map(|entry| path.join(entry.expect("it").file_name()))
                .collect();
            children.sort();
            // From the last to the first: the first is popped first.
            paths.extend(children.into_iter().rev());
        }
        let name = path.clone().into_os_string();
        let known = first.entry(metadata.ino()).or_insert_with(|| name.clone()).clone();
        let links = if metadata.is_dir() { 1 } else { metadata.nlink() };
        let mtime = if name.is_empty() { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) };
        let node = Node {
            what: what(&full, &metadata),
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            mtime,
            attributes: attributes(&full),
            names: (known, links),
        };
        picture.insert(name, node);
    }
    picture
}

fn what(path: &Path, metadata: &Metadata) -> String {
    let kind = metadata.file_type();
    let device = metadata.rdev();
    if kind.is_file() {
        format!("file {} {}", metadata.len(), Digest::of(&fs::read(path).expect("its content")))
    } else if kind.is_symlink() {
        format!("link to {:?}", fs::read_link(path).expect("its target"))
    } else if kind.is_dir() {
        "directory".into()
    } else if kind.is_fifo() {
        "fifo".into()
    } else if kind.is_socket() {
        "socket".into()
    } else if kind.is_char_device() {
        format!("character device {device}")
    } else {
        format!("block device {device}")
    }
}

fn attributes(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let length = llistxattr(path, &mut names).expect("its attributes");
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let length = lgetxattr(path, OsStr::from_bytes(name), &mut value).expect("its value");
            value.truncate(length);
            (OsStr::from_bytes(name).to_owned(), value)
        })
        .collect()
}

/// Returns what of a tree travels in a layer; of overlayfs's whiteouts that is the name.
pub(crate) fn portable(mut picture: Picture) -> Picture {
    picture.retain(|_, node| node.what != "socket");
    for node in picture.values_mut() {
        if node.what == WHITEOUT {
            (node.mode, node.mtime) = (0, (0, 0));
        }
        node.attributes.retain(|name, _| name == OPAQUE || !name.as_bytes().starts_with(b"trusted."));
    }
    picture
}

/// Returns a tree as archives write it: overlayfs's marks as files whose names start with `.wh.`, of which nothing but
/// the name counts.
pub(crate) fn archived(picture: Picture) -> Picture {
    let mut archived = Picture::new();
    for (name, mut node) in portable(picture) {
        let (path, mark) =
            (Path::new(&name), |name: &OsStr| [OsStr::new(".wh."), name].into_iter().collect::<OsString>());
        let file_name = path.file_name().unwrap_or_default();
        if node.attributes.remove(OsStr::new(OPAQUE)).is_some() {
            archived.insert(path.join(".wh..wh..opq").into(), Node::default());
        }
        if node.what == WHITEOUT {
            archived.insert(path.with_file_name(mark(file_name)).into(), Node::default());
        } else if file_name.as_bytes().starts_with(b".wh.") {
            archived.insert(name, Node::default());
        } else {
            archived.insert(name, node);
        }
    }
    archived
}

/// Says in what two trees differ.
pub(crate) fn assert_same(what: &str, found: &Picture, expected: &Picture) {
    let names: std::collections::BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let different: Vec<_> = names
        .into_iter()
        .filter(|name| found.get(*name) != expected.get(*name))
        .map(|name| {
            format!("{name:?}\n  found    {:?}\n  expected {:?}", found.get(name), expected.get(name))
        })
        .collect();
    assert!(different.is_empty(), "{what}:\n{}", different.join("\n"));
    assert!(expected.len() > 1, "{what}: there is nothing to compare");
}
