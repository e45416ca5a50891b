//! Trees become tars and trees again.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat, utimensat};

use super::super::unpack::into_directory;
use super::super::{pack, whiteout};

fn write(path: &Path, bytes: &[u8], mode: u32) {
    let mut file = fs::File::create(path).unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn set_time(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Makes one of everything that needs no privilege.
fn make_tree(root: &Path) {
    let directory = root.join("etc");
    fs::create_dir(&directory).unwrap();
    write(&directory.join("passwd"), b"root:x:0:0::/:/bin/sh\n", 0o644);
    write(&directory.join("set-id"), b"#!", 0o6755);
    write(&directory.join("empty"), b"", 0o400);
    fs::hard_link(directory.join("passwd"), root.join("link-to-passwd")).unwrap();
    symlink("../etc/passwd", directory.join("symlink")).unwrap();
    symlink("x".repeat(300), directory.join("long-symlink")).unwrap();
    mknodat(CWD, directory.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    whiteout::create(fs::File::open(&directory).unwrap().as_fd(), b"removed").unwrap();
    let long = root.join("d".repeat(120));
    fs::create_dir(&long).unwrap();
    write(&long.join("f".repeat(200)), &vec![b'z'; 100_000], 0o600);
    write(&root.join(OsStr::from_bytes(b"not-utf8-\xff\xfe")), b"bytes", 0o644);
    write(&root.join("größe"), b"utf8", 0o644);
    write(&root.join("zeros"), &vec![0; 1 << 20], 0o644);
    let attributes = fs::File::open(directory.join("passwd")).unwrap();
    rustix::fs::fsetxattr(&attributes, "user.binary", b"\0=\n\xff", XattrFlags::empty()).unwrap();
    set_time(&directory.join("passwd"), 1_600_000_000, 123_456_789);
    set_time(&directory.join("symlink"), 1, 1);
    set_time(&root.join("zeros"), -5, 250_000_000);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o1777)).unwrap();
    set_time(&directory, 1_500_000_000, 5);
}

use std::os::fd::AsFd;

#[test]
fn a_tree_survives_the_way_through_a_tar_and_back() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for directory in [&one, &two] {
        fs::create_dir(directory.path().join("d")).unwrap();
    }
    make_tree(&one.path().join("d"));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let size = pack::pack(&one.path().join("d"), &mut first).unwrap();
    into_directory(&first[..], two.path()).unwrap();
    pack::pack(&two.path().join("d"), &mut second).unwrap();
    assert!(first == second, "the second tar differs from the first");
    // Files of the tree, each once; the content of /etc/passwd counts once though it has two names.
    assert_eq!(size.content, 22 + 2 + 100_000 + 5 + 4 + (1 << 20));
    assert_eq!(size.inodes, 14);
    let zeros = fs::metadata(two.path().join("d/zeros")).unwrap();
    assert_eq!(
        (zeros.len(), std::os::unix::fs::MetadataExt::blocks(&zeros)),
        (1 << 20, 0),
        "zeros are a hole"
    );
    let passwd = fs::metadata(two.path().join("d/etc/passwd")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::nlink(&passwd), 2);
}

#[test]
fn the_order_of_creation_does_not_show() {
    let tar_of = |names: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            write(&directory.path().join(name), b"", 0o644);
            set_time(&directory.path().join(name), 7, 0);
        }
        let mut tar = Vec::new();
        pack::pack(directory.path(), &mut tar).unwrap();
        tar
    };
    assert_eq!(tar_of(&["a", "b", "B", "a.b"]), tar_of(&["a.b", "B", "b", "a"]));
}

#[test]
fn a_name_that_would_mean_a_removal_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join(".wh.file"), b"", 0o644);
    let error = pack::pack(directory.path(), &mut std::io::sink()).unwrap_err().to_string();
    assert!(error.contains(".wh.file"), "{error}");
}

#[test]
fn sockets_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
    let size = pack::pack(directory.path(), &mut std::io::sink()).unwrap();
    assert_eq!(size.inodes, 1);
}
