//! Recipes: what of a tar is not in the tree that was unpacked from it.
//!
//! A recipe is a zstd stream of frames, in the order of the tar. A *literal* frame holds bytes of the tar (headers,
//! padding, the end). A *content* frame names a file of the tree, and which of its bytes come next. With the tree, the
//! recipe gives the exact tar back.
//!
//! A tar may write a path twice. What the second entry replaces is then moved aside into `x/N` instead of removed, and
//! an *override* notes that contents of that path, in frames before this one, are found there.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use serde::{Deserialize, Serialize};

use super::entry::{EntryPath, MAX_PATH_BYTES};
use super::sparse::Piece;
use crate::error::{Error, IoContext, Result};

const MAGIC: &[u8; 8] = b"recipe1\n";
const LITERAL: u8 = 0;
const CONTENT: u8 = 1;
const END: u8 = 2;
/// Literals are collected to this size, so that a thousand headers are not a thousand frames.
const LITERAL_BYTES: usize = 64 << 10;
const MAX_LITERAL_BYTES: u32 = 1 << 20;
const MAX_PIECES: u32 = 1 << 20;
/// Headers are so repetitive that the fastest level already makes them small.
const COMPRESSION_LEVEL: i32 = 1;

/// Writes a recipe.
pub(super) struct Writer {
    path: PathBuf,
    output: zstd::Encoder<'static, File>,
    literal: Vec<u8>,
    contents: u64,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).at("create", path)?;
        let mut output = zstd::Encoder::new(file, COMPRESSION_LEVEL).at("write", path)?;
        output.write_all(MAGIC).at("write", path)?;
        Ok(Self { path: path.to_path_buf(), output, literal: Vec::new(), contents: 0 })
    }

    /// Adds bytes of the tar.
    pub(super) fn literal(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(LITERAL_BYTES) {
            self.literal.extend_from_slice(piece);
            if self.literal.len() >= LITERAL_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Says that these pieces of a file come next in the tar.
    pub(super) fn content(&mut self, path: &EntryPath, pieces: &[Piece]) -> Result<()> {
        self.flush()?;
        self.contents += 1;
        let mut frame = vec![CONTENT];
        frame.extend_from_slice(&length_of(path.as_bytes()).to_le_bytes());
        frame.extend_from_slice(path.as_bytes());
        frame.extend_from_slice(&length_of(pieces).to_le_bytes());
        for piece in pieces {
            frame.extend_from_slice(&piece.offset.to_le_bytes());
            frame.extend_from_slice(&piece.length.to_le_bytes());
        }
        self.output.write_all(&frame).at("write", &self.path)
    }

    /// Returns how many content frames there are so far.
    pub(super) fn contents(&self) -> u64 {
        self.contents
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.output.write_all(&[END]).at("write", &self.path)?;
        self.output.finish().at("write", &self.path)?;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.literal.is_empty() {
            return Ok(());
        }
        let length = length_of(&self.literal).to_le_bytes();
        let frame = [&[LITERAL], &length[..], &self.literal].concat();
        self.literal.clear();
        self.output.write_all(&frame).at("write", &self.path)
    }
}

/// Lengths are bounded by [`MAX_PATH_BYTES`], [`LITERAL_BYTES`] and the pieces of one sparse map.
fn length_of<T>(slice: &[T]) -> u32 {
    u32::try_from(slice.len()).unwrap_or(u32::MAX)
}

/// Contents of `path`, or below it, in content frames numbered below `before`, are in `x/aside`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Override {
    path: Vec<u8>,
    before: u64,
    aside: u64,
}

impl Override {
    pub(super) fn new(path: &EntryPath, before: u64, aside: u64) -> Self {
        Self { path: path.as_bytes().to_vec(), before, aside }
    }
}

/// Where the parts of a layer are.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) layer: PathBuf,
}

impl Places {
    pub(super) fn tree(&self) -> PathBuf {
        self.layer.join("d")
    }

    pub(super) fn recipe(&self) -> PathBuf {
        self.layer.join("r")
    }

    pub(super) fn overrides(&self) -> PathBuf {
        self.layer.join("o")
    }

    pub(super) fn aside(&self, number: u64) -> PathBuf {
        self.layer.join("x").join(number.to_string())
    }

