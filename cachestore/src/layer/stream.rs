//! Reads the members of a tar stream, and writes down for the recipe every byte that is not a file's content.
//!
//! The headers are interpreted by the `tar` crate; the framing is done here, because the recipe needs every byte of it
//! and because GNU's sparse files put headers where the crate's raw mode expects content.

use std::io::Read;

use tar::{EntryType, Header};

use super::entry::{ENTRY, Entry, EntryPath, Kind, MAX_PATH_BYTES, MAX_XATTR_BYTES, Time, shown};
use super::pax::Records;
use super::recipe::Writer;
use super::sparse;
use crate::error::{Error, IoContext, Result};

const BLOCK: usize = 512;
/// Paths, links and a hundred extended attributes fit; an archive that needs more is an attack on memory.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// ext4 cannot hold more files than this on any disk that is sold; the limit is there to be a limit.
const MAX_ENTRIES: u64 = 100_000_000;

/// The members of an archive, one after the other.
pub(crate) struct Members<R> {
    input: R,
    recipe: Option<Writer>,
    /// Bytes of the current member's content that are still in the input, and the padding behind them.
    left: u64,
    padding: u64,
    entries: u64,
    /// The name of the current member, for errors.
    name: Vec<u8>,
}

impl<R: Read> Members<R> {
    /// Reads a tar that is no layer, and of which nothing is written down.
    pub(crate) fn plain(input: R) -> Self {
        Self::new(input, None)
    }

    pub(super) fn new(input: R, recipe: Option<Writer>) -> Self {
        Self { input, recipe, left: 0, padding: 0, entries: 0, name: Vec::new() }
    }

