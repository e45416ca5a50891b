//! Unpacks a layer's tar into a tree, with its recipe, and checks its diff ID on the way.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
#[cfg(test)]
use std::path::Path;

use super::entry::{ENTRY, Entry, EntryPath, Kind};
use super::recipe::{Override, Writer};
use super::sparse::Piece;
use super::stream::Members;
use super::tree::{Replaced, Tree};
use super::whiteout::{self, Meaning};
use super::workspace::Workspace;
use crate::Store;
use crate::digest::{Digest, Hashed};
use crate::disk::fault;
use crate::error::{Error, IoContext, Result};
use crate::oci::manifest::Compression;

const BUFFER_BYTES: usize = 128 << 10;
/// A run of zeros of at least this length, so aligned, becomes a hole.
const HOLE_BYTES: usize = 64 << 10;
/// What a file or a directory takes on the disk is rounded up to this.
const DISK_BLOCK_BYTES: u64 = 4096;

/// What a tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeSize {
    /// Bytes of content of its files, each file once: the size that images are said to have.
    pub(crate) content: u64,
    /// Bytes that it takes on the disk.
    pub(crate) disk: u64,
    /// Files and directories.
    pub(crate) inodes: u64,
}

impl TreeSize {
    pub(super) fn add(&mut self, content: u64, disk: u64) {
        // A sparse file may claim any size: the sum is for people, and must only not overflow.
        self.content = self.content.saturating_add(content);
        let blocks = disk.div_ceil(DISK_BLOCK_BYTES);
        self.disk = self.disk.saturating_add(blocks.saturating_mul(DISK_BLOCK_BYTES));
        self.inodes += 1;
    }
}

/// A layer whose tree is complete and whose diff ID was right; it is not recorded yet.
#[derive(Debug)]
pub struct Unpacked {
    pub(super) workspace: Workspace,
    pub(super) diff_id: Digest,
    pub(super) tar_size: u64,
    pub(super) size: TreeSize,
    /// Directories that the tar used but did not contain; they look like those below, if there are any.
    pub(super) implicit: Vec<EntryPath>,
}

impl Unpacked {
    /// Tells whether the tree depends on the layers below it.
    pub fn depends_on_lower(&self) -> bool {
        !self.implicit.is_empty()
    }
}

impl Store {
    /// Unpacks a layer's blob into a tree. The layer must have this diff ID; it is recorded by
    /// [`Store::commit_unpacked`], which may come much later, when the layers below it are there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an archive that cannot be unpacked safely, naming the entry; [`Error::Corrupt`] for
    /// another diff ID. Nothing is left behind.
    pub fn unpack(&self, blob: impl Read, compression: Compression, diff_id: Digest) -> Result<Unpacked> {
        let workspace = self.workspace()?;
        let tar = Hashed::new(decompress(blob, compression)?);
        let input = BufReader::with_capacity(BUFFER_BYTES, tar);
        let mut unpacking = Unpacking {
            members: Members::new(input, Some(Writer::create(&workspace.recipe())?)),
            tree: Tree::open(workspace.path())?,
            overrides: Vec::new(),
            size: TreeSize::default(),
            buffer: vec![0; BUFFER_BYTES],
        };
        unpacking.run()?;
        let Unpacking { members, tree, overrides, size, .. } = unpacking;
        let (_, found, tar_size) = members.finish()?.into_inner().finish();
        fault::point("recipe written");
        if found != diff_id {
            return Err(Error::corrupt(
                format!("layer {diff_id}"),
                format!("its tar has the diff ID {found}"),
            ));
        }
        write_overrides(&workspace, &overrides)?;
        fault::point("unpacked");
        Ok(Unpacked { workspace, diff_id, tar_size, size, implicit: tree.into_implicit() })
    }
}

fn decompress<'a>(blob: impl Read + 'a, compression: Compression) -> Result<Box<dyn Read + 'a>> {
    let blob = BufReader::with_capacity(BUFFER_BYTES, blob);
    Ok(match compression {
        Compression::None => Box::new(blob),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(blob).at("decompress", "the layer")?),
    })
}

fn write_overrides(workspace: &Workspace, overrides: &[Override]) -> Result<()> {
    if overrides.is_empty() {
        return Ok(());
    }
    let path = workspace.overrides();
    let file = File::create(&path).at("create", &path)?;
    serde_json::to_writer(file, overrides).map_err(|error| Error::io("write", path, error))
}

struct Unpacking<R> {
    members: Members<R>,
    tree: Tree,
    overrides: Vec<Override>,
    size: TreeSize,
    buffer: Vec<u8>,
}

