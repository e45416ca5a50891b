//! Reads an archive that anybody may have made or damaged, and installs it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::control as api;
use proto::control::load_event::Event;
use ring::digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{BLOCK, BLOCK_BYTES, IMAGES, MANIFEST, Manifest, PROGRAMS, members};
use crate::component::Report;
use crate::component::install::NODE_PROGRAMS;
use crate::component::installed::{Installed, Program};
use crate::component::manifest::hex;
use crate::component::place;
use crate::component::progress::Meter;
use crate::component::source::Source;
use crate::component::store::{Store, refused};
use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::kubeadm::Version;
use crate::node::Node;

/// The largest manifest.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// How much is read at a time.
const CHUNK_BYTES: usize = 1 << 18;
/// Chunks that may wait to be sent.
const CHUNKS: usize = 8;
/// How often it is looked how far the reading is.
const LOOK: Duration = Duration::from_millis(250);

/// An archive whose members were found, and are not yet known to be right.
#[derive(Debug)]
pub(super) struct Bundle {
    path: PathBuf,
    /// Where each member's content begins, and how long it is.
    places: BTreeMap<String, (u64, u64)>,
    pub(super) manifest: Manifest,
    key: String,
}

/// Checks the whole archive, loads its images and places its programs.
pub(crate) async fn install(
    node: &Node,
    path: &Path,
    version: &Version,
    report: Report<'_>,
) -> Result<Installed> {
    report(format!("reading {}", path.display()));
    let owned = path.to_owned();
    let bundle = Arc::new(place::blocking(move || Bundle::open(&owned)).await?);
    bundle.check(&version.to_string(), std::env::consts::ARCH)?;
    verify(&bundle, report).await?;
    let store = Store::connect(node).await?;
    if !has_images(&store, &bundle).await? {
        load(&store, &bundle, report).await?;
        fault::point("the images of a bundle are loaded");
        if !has_images(&store, &bundle).await? {
            return Err(bundle.invalid(format!("{IMAGES} has other images than {MANIFEST} says")));
        }
    }
    let mut installed = Installed::new(Source::Bundle(path.to_owned()), &version.to_string(), &bundle.key);
    installed.images = bundle.manifest.images.clone();
    for name in NODE_PROGRAMS {
        let (bundle, to) = (Arc::clone(&bundle), node.paths.bin().join(name));
        let program = place::blocking(move || bundle.place(name, &to)).await?;
        installed.programs.insert(name.to_owned(), program);
        fault::point("a program of a bundle is in place");
    }
    Ok(installed)
}

async fn has_images(store: &Store, bundle: &Bundle) -> Result<bool> {
    let names = store.names().await?;
    Ok(bundle.manifest.images.iter().all(|(name, id)| names.get(name) == Some(id)))
}

/// Reads every member.
async fn verify(bundle: &Arc<Bundle>, report: Report<'_>) -> Result<()> {
    let meter = Meter::new(format!("checking {}", bundle.path.display()), report);
    let all = bundle.places.values().map(|(_, size)| size).sum();
    let done = Arc::new(AtomicU64::new(0));
    let (reading, count) = (Arc::clone(bundle), Arc::clone(&done));
    let work = place::blocking(move || reading.verify(&count));
    tokio::pin!(work);
    loop {
        match tokio::time::timeout(LOOK, &mut work).await {
            Ok(result) => return result,
            Err(_) => meter.at(done.load(Ordering::Relaxed), Some(all)),
        }
    }
}

/// Sends the images to the store.
async fn load(store: &Store, bundle: &Arc<Bundle>, report: Report<'_>) -> Result<()> {
    let asked = format!("load the images of {}", bundle.path.display());
    let meter = Meter::new("loading the images".into(), report);
    let (_, size) = bundle.place_of(IMAGES)?;
    let sent = Arc::new(AtomicU64::new(0));
    let (chunks, stream) = mpsc::channel(CHUNKS);
    // The end of the stream is the end of the archive: it must not come because reading failed.
    let unread = chunks.clone();
    let (reading, count) = (Arc::clone(bundle), Arc::clone(&sent));
    let read = place::blocking(move || reading.send(&chunks, &count));
    let answers = async {
        let mut events = store.images().load(ReceiverStream::new(stream)).await?.into_inner();
        while let Some(event) = events.message().await? {
            meter.at(sent.load(Ordering::Relaxed), Some(size));
            if let Some(Event::Finished(_)) = event.event {
                return Ok(());
            }
        }
        Err(tonic::Status::internal("shimd ended it without a result"))
    };
    let refused = |status: tonic::Status| refused(&asked, &status);
    tokio::pin!(answers, read);
    tokio::select! {
        answer = &mut answers => return answer.map_err(refused),
        read = &mut read => read?,
    }
    drop(unread);
    answers.await.map_err(refused)
}