    /// Returns the file whose bytes a content frame means: a directory, and a path in it that no link is part of.
    fn content(&self, path: &EntryPath, number: u64, overrides: &[Override]) -> (PathBuf, Vec<u8>) {
        let moved = overrides.iter().find_map(|entry| {
            let rest = path.below(&entry.path).filter(|_| number < entry.before)?;
            match rest.strip_prefix(b"/") {
                Some(rest) => Some((self.aside(entry.aside), rest.to_vec())),
                None => Some((self.layer.join("x"), entry.aside.to_string().into_bytes())),
            }
        });
        moved.unwrap_or_else(|| (self.tree(), path.as_bytes().to_vec()))
    }
}

/// Writes the tar of an unpacked layer again.
///
/// # Errors
/// [`Error::Corrupt`] if the recipe is damaged or a file is shorter than it says. The caller compares the digest.
pub(super) fn replay(layer: &Path, output: &mut impl Write) -> Result<()> {
    let places = Places { layer: layer.to_path_buf() };
    let path = places.recipe();
    let overrides = read_overrides(&places.overrides())?;
    let file = File::open(&path).at("open", &path)?;
    let mut frames =
        Frames { path: &path, input: BufReader::new(zstd::Decoder::new(file).at("read", &path)?) };
    if frames.take(MAGIC.len())? != MAGIC {
        return Err(frames.damaged());
    }
    let mut number = 0;
    loop {
        match frames.take(1)?[0] {
            LITERAL => {
                let length = frames.length(MAX_LITERAL_BYTES)?;
                output.write_all(&frames.take(length)?).at("write", "tar")?;
            }
            CONTENT => {
                let (path, pieces) = frames.content()?;
                let (directory, path) = places.content(&path, number, &overrides);
                copy_pieces(&directory, &path, &pieces, output)?;
                number += 1;
            }
            END => return Ok(()),
            _ => return Err(frames.damaged()),
        }
    }
}

fn read_overrides(path: &Path) -> Result<Vec<Override>> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| Error::corrupt(path.display(), error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

struct Frames<'a, R> {
    path: &'a Path,
    input: R,
}

impl<R: Read> Frames<'_, R> {
    fn damaged(&self) -> Error {
        Error::corrupt(self.path.display(), "its frames are damaged")
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged()),
            Err(error) => Err(Error::io("read", self.path, error)),
        }
    }

    fn length(&mut self, limit: u32) -> Result<usize> {
        let bytes = self.take(4)?;
        let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if length > limit { Err(self.damaged()) } else { Ok(length as usize) }
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = [0; 8];
        number.copy_from_slice(&self.take(8)?);
        Ok(u64::from_le_bytes(number))
    }

    fn content(&mut self) -> Result<(EntryPath, Vec<Piece>)> {
        let length = self.length(u32::try_from(MAX_PATH_BYTES).unwrap_or(u32::MAX))?;
        let path = EntryPath::parse(&self.take(length)?)?;
        let count = self.length(MAX_PIECES)?;
        let pieces = (0..count)
            .map(|_| Ok(Piece { offset: self.number()?, length: self.number()? }))
            .collect::<Result<_>>()?;
        Ok((path, pieces))
    }
}

fn copy_pieces(directory: &Path, path: &[u8], pieces: &[Piece], output: &mut impl Write) -> Result<()> {
    if pieces.iter().all(|piece| piece.length == 0) {
        return Ok(());
    }
    let full = directory.join(std::ffi::OsStr::from_bytes(path));
    let mut file = open_beneath(directory, path).at("open", &full)?;
    let path = &full;
    for piece in pieces {
        file.seek(SeekFrom::Start(piece.offset)).at("seek", path)?;
        let copied = io::copy(&mut (&file).take(piece.length), output).at("copy", path)?;
        if copied != piece.length {
            return Err(Error::corrupt(
                path.display(),
                format!("it is {} bytes too short", piece.length - copied),
            ));
        }
    }
    Ok(())
}

/// Opens a file by a path that may be as long as paths can be, and that leads through no link.
fn open_beneath(directory: &Path, path: &[u8]) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = openat(CWD, directory, flags | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(directory, path, flags | OFlags::NONBLOCK, Mode::empty(), resolve).map(File::from)
}
