//! Writes the archive of what an instance has.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use proto::control as api;
use ring::digest;

use super::{BLOCK, BLOCK_BYTES, FORMAT, IMAGES, MANIFEST, Manifest, PROGRAMS};
use crate::component::Report;
use crate::component::installed::{Installed, Program};
use crate::component::known::node_image;
use crate::component::manifest::hex;
use crate::component::progress::Meter;
use crate::component::store::{Store, refused};
use crate::error::{Error, IoContext, Result};
use crate::files;

/// How much is copied at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// Writes the archive; returns its size. Until it is whole and on disk it has another name.
pub(super) async fn write(
    store: &Store,
    installed: &Installed,
    bin: &Path,
    output: &Path,
    report: Report<'_>,
) -> Result<u64> {
    if output.is_dir() {
        return Err(Error::invalid(output.display().to_string(), "is a directory"));
    }
    // The programs come by themselves, so the image that they were in is not needed.
    let mut images = installed.images.clone();
    images.remove(&node_image(&installed.version));
    check(store, &images).await?;
    let mut archive = Archive::create(output)?;
    for (name, program) in &installed.programs {
        report(format!("copying {name}"));
        archive.program(&bin.join(name), name, program)?;
    }
    let meter = Meter::new("saving the images".into(), report);
    archive.images(store, images.keys().cloned().collect(), &meter).await?;
    // Somebody may have moved a name meanwhile.
    check(store, &images).await?;
    archive.finish(&installed.version, images, output)
}

/// Makes sure that the names mean what was installed.
async fn check(store: &Store, images: &BTreeMap<String, String>) -> Result<()> {
    let names = store.names().await?;
    match images.iter().find(|(name, id)| names.get(*name) != Some(id)) {
        None => Ok(()),
        Some((name, _)) => {
            Err(Error::invalid(format!("image {name}"), "is not what was installed; `up` mends that"))
        }
    }
}

/// An archive that is being written.
struct Archive {
    file: File,
    path: PathBuf,
    members: BTreeMap<String, Program>,
}

impl Archive {
    /// Begins the file. What an earlier attempt left is overwritten.
    fn create(output: &Path) -> Result<Self> {
        let mut path = output.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(&path).at("create", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::invalid(path.display().to_string(), "is being written by somebody else"));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(error).at("lock", &path),
        }
        file.set_len(0).at("truncate", &path)?;
        Ok(Self { file, path, members: BTreeMap::new() })
    }

    fn program(&mut self, from: &Path, name: &str, program: &Program) -> Result<()> {
        let source = File::open(from).at("open", from)?;
        self.header(&format!("{PROGRAMS}/{name}"), program.size_bytes)?;
        let mut member = Member::default();
        let mut source = source.take(program.size_bytes.saturating_add(1));
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match source.read(&mut chunk).at("read", from)? {
                0 => break,
                count => self.append(&mut member, &chunk[..count])?,
            }
        }
        let found = self.end(member)?;
        if found != *program {
            return Err(Error::invalid(
                from.display().to_string(),
                "is not what was installed; `up` mends that",
            ));
        }
        self.members.insert(format!("{PROGRAMS}/{name}"), found);
        Ok(())
    }

    /// Streams the images out of the store. Their size is in the header when it is known.
    async fn images(&mut self, store: &Store, names: Vec<String>, meter: &Meter<'_>) -> Result<()> {
        let start = self.file.stream_position().at("seek in", &self.path)?;
        self.header(IMAGES, 0)?;
        let asked = "save the images";
        let answer = store.images().save(api::SaveRequest { names }).await;
        let mut chunks = answer.map_err(|status| refused(asked, &status))?.into_inner();
        let mut member = Member::default();
        while let Some(chunk) = chunks.message().await.map_err(|status| refused(asked, &status))? {
            self.append(&mut member, &chunk.data)?;
            meter.at(member.size_bytes, None);
        }
        let found = self.end(member)?;
        self.file.seek(SeekFrom::Start(start)).at("seek in", &self.path)?;
        self.header(IMAGES, found.size_bytes)?;
        self.file.seek(SeekFrom::End(0)).at("seek in", &self.path)?;
        self.members.insert(IMAGES.into(), found);
        Ok(())
    }

    /// Writes the manifest, and gives the file its name.
    fn finish(mut self, version: &str, images: BTreeMap<String, String>, output: &Path) -> Result<u64> {
        let manifest = Manifest {
            format: FORMAT,
            version: version.to_owned(),
            architecture: std::env::consts::ARCH.into(),
            images,
            members: std::mem::take(&mut self.members),
        };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| Error::invalid(MANIFEST, error.to_string()))?;
        self.header(MANIFEST, text.len() as u64)?;
        let mut member = Member::default();
        self.append(&mut member, &text)?;
        self.end(member)?;
        self.file.write_all(&[0; 2 * BLOCK]).at("write", &self.path)?;
        self.file.sync_all().at("sync", &self.path)?;
        let length = self.file.metadata().at("examine", &self.path)?.len();
        files::rename(&self.path, &std::path::absolute(output).at("resolve", output)?)?;
        Ok(length)
    }

    fn header(&mut self, name: &str, size: u64) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).at("name a member of", &self.path)?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(if name.starts_with(PROGRAMS) { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.file.write_all(header.as_bytes()).at("write", &self.path)
    }

    fn append(&mut self, member: &mut Member, bytes: &[u8]) -> Result<()> {
        member.size_bytes += bytes.len() as u64;
        member.hash.update(bytes);
        self.file.write_all(bytes).at("write", &self.path)
    }

    /// Fills the last block.
    fn end(&mut self, member: Member) -> Result<Program> {
        let Member { size_bytes, hash } = member;
        let padding = usize::try_from(size_bytes.next_multiple_of(BLOCK_BYTES) - size_bytes).unwrap_or(0);
        self.file.write_all(&vec![0; padding]).at("write", &self.path)?;
        Ok(Program { size_bytes, sha256: hex(hash.finish().as_ref()) })
    }
}

/// A member that is being written.
struct Member {
    size_bytes: u64,
    hash: digest::Context,
}

impl Default for Member {
    fn default() -> Self {
        Self { size_bytes: 0, hash: digest::Context::new(&digest::SHA256) }
    }
}