    /// Returns the next member; `None` at the end of the archive.
    ///
    /// What the caller left unread of the previous member's content is in no file: it goes into the recipe.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let next = self.advance();
        next.map_err(|error| naming(error, &self.name))
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        let mut records = Records::default();
        let (mut long_name, mut long_link) = (None, None);
        let mut extended = 0_u64;
        loop {
            self.skip_content()?;
            self.name.clear();
            let Some(header) = self.header()? else { return Ok(None) };
            self.name.extend_from_slice(&header.path_bytes());
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Error::invalid("archive", "", "it has too many members"));
            }
            let size = number(&header.as_old().size, header.entry_size())?;
            if is_extended(header.entry_type()) {
                extended = extended.saturating_add(size);
                if extended > MAX_HEADER_BYTES {
                    return Err(Error::invalid(
                        "archive",
                        "",
                        "a member's extended headers are larger than 1 MiB",
                    ));
                }
            }
            match header.entry_type() {
                EntryType::XHeader => records.add(&self.body(size)?)?,
                EntryType::GNULongName => long_name = Some(until_nul(&self.body(size)?)),
                EntryType::GNULongLink => long_link = Some(until_nul(&self.body(size)?)),
                // Comments (git writes its commit there); no tar writer puts metadata of members into it.
                EntryType::XGlobalHeader => drop(self.body(size)?),
                _ => {
                    records.path = records.path.or(long_name);
                    records.linkpath = records.linkpath.or(long_link);
                    return self.entry(&header, records).map(Some);
                }
            }
        }
    }

    /// Returns the recipe writer, to note what happens to contents.
    pub(super) fn recipe(&mut self) -> Option<&mut Writer> {
        self.recipe.as_mut()
    }

    /// Reads content of the current member; 0 at its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.content(buffer).map_err(|error| naming(error, &self.name))
    }

    fn content(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if limit == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buffer[..limit]).at("read", "the archive")?;
        if count == 0 {
            return Err(truncated());
        }
        self.left -= count as u64;
        Ok(count)
    }

    /// Reads to the end of the stream, behind the end of the archive, and finishes the recipe.
    pub(crate) fn finish(mut self) -> Result<R> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = self.input.read(&mut buffer).at("read", "the archive")?;
            if count == 0 {
                break;
            }
            self.note(&buffer[..count])?;
        }
        self.recipe.map_or(Ok(()), Writer::finish)?;
        Ok(self.input)
    }

    fn note(&mut self, bytes: &[u8]) -> Result<()> {
        self.recipe.as_mut().map_or(Ok(()), |recipe| recipe.literal(bytes))
    }

    fn block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.input.read_exact(&mut block).map_err(end_is_truncation)?;
        self.note(&block)?;
        Ok(block)
    }

    /// Reads content that is metadata and goes into the recipe; its size has been checked.
    fn body(&mut self, size: u64) -> Result<Vec<u8>> {
        let length = usize::try_from(size).map_err(|_| truncated())?;
        let mut bytes = vec![0; length.next_multiple_of(BLOCK)];
        self.input.read_exact(&mut bytes).map_err(end_is_truncation)?;
        self.note(&bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    }

    fn skip_content(&mut self) -> Result<()> {
        let mut buffer = [0; 8 << 10];
        loop {
            let count = self.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            self.note(&buffer[..count])?;
        }
        let padding = usize::try_from(std::mem::take(&mut self.padding)).unwrap_or(0);
        self.input.read_exact(&mut buffer[..padding]).map_err(end_is_truncation)?;
        self.note(&buffer[..padding])
    }

    /// Reads a header block; a block of zeros, or the end of the stream, is the end of the archive.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]).at("read", "the archive")? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(truncated()),
                count => filled += count,
            }
        }
        self.note(&block)?;
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum = checksum(&block);
        match header.cksum() {
            Ok(recorded) if recorded == sum => Ok(Some(header)),
            _ => {
                Err(Error::invalid("archive", "", "a header's checksum is wrong; this is not a tar archive"))
            }
        }
    }

    /// Turns a header and what extended headers said before it into an entry, and gets ready to read its content.
    fn entry(&mut self, header: &Header, mut records: Records) -> Result<Entry> {
        let name = records
            .sparse
            .name
            .take()
            .or(records.path.take())
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let path = EntryPath::parse(&name)?;
        self.name.clone_from(&name);
        let wrong = |problem: &str| Error::invalid(ENTRY, path.display(), problem);
        let link = match records.linkpath.take() {
            Some(link) => link,
            None => header.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default(),
        };
        let size = match records.size {
            Some(size) => size,
            None => number(&header.as_old().size, header.entry_size())?,
        };
        let kind = kind(header, &name, link).map_err(|problem| wrong(&problem))?;
        // As in Go's reader, only files have content, whatever the size of other members claims.
        let (content, sparse) = match kind {
            Kind::File => self.content_of(header, &records, size)?,
            _ => (0, None),
        };
        self.left = content;
        self.padding = if kind == Kind::File { padding_of(size) } else { 0 };
        let id = |pax: Option<u64>, header: Result<u64>| {
            let id = pax.map_or(header, Ok)?;
            // To chown, the largest number means "leave it".
            let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
            id.ok_or_else(|| wrong("its owner is not a user or group of Linux"))
        };
        let old = header.as_old();
        let uid = id(records.uid, number(&old.uid, header.uid()))?;
        let gid = id(records.gid, number(&old.gid, header.gid()))?;
        let mtime = match records.mtime {
            Some(time) => time,
            None => header_time(header)?,
        };
        records.xattrs.retain(|name, _| super::entry::is_portable_xattr(name));
        if records.xattrs.values().any(|value| value.len() > MAX_XATTR_BYTES) {
            return Err(wrong("an extended attribute is larger than 64 KiB"));
        }
        let mode = number(&old.mode, header.mode())? & 0o7777;
        Ok(Entry { path, kind, mode, uid, gid, mtime, xattrs: records.xattrs, stored_size: content, sparse })
    }

    /// Finds out how much content follows, and where in the file it belongs.
    fn content_of(
        &mut self,
        header: &Header,
        records: &Records,
        size: u64,
    ) -> Result<(u64, Option<sparse::Map>)> {
        let (map, stored) = match (header.entry_type(), records.sparse.major, records.sparse.real_size) {
            (EntryType::GNUSparse, ..) => (self.old_gnu_map(header)?, size),
            (_, 1, Some(real_size)) => {
                let (map, used) = self.map_before_data(real_size)?;
                (map, size.saturating_sub(used))
            }
            _ => match records.sparse_map()? {
                Some(map) => (map, size),
                None => return Ok((size, None)),
            },
        };
        if map.stored_size() != stored {
            return Err(Error::invalid("sparse file", stored, "its size is not that of its pieces"));
        }
        Ok((stored, Some(map)))
    }

    /// GNU's own format: four pieces in the header, more in blocks behind it.
    fn old_gnu_map(&mut self, header: &Header) -> Result<sparse::Map> {
        let gnu =
            header.as_gnu().ok_or_else(|| Error::invalid("sparse file", "", "its header is not GNU's"))?;
        let mut map = sparse::Map::new(gnu.real_size().map_err(damaged)?)?;
        let mut add = |pieces: &[tar::GnuSparseHeader]| -> Result<()> {
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                map.push(piece.offset().map_err(damaged)?, piece.length().map_err(damaged)?)?;
            }
            Ok(())
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = tar::GnuExtSparseHeader::new();
            block.as_mut_bytes().copy_from_slice(&self.block()?);
            add(&block.sparse)?;
            more = block.is_extended();
        }
        Ok(map)
    }

    /// PAX format 1.0: decimal numbers, a line each, in front of the data and padded to a block.
    ///
    /// Returns the map and how many bytes it took.
    fn map_before_data(&mut self, real_size: u64) -> Result<(sparse::Map, u64)> {
        let mut map = sparse::Map::new(real_size)?;
        let mut numbers = Vec::new();
        let (mut digits, mut used, mut expected) = (Vec::new(), 0, None);
        while expected != Some(numbers.len()) {
            used += BLOCK as u64;
            if used > MAX_HEADER_BYTES {
                return Err(Error::invalid("sparse file", "", "its map is larger than 1 MiB"));
            }
            for byte in self.block()? {
                if expected == Some(numbers.len()) {
                    break;
                }
                if byte != b'\n' {
                    digits.push(byte);
                    continue;
                }
                let number = sparse::number(&std::mem::take(&mut digits))?;
                match expected {
                    None => expected = usize::try_from(number).ok().and_then(|pieces| pieces.checked_mul(2)),
                    Some(_) => numbers.push(number),
                }
            }
        }
        for pair in numbers.chunks_exact(2) {
            map.push(pair[0], pair[1])?;
        }
        Ok((map, used))
    }
}

