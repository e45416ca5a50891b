//! What an archive holds, each blob checked while it is read. Which of them are layers is known only from the index,
//! and nothing says where in the archive that is: so the blobs wait in files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;

use serde::Deserialize;

use super::load::{Observer, Phase, Progress};
use crate::Store;
use crate::digest::{Digest, Hashed};
use crate::disk::{fault, remove};
use crate::error::{Error, IoContext, Result};
use crate::layer::Members;
use crate::oci::MAX_DOCUMENT_BYTES;

/// What errors call it.
pub(super) const ARCHIVE: &str = "image archive";
/// So many members may an archive have: a thousand images with twenty layers each.
const MAX_MEMBERS: u64 = 25_000;
const BUFFER_BYTES: usize = 256 << 10;
/// The directory of the blobs in an image layout.
const BLOBS: &[u8] = b"blobs/sha256/";

/// The content of an archive, in a directory that goes with it.
#[derive(Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    blobs: BTreeMap<Digest, u64>,
    pub(super) index: Vec<u8>,
}

/// The file `oci-layout`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

impl Spool {
    /// Reads an archive to its end.
    pub(super) fn read(store: &Store, archive: impl Read, observer: &Observer<'_>) -> Result<Self> {
        let directory = store.paths.temporary();
        fs::create_dir(&directory).at("create", &directory)?;
        fault::point("spool made");
        let mut spool = Self { directory, blobs: BTreeMap::new(), index: Vec::new() };
        let (mut layout, mut index, mut count) = (None, None, 0);
        let mut members = Members::plain(archive);
        while let Some(entry) = members.next()? {
            count += 1;
            if count > MAX_MEMBERS {
                return Err(invalid("", format!("it has more than {MAX_MEMBERS} members")));
            }
            let path = entry.path.as_bytes();
            let blob = path.strip_prefix(BLOBS);
            if entry.is_directory() || (blob.is_none() && path != b"oci-layout" && path != b"index.json") {
                continue;
            }
            let name = String::from_utf8_lossy(path).into_owned();
            if !entry.is_plain_file() {
                return Err(invalid(name, "it is not a plain file"));
            }
            match blob {
                Some(hex) => spool.blob(&name, hex, entry.stored_size, &mut members, observer)?,
                None if path == b"index.json" => {
                    index = Some(document(&name, entry.stored_size, &mut members)?)
                }
                None => layout = Some(document(&name, entry.stored_size, &mut members)?),
            }
        }
        members.finish()?;
        check_layout(layout)?;
        spool.index =
            index.ok_or_else(|| invalid("index.json", "it is missing, or the archive is cut off"))?;
        fault::point("archive read");
        Ok(spool)
    }

    fn blob(
        &mut self,
        name: &str,
        hex: &[u8],
        size: u64,
        members: &mut Members<impl Read>,
        observer: &Observer<'_>,
    ) -> Result<()> {
        let hex = std::str::from_utf8(hex).map_err(|_| invalid(name, "its name is not a digest"))?;
        let digest = Digest::from_hex(hex).map_err(|_| invalid(name, "its name is not a digest"))?;
        let path = self.path(&digest);
        // A blob that is there twice is read twice; the second must be the same as the first.
        let mut file = Hashed::new(File::create(&path).at("create", &path)?);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            observer(Progress {
                digest,
                phase: Phase::Reading,
                current_bytes: file.length(),
                total_bytes: size,
            });
            let read = members.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            file.write_all(&buffer[..read]).at("write", &path)?;
        }
        let (_, found, length) = file.finish();
        fault::point("blob spooled");
        if found != digest {
            return Err(invalid(name, format!("its bytes have the digest {found}")));
        }
        self.blobs.insert(digest, length);
        Ok(())
    }

    /// Returns the size of a blob that must be there.
    pub(super) fn size_of(&self, digest: &Digest) -> Result<u64> {
        self.blobs.get(digest).copied().ok_or_else(|| invalid(digest, "this blob is not in the archive"))
    }

    /// Opens a blob.
    pub(super) fn open(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        File::open(&path).at("open", path)
    }

    /// Reads a blob that is a document.
    pub(super) fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        if self.size_of(digest)? > MAX_DOCUMENT_BYTES {
            return Err(too_large(digest));
        }
        let mut bytes = Vec::new();
        self.open(digest)?.read_to_end(&mut bytes).at("read", self.path(digest))?;
        Ok(bytes)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = remove::tree(&self.directory) {
            // The next open of the store empties `t/`.
            tracing::warn!(%error, "cannot remove what was read of an archive");
        }
    }
}

/// Makes the error of an archive that cannot be loaded: about one of its parts, or about the whole.
pub(super) fn invalid(part: impl ToString, problem: impl ToString) -> Error {
    Error::invalid(ARCHIVE, part, problem)
}

fn too_large(part: impl ToString) -> Error {
    invalid(part, format!("a document of more than {MAX_DOCUMENT_BYTES} bytes"))
}

fn document(name: &str, size: u64, members: &mut Members<impl Read>) -> Result<Vec<u8>> {
    if size > MAX_DOCUMENT_BYTES {
        return Err(too_large(name));
    }
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; BUFFER_BYTES]);
    loop {
        match members.read(&mut buffer)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn check_layout(layout: Option<Vec<u8>>) -> Result<()> {
    let layout = layout.ok_or_else(|| invalid("oci-layout", "it is missing: this is no OCI image layout"))?;
    let Layout { image_layout_version: version } =
        serde_json::from_slice(&layout).map_err(|error| invalid("oci-layout", error))?;
    if version.starts_with("1.") {
        return Ok(());
    }
    Err(invalid("oci-layout", format!("version {version:?} of the layout is not known, only 1.0.0 is")))
}