impl Bundle {
    /// Finds the members of an archive, and reads its manifest.
    ///
    /// # Errors
    /// It is no such archive, or it is cut off.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let invalid = |problem: String| Error::invalid(path.display().to_string(), problem);
        let mut file = File::open(path).at("open", path)?;
        let places = places(&mut file, path)?;
        let (offset, size) = *places.get(MANIFEST).ok_or_else(|| {
            invalid(format!("has no {MANIFEST}: it is cut off, or no archive of `shimctl bundle`"))
        })?;
        if size > MAX_MANIFEST_BYTES {
            return Err(invalid(format!("has a {MANIFEST} that is too large")));
        }
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(offset)).at("seek in", path)?;
        file.take(size).read_to_end(&mut text).at("read", path)?;
        let manifest =
            Manifest::parse(&text).map_err(|problem| invalid(format!("its {MANIFEST} {problem}")))?;
        let key = format!("bundle-{}", &hex(digest::digest(&digest::SHA256, &text).as_ref())[..16]);
        Ok(Self { path: path.to_owned(), places, manifest, key })
    }

    /// Tells whether it is for this version and this machine, and has what it says.
    pub(super) fn check(&self, version: &str, architecture: &str) -> Result<()> {
        let manifest = &self.manifest;
        if manifest.architecture != architecture {
            return Err(
                self.invalid(format!("is for {}, and this machine is {architecture}", manifest.architecture))
            );
        }
        if manifest.version != version {
            let has = &manifest.version;
            return Err(self.invalid(format!(
                "has Kubernetes {has}, and {version} was asked for; --kubernetes-version {has} takes it"
            )));
        }
        for (name, member) in &manifest.members {
            let (_, size) = self.place_of(name)?;
            if size != member.size_bytes {
                return Err(self.invalid(format!("{name} has {size} bytes, and not {}", member.size_bytes)));
            }
        }
        Ok(())
    }

    /// Reads every member, and compares it with the manifest.
    pub(super) fn verify(&self, done: &AtomicU64) -> Result<()> {
        for (name, member) in &self.manifest.members {
            let mut hash = digest::Context::new(&digest::SHA256);
            self.each_chunk(name, |chunk| {
                hash.update(&chunk);
                done.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                true
            })?;
            let found = hex(hash.finish().as_ref());
            if found != member.sha256 {
                return Err(
                    self.invalid(format!("{name} has the SHA-256 {found}, and not {}", member.sha256))
                );
            }
        }
        Ok(())
    }

    /// Passes the images on, until nobody takes them any more: then the answer says why.
    fn send(&self, chunks: &mpsc::Sender<api::LoadRequest>, sent: &AtomicU64) -> Result<()> {
        self.each_chunk(IMAGES, |data| {
            sent.fetch_add(data.len() as u64, Ordering::Relaxed);
            chunks.blocking_send(api::LoadRequest { data }).is_ok()
        })
    }

    /// Copies a program to its place; what it has to be, it is compared with once more.
    fn place(&self, name: &str, to: &Path) -> Result<Program> {
        let member = format!("{PROGRAMS}/{name}");
        let program =
            self.manifest.members.get(&member).ok_or_else(|| self.invalid(format!("lacks {member}")))?;
        let what = format!("{member} of {}", self.path.display());
        place::write(self.member(&member)?, &what, to, program)?;
        Ok(program.clone())
    }

    /// Reads a member piece by piece, until the function says that it is enough.
    fn each_chunk(&self, name: &str, mut take: impl FnMut(Vec<u8>) -> bool) -> Result<()> {
        let mut source = self.member(name)?;
        let (_, mut left) = self.place_of(name)?;
        while left > 0 {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let count =
                source.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk).at("read", &self.path)?;
            if count == 0 {
                return Err(self.invalid(format!("{name} is cut off")));
            }
            left -= count as u64;
            if !take(chunk) {
                break;
            }
        }
        Ok(())
    }

    fn member(&self, name: &str) -> Result<impl Read + use<>> {
        let (offset, size) = self.place_of(name)?;
        let mut file = File::open(&self.path).at("open", &self.path)?;
        file.seek(SeekFrom::Start(offset)).at("seek in", &self.path)?;
        Ok(file.take(size))
    }

    fn place_of(&self, name: &str) -> Result<(u64, u64)> {
        self.places.get(name).copied().ok_or_else(|| self.invalid(format!("lacks {name}")))
    }

    fn invalid(&self, problem: String) -> Error {
        Error::invalid(self.path.display().to_string(), problem)
    }
}

/// Reads the headers of an archive; returns where the members are.
fn places(file: &mut File, path: &Path) -> Result<BTreeMap<String, (u64, u64)>> {
    let invalid = |problem: String| Error::invalid(path.display().to_string(), problem);
    let foreign = || invalid("is no archive of `shimctl bundle`".into());
    let metadata = file.metadata().at("examine", path)?;
    if !metadata.is_file() {
        return Err(invalid("is not a file".into()));
    }
    let known: Vec<String> = members().into_iter().chain([MANIFEST.to_owned()]).collect();
    let mut places = BTreeMap::new();
    let mut at = 0;
    while at + BLOCK_BYTES <= metadata.len() {
        let mut header = tar::Header::new_old();
        file.seek(SeekFrom::Start(at)).at("seek in", path)?;
        file.read_exact(header.as_mut_bytes()).at("read", path)?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(places);
        }
        let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        let is_ours = header.cksum().is_ok_and(|sum| sum == checksum(header.as_bytes()))
            && header.entry_type() == tar::EntryType::Regular
            && known.contains(&name);
        let size = header.entry_size().ok().filter(|_| is_ours).ok_or_else(foreign)?;
        at += BLOCK_BYTES;
        let end = size.checked_next_multiple_of(BLOCK_BYTES).and_then(|size| at.checked_add(size));
        let end = end.filter(|end| *end <= metadata.len());
        let end = end.ok_or_else(|| invalid(format!("is cut off in the middle of {name}")))?;
        if places.insert(name.clone(), (at, size)).is_some() {
            return Err(invalid(format!("has {name} twice")));
        }
        at = end;
    }
    if places.is_empty() { Err(foreign()) } else { Err(invalid("is cut off".into())) }
}

/// The sum of a header's bytes, with its checksum field read as blanks.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let field = 148..156;
    let bytes = block.iter().enumerate();
    bytes.map(|(at, byte)| if field.contains(&at) { u32::from(b' ') } else { u32::from(*byte) }).sum()
}
