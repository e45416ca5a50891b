//! Writes tars for tests, right and wrong ones.

use tar::{EntryType, Header};

use super::super::{header, pax};

/// A tar that is put together member by member.
#[derive(Clone, Default)]
pub(super) struct Tar(pub(super) Vec<u8>);

impl Tar {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a member of any type under any name, however wrong.
    pub(super) fn member(self, kind: u8, name: &[u8], link: &[u8], content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::new(kind));
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..link.len()].copy_from_slice(link);
        header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
        header.set_uid(current_uid());
        header.set_gid(current_gid());
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        self.push(header, content)
    }

    pub(super) fn push(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        header::pad(&mut self.0, content.len() as u64).unwrap();
        self
    }

    pub(super) fn file(self, name: &str, content: &[u8]) -> Self {
        self.member(b'0', name.as_bytes(), b"", content)
    }

    pub(super) fn directory(self, name: &str) -> Self {
        self.member(b'5', name.as_bytes(), b"", b"")
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Self {
        self.member(b'2', name.as_bytes(), target.as_bytes(), b"")
    }

    pub(super) fn hardlink(self, name: &str, target: &str) -> Self {
        self.member(b'1', name.as_bytes(), target.as_bytes(), b"")
    }

    pub(super) fn device(self, name: &str, major: u32, minor: u32) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Char);
        header.set_path(name).unwrap();
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.push(header, b"")
    }

    /// Adds PAX records for the member that follows.
    pub(super) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            pax::append(&mut bytes, key.as_bytes(), value);
        }
        self.member(b'x', b"PaxHeaders/x", b"", &bytes)
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        header::end(&mut self.0).unwrap();
        self.0
    }
}

/// Tests without privileges can only make files that are their own.
pub(super) fn current_uid() -> u64 {
    rustix::process::geteuid().as_raw().into()
}

pub(super) fn current_gid() -> u64 {
    rustix::process::getegid().as_raw().into()
}