impl<R: Read> Unpacking<R> {
    fn run(&mut self) -> Result<()> {
        self.size.add(0, DISK_BLOCK_BYTES);
        while let Some(entry) = self.members.next()? {
            self.entry(entry)?;
            fault::point("member unpacked");
        }
        self.tree.settle_times()
    }

    fn entry(&mut self, mut entry: Entry) -> Result<()> {
        if whiteout::is_ignored(entry.path.as_bytes()) {
            return Ok(());
        }
        entry.path = self.tree.locate(&entry.path)?;
        if let Kind::Hardlink(target) = &mut entry.kind {
            *target = self.tree.locate_target(&entry.path, target)?;
        }
        let (directory, name) = entry.path.split();
        match whiteout::meaning(name) {
            Meaning::Plain => {}
            Meaning::Opaque => return self.tree.make_opaque(&directory),
            Meaning::Removed(b"" | b"." | b"..") => {
                return Err(Error::invalid(
                    ENTRY,
                    entry.path.display(),
                    "it removes nothing that has a name",
                ));
            }
            Meaning::Removed(name) => return self.tree.remove_lower(&directory.join(name)),
        }
        if entry.kind == Kind::Directory {
            self.size.add(0, DISK_BLOCK_BYTES);
            return self.tree.directory(&entry);
        }
        if entry.path.is_root() {
            return Err(Error::invalid(ENTRY, ".", "the root of a layer must be a directory"));
        }
        // Linking a file to itself must not begin with moving it away.
        if matches!(&entry.kind, Kind::Hardlink(target) if *target == entry.path) {
            return Ok(());
        }
        if let Replaced::Aside(number) = self.tree.make_room(&entry.path, false)? {
            let before = self.members.recipe().map_or(0, |recipe| recipe.contents());
            self.overrides.push(Override::new(&entry.path, before, number));
        }
        match &entry.kind {
            Kind::File => self.file(&entry),
            Kind::Hardlink(target) => self.tree.hardlink(&entry.path, target),
            _ => {
                self.size.add(0, 0);
                self.tree.special(&entry)
            }
        }
    }

    fn file(&mut self, entry: &Entry) -> Result<()> {
        let whole = [Piece { offset: 0, length: entry.stored_size }];
        let (pieces, size) = match &entry.sparse {
            Some(map) => (&map.pieces[..], map.real_size),
            None => (&whole[..], entry.stored_size),
        };
        if entry.stored_size > 0
            && let Some(recipe) = self.members.recipe()
        {
            recipe.content(&entry.path, pieces)?;
        }
        let mut file = self.tree.file(&entry.path)?;
        let mut disk = 0;
        for piece in pieces {
            disk += self.copy(&mut file, *piece, &entry.path)?;
        }
        file.set_len(size).at("set the length of", entry.path.display())?;
        self.size.add(size, disk);
        self.tree.finish_file(&file, entry)
    }

    /// Copies a piece of content, leaving holes for zeros; returns the bytes written.
    fn copy(&mut self, file: &mut File, piece: Piece, path: &EntryPath) -> Result<u64> {
        let (mut left, mut written, mut skipped) = (piece.length, 0, piece.offset > 0);
        let mut position = piece.offset;
        while left > 0 {
            let count = self.fill(left)?;
            let bytes = &self.buffer[..count];
            position += count as u64;
            left -= count as u64;
            if count >= HOLE_BYTES && bytes.iter().all(|&byte| byte == 0) {
                skipped = true;
                continue;
            }
            if std::mem::take(&mut skipped) {
                let start = position - count as u64;
                file.seek(SeekFrom::Start(start)).at("seek", path.display())?;
            }
            file.write_all(bytes).at("write", path.display())?;
            written += count as u64;
        }
        Ok(written)
    }

    /// Fills the buffer as far as the content goes, so that holes do not depend on how the input was cut up.
    fn fill(&mut self, left: u64) -> Result<usize> {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(HOLE_BYTES);
        let mut filled = 0;
        while filled < wanted {
            match self.members.read(&mut self.buffer[filled..wanted])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }
}

/// Unpacks a plain tar into a directory that exists, for tests that compare trees.
#[cfg(test)]
pub(super) fn into_directory(tar: impl Read, layer: &Path) -> Result<TreeSize> {
    let mut unpacking = Unpacking {
        members: Members::new(tar, None),
        tree: Tree::open(layer)?,
        overrides: Vec::new(),
        size: TreeSize::default(),
        buffer: vec![0; BUFFER_BYTES],
    };
    unpacking.run()?;
    Ok(unpacking.size)
}
