//! Writes the headers of a tar: ustar, with PAX records for what ustar cannot say. The same entry always gives the
//! same bytes, which is what lets a layer's diff ID be verified years later.

use std::io::Write;

use tar::{EntryType, Header};

use super::entry::{Entry, Kind, Time};
use super::pax;
use crate::error::{Error, IoContext, Result};

const BLOCK: usize = 512;
/// The largest number that fits an octal field of 7, 8 or 11 digits.
const MAX_ID: u32 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;
/// The name field without its prefix: longer names go into a PAX record.
const NAME_BYTES: usize = 100;

/// Writes an entry's headers; its content, padded by [`pad`], follows.
pub(super) fn write(output: &mut impl Write, name: &[u8], entry: &Entry) -> Result<()> {
    let mut header = Header::new_ustar();
    let mut records = Vec::new();
    let (kind, link, device) = match &entry.kind {
        Kind::File => (EntryType::Regular, None, None),
        Kind::Directory => (EntryType::Directory, None, None),
        Kind::Symlink(target) => (EntryType::Symlink, Some(&target[..]), None),
        Kind::Hardlink(target) => (EntryType::Link, Some(target.as_bytes()), None),
        Kind::CharDevice(major, minor) => (EntryType::Char, None, Some((*major, *minor))),
        Kind::BlockDevice(major, minor) => (EntryType::Block, None, Some((*major, *minor))),
        Kind::Fifo => (EntryType::Fifo, None, None),
    };
    header.set_entry_type(kind);
    header.set_mode(entry.mode);
    put_id(&mut records, b"uid", entry.uid, |id| header.set_uid(id));
    put_id(&mut records, b"gid", entry.gid, |id| header.set_gid(id));
    put_size(&mut header, &mut records, entry.stored_size);
    put_time(&mut header, &mut records, entry.mtime);
    put_name(&mut header.as_old_mut().name, &mut records, b"path", name);
    if let Some(link) = link {
        put_name(&mut header.as_old_mut().linkname, &mut records, b"linkpath", link);
    }
    let (major, minor) = device.unwrap_or_default();
    header.set_device_major(major).and_then(|()| header.set_device_minor(minor)).map_err(impossible)?;
    for (key, value) in &entry.xattrs {
        pax::append(&mut records, &[pax::XATTR_PREFIX, key].concat(), value);
    }
    if !records.is_empty() {
        write_records(output, &records)?;
    }
    header.set_cksum();
    output.write_all(header.as_bytes()).at("write", "tar")
}

/// Writes the zeros that fill content up to a block.
pub(super) fn pad(output: &mut impl Write, length: u64) -> Result<()> {
    let padding = usize::try_from(length.next_multiple_of(BLOCK as u64) - length).unwrap_or(0);
    output.write_all(&[0; BLOCK][..padding]).at("write", "tar")
}

/// Writes the end of an archive.
pub(super) fn end(output: &mut impl Write) -> Result<()> {
    output.write_all(&[0; 2 * BLOCK]).at("write", "tar")
}

fn write_records(output: &mut impl Write, records: &[u8]) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.as_old_mut().name[..9].copy_from_slice(b"PaxHeader");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(records.len() as u64);
    header.set_device_major(0).and_then(|()| header.set_device_minor(0)).map_err(impossible)?;
    header.set_cksum();
    output.write_all(header.as_bytes()).at("write", "tar")?;
    output.write_all(records).at("write", "tar")?;
    pad(output, records.len() as u64)
}

fn put_id(records: &mut Vec<u8>, key: &[u8], id: u32, set: impl FnOnce(u64)) {
    if id > MAX_ID {
        pax::append(records, key, id.to_string().as_bytes());
        set(0);
    } else {
        set(id.into());
    }
}

fn put_size(header: &mut Header, records: &mut Vec<u8>, size: u64) {
    if size > MAX_SIZE {
        pax::append(records, b"size", size.to_string().as_bytes());
        header.set_size(0);
    } else {
        header.set_size(size);
    }
}

fn put_time(header: &mut Header, records: &mut Vec<u8>, time: Time) {
    let seconds = u64::try_from(time.seconds).ok().filter(|&seconds| seconds <= MAX_SIZE);
    if time.nanoseconds != 0 || seconds.is_none() {
        pax::append(records, b"mtime", pax::format_time(time).as_bytes());
    }
    header.set_mtime(seconds.unwrap_or(0));
}

/// Puts a name into its field; what is too long, or not ASCII, is in a record as well, which readers prefer.
fn put_name(field: &mut [u8; NAME_BYTES], records: &mut Vec<u8>, key: &[u8], name: &[u8]) {
    if name.len() > NAME_BYTES || !name.is_ascii() {
        pax::append(records, key, name);
    }
    let length = name.len().min(NAME_BYTES);
    field[..length].copy_from_slice(&name[..length]);
}

fn impossible(error: std::io::Error) -> Error {
    Error::invalid("tar header", "", error)
}