/// The sum of a header's bytes, with its checksum field read as blanks.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let plain = |range: std::ops::Range<usize>| block[range].iter().map(|&byte| u32::from(byte)).sum::<u32>();
    plain(0..148) + 8 * u32::from(b' ') + plain(156..BLOCK)
}

fn kind(header: &Header, name: &[u8], link: Vec<u8>) -> Result<Kind, String> {
    let device = || match (header.device_major(), header.device_minor()) {
        (Ok(major), Ok(minor)) => Ok((major.unwrap_or(0), minor.unwrap_or(0))),
        _ => Err("its device number is damaged".to_owned()),
    };
    match header.entry_type() {
        // The oldest tars had no type for directories.
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Ok(Kind::Directory),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Ok(Kind::File),
        EntryType::Directory => Ok(Kind::Directory),
        EntryType::Link => EntryPath::parse(&link).map(Kind::Hardlink).map_err(|error| error.to_string()),
        EntryType::Symlink if link.is_empty() || link.len() >= MAX_PATH_BYTES || link.contains(&0) => {
            Err("its link target is not a path".to_owned())
        }
        EntryType::Symlink => Ok(Kind::Symlink(link)),
        EntryType::Char => match device()? {
            // This is how overlayfs says that a file was removed; archives say it with `.wh.` names.
            (0, 0) => Err("a character device 0:0 is overlayfs's whiteout".to_owned()),
            (major, minor) => Ok(Kind::CharDevice(major, minor)),
        },
        EntryType::Block => device().map(|(major, minor)| Kind::BlockDevice(major, minor)),
        EntryType::Fifo => Ok(Kind::Fifo),
        other => Err(format!("members of type {:?} cannot be unpacked", char::from(other.as_byte()))),
    }
}

fn header_time(header: &Header) -> Result<Time> {
    let seconds = number(&header.as_old().mtime, header.mtime())?.cast_signed();
    Ok(Time { seconds, nanoseconds: 0 })
}

/// Adds the member's name to an error that does not have it.
fn naming(error: Error, name: &[u8]) -> Error {
    match error {
        Error::Invalid { kind, input, problem } if kind != ENTRY && !name.is_empty() => {
            let about = if input.is_empty() { kind.to_owned() } else { format!("{kind} {input:?}") };
            Error::invalid(ENTRY, shown(name), format!("{about}: {problem}"))
        }
        error => error,
    }
}

/// Tells whether a header only says something about the member that follows, or about all of them.
fn is_extended(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink | EntryType::XGlobalHeader
    )
}

/// How many bytes fill the last block of content; the size may be any number that a header can hold.
fn padding_of(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// Some writers leave fields blank that they have nothing to say in: that is 0.
fn number<T: Default>(field: &[u8], parsed: std::io::Result<T>) -> Result<T> {
    match parsed {
        Err(_) if field.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(T::default()),
        parsed => parsed.map_err(damaged),
    }
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
}

fn damaged(error: std::io::Error) -> Error {
    Error::invalid("archive", "", error)
}

fn truncated() -> Error {
    Error::invalid("archive", "", "it ends in the middle of a member")
}

fn end_is_truncation(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => truncated(),
        _ => Error::io("read", "the archive", error),
    }
}
