//! The build context: a directory of the user's, what of it is left out, and the digests of its files.

mod index;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use cachestore::Digest;
use cachestore::digest::Digester;

use crate::cancel::Cancel;
use crate::error::{BuildError, IoDoing, Result};
use crate::ignore::{self, Ignore};
use crate::request::BuildRequest;
use crate::rooted::Root;
use crate::tree::{Entry, Filter, Identity, Scanner, Selection};
use index::Index;

const BUFFER_BYTES: usize = 256 << 10;
/// How often a file that changes while it is read is read again.
const MAX_READS: usize = 3;

/// A context that is being used by a build.
pub(crate) struct Context {
    root: Root,
    ignore: Ignore,
    index: Mutex<Index>,
    index_path: PathBuf,
    cancel: Cancel,
}

impl Context {
    /// Opens the context of a build. Nothing is read of it yet but its ignore file.
    ///
    /// `cache_dir` is where digests are remembered, in one file for each context.
    pub(crate) fn open(request: &BuildRequest, cache_dir: &Path, cancel: &Cancel) -> Result<Self> {
        let directory = &request.context_dir;
        let metadata = std::fs::metadata(directory).map_err(|error| {
            BuildError::invalid(format!("cannot use the build context {}: {error}", directory.display()))
        })?;
        if !metadata.is_dir() {
            let problem = format!("the build context {} is not a directory", directory.display());
            return Err(BuildError::invalid(problem));
        }
        let name = Digest::of(directory.as_os_str().as_encoded_bytes()).hex();
        let index_path = cache_dir.join(name);
        Ok(Self {
            root: Root::new(directory),
            ignore: read_ignore(request)?,
            index: Mutex::new(Index::load(&index_path)),
            index_path,
            cancel: cancel.clone(),
        })
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn scanner(&self) -> Scanner<'_> {
        Scanner { root: &self.root, filter: Filter::Context(&self.ignore) }
    }

    /// Says that all files of a selection are known now, so that what is remembered beside them can be forgotten.
    pub(crate) fn note_scanned(&self, selection: &Selection) {
        self.index().note_scanned(selection.path.as_bytes());
    }

    /// Returns the digest of a file: from memory if the file is what it was, else from its bytes.
    pub(crate) fn digest_of(&self, selection: &Selection, entry: &Entry) -> Result<Digest> {
        let inside = selection.inside(entry);
        if let Some(digest) = self.index().find(inside.as_bytes(), &entry.stat) {
            return Ok(digest);
        }
        if self.cancel.is_cancelled() {
            return Err(BuildError::cancelled());
        }
        let path = self.root.full(&inside);
        let started = SystemTime::now();
        let (digest, identity) = hash(&path)?;
        self.index().remember(inside.as_bytes(), identity, digest, started);
        Ok(digest)
    }

    /// Writes what was learnt for the next build; failing to do so costs only time.
    pub(crate) fn remember(&self) {
        if let Err(error) = self.index().save(&self.index_path) {
            tracing::warn!(path = %self.index_path.display(), %error, "cannot remember the digests of a build context");
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hashes a file, again if it changed meanwhile; returns what it then was.
pub(crate) fn hash(path: &Path) -> Result<(Digest, Identity)> {
    for _ in 0..MAX_READS {
        let mut file = File::open(path).doing("open", path)?;
        let before = Identity::of(&rustix::fs::fstat(&file).doing("inspect", path)?);
        let mut digester = Digester::new();
        let mut buffer =
            vec![0; BUFFER_BYTES.min(usize::try_from(before.size).unwrap_or(usize::MAX).max(1) + 1)];
        loop {
            let count = file.read(&mut buffer).doing("read", path)?;
            if count == 0 {
                break;
            }
            digester.update(&buffer[..count]);
        }
        if Identity::of(&rustix::fs::fstat(&file).doing("inspect", path)?) == before {
            return Ok((digester.finish(), before));
        }
    }
    Err(BuildError::failed(format!("{} changes all the time; it cannot be copied", path.display())))
}

/// `NAME.dockerignore` beside the Dockerfile wins over `.dockerignore` of the context.
fn read_ignore(request: &BuildRequest) -> Result<Ignore> {
    let own = request.dockerfile_path.as_ref().and_then(|path| {
        let mut name = path.file_name()?.to_owned();
        name.push(".dockerignore");
        Some(path.with_file_name(name))
    });
    let candidates = own.into_iter().chain([request.context_dir.join(".dockerignore")]);
    for path in candidates {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).doing("open", &path),
        };
        let mut text = Vec::new();
        file.take(ignore::MAX_FILE_BYTES as u64 + 1).read_to_end(&mut text).doing("read", &path)?;
        return Ignore::parse(&text)
            .map_err(|error| BuildError::invalid(format!("{}: {error}", path.display())));
    }
    Ok(Ignore::default())
}
