//! Entries to tar: ustar headers, and a PAX header before an entry that does not fit one.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;

use anyhow::{Context as _, Result};
use tar::{Builder, EntryType, Header};

use super::entry::{Content, Entry, Kind};
use super::open;

/// The longest name in a ustar header, in bytes; its prefix field is not used.
const NAME: usize = 100;

/// The largest number in the user and group fields: seven octal digits.
const OWNER: u64 = 0o7_777_777;

/// Writes the entries and the end of the archive.
pub(super) fn write(plain: &mut impl Write, entries: impl IntoIterator<Item = Entry>) -> Result<()> {
    let mut archive = Builder::new(plain);
    for entry in entries {
        let shown = entry.path.to_string_lossy().into_owned();
        append(&mut archive, entry).with_context(|| format!("entry {shown:?}"))?;
    }
    archive.into_inner().context("end a tar")?;
    Ok(())
}

fn append(archive: &mut Builder<impl Write>, entry: Entry) -> Result<()> {
    let records = pax_records(&entry);
    if !records.is_empty() {
        let mut header = Header::new_ustar();
        name(&mut header.as_old_mut().name, OsStr::new("PaxHeaders/x"));
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_size(records.len() as u64);
        header.set_cksum();
        archive.append(&header, &records[..])?;
    }
    let mut header = header(&entry)?;
    match entry.kind {
        Kind::File(Content::Bytes(bytes)) => finish(archive, &mut header, bytes.len() as u64, &bytes[..]),
        Kind::File(Content::File(path)) => {
            let (size, file) = open(&path)?;
            finish(archive, &mut header, size, file)
        }
        Kind::File(Content::Stream(size, reader)) => finish(archive, &mut header, size, reader),
        _ => finish(archive, &mut header, 0, std::io::empty()),
    }
}

fn finish(
    archive: &mut Builder<impl Write>,
    header: &mut Header,
    size: u64,
    data: impl std::io::Read,
) -> Result<()> {
    header.set_size(size);
    header.set_cksum();
    archive.append(header, data.take(size))?;
    Ok(())
}

fn header(entry: &Entry) -> Result<Header> {
    let mut header = Header::new_ustar();
    name(&mut header.as_old_mut().name, &entry.path);
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.0.min(OWNER));
    header.set_gid(entry.owner.1.min(OWNER));
    header.set_mtime(entry.seconds);
    header.set_entry_type(match &entry.kind {
        Kind::Directory => EntryType::Directory,
        Kind::File(_) => EntryType::Regular,
        Kind::Symlink(_) => EntryType::Symlink,
        Kind::Hardlink(_) => EntryType::Link,
        Kind::Character(..) => EntryType::Char,
        Kind::Block(..) => EntryType::Block,
        Kind::Fifo => EntryType::Fifo,
    });
    match &entry.kind {
        Kind::Symlink(target) | Kind::Hardlink(target) => name(&mut header.as_old_mut().linkname, target),
        Kind::Character(major, minor) | Kind::Block(major, minor) => {
            header.set_device_major(*major)?;
            header.set_device_minor(*minor)?;
        }
        _ => {}
    }
    Ok(header)
}

fn name(field: &mut [u8; NAME], value: &OsStr) {
    let length = value.len().min(NAME);
    field[..length].copy_from_slice(&value.as_bytes()[..length]);
}

fn pax_records(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    let mut record = |key: &str, value: &[u8]| records.extend(pax_record(key, value));
    if entry.path.len() > NAME || entry.path.to_str().is_none_or(|path| !path.is_ascii()) {
        record("path", entry.path.as_bytes());
    }
    if let Kind::Symlink(target) | Kind::Hardlink(target) = &entry.kind
        && target.len() > NAME
    {
        record("linkpath", target.as_bytes());
    }
    for (key, id) in [("uid", entry.owner.0), ("gid", entry.owner.1)] {
        if id > OWNER {
            record(key, id.to_string().as_bytes());
        }
    }
    if entry.nanoseconds != 0 {
        record("mtime", format!("{}.{:09}", entry.seconds, entry.nanoseconds).as_bytes());
    }
    for (key, value) in &entry.xattrs {
        record(&format!("SCHILY.xattr.{key}"), value);
    }
    records
}

/// A record is `LENGTH KEY=VALUE\n`, where the length counts its own digits too.
fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pax_record_counts_its_own_length() {
        // POSIX.1, section "pax Extended Header": the length covers the whole record.
        for size in 0..2000 {
            let record = pax_record("k", &vec![b'v'; size]);
            let digits = record.split(|byte| *byte == b' ').next().unwrap();
            assert_eq!(std::str::from_utf8(digits).unwrap().parse::<usize>().unwrap(), record.len());
        }
    }
}
