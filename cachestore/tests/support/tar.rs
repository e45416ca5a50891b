//! Tars that are put together member by member.

use tar::{EntryType, Header};

/// The time of every member of a tar, and its mode.
pub(crate) const TIME: u64 = 1_700_000_000;
pub(super) const FILE_MODE: u32 = 0o640;
pub(super) const DIRECTORY_MODE: u32 = 0o755;

/// The lowest layer of the images.
pub(super) fn base_tar() -> Vec<u8> {
    Tar::default()
        .directory("etc")
        .file("etc/same", b"same")
        .file("etc/passwd", b"root:x:0:0::/:/bin/sh\n")
        .add(EntryType::Link, "etc/linked", "etc/passwd", b"")
        .add(EntryType::Symlink, "bin", "usr/bin", b"")
        .file("etc/empty", b"")
        .directory("usr")
        .file("usr/big", &[b'q'; 70_000])
        .end()
}

/// A layer for above it: it leaves directories out, removes something, and writes a path twice.
pub(crate) fn upper_tar() -> Vec<u8> {
    Tar::default()
        .file("etc/conf/a", b"first")
        .file("etc/conf/a", b"second")
        .directory("srv")
        .file("srv/data", b"lost")
        .file("srv", b"now a file")
        .file("usr/.wh.big", b"")
        .end()
}

/// A tar that is put together member by member, all of them the test's own.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.add(EntryType::Regular, name, "", content)
    }

    fn directory(self, name: &str) -> Self {
        self.add(EntryType::Directory, name, "", b"")
    }

    fn add(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_path(name).expect("a short name");
        if !link.is_empty() {
            header.set_link_name(link).expect("a short name");
        }
        header.set_mode(if kind == EntryType::Directory { DIRECTORY_MODE } else { FILE_MODE });
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        header.set_mtime(TIME);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}
