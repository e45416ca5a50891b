//! The files that kubectl reads: a user's own, which has clusters of others in it, and an instance's.

#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tokio::time::{Instant, sleep};

use super::{Entry, Problem, Rest, check, merge, remove};
use crate::command::Account;
use crate::error::{Error, IoContext, Result};
use crate::files;

/// How long another program may keep the file to itself.
const LOCK_LIMIT: Duration = Duration::from_secs(3);
const LOCK_POLL: Duration = Duration::from_millis(50);
/// What a lock of ours contains; those of kubectl are empty. There is one service that changes a file, so that a lock of ours that
/// is found is one that a service has left which was killed.
const MARK: &str = "shim\n";
/// The largest file that is changed.
const MAX_BYTES: u64 = 8 << 20;
const NEW_MODE: u32 = 0o600;

/// A file, and who reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    path: PathBuf,
    account: Account,
    /// Whether it lies where its reader decides what lies there, and so is changed with no more rights than the reader has.
    is_home: bool,
}

impl Place {
    /// Returns a user's own file, `~/.kube/config`. What `KUBECONFIG` says is known to the user's shell only.
    pub(crate) fn home(account: Account) -> Self {
        Self { path: account.home.join(".kube/config"), account, is_home: true }
    }

    /// Returns a file in a directory of ours.
    pub(crate) fn own(path: PathBuf, account: Account) -> Self {
        Self { path, account, is_home: false }
    }

    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether [`Place::install`] would succeed, and changes nothing.
    ///
    /// # Errors
    /// It would not, and why.
    pub(crate) async fn examine(&self) -> Result<()> {
        self.change(|text| check(text).map(|()| Rest::Unchanged)).await.map(drop)
    }

    /// Writes the cluster into the file, where it becomes the current one; tells whether that changed anything.
    ///
    /// # Errors
    /// The file is not understood, with the line; cannot be read or written; or is kept locked. It is as it was then.
    pub(crate) async fn install(&self, entry: Entry) -> Result<bool> {
        self.change(move |text| {
            let merged = merge(text, &entry)?;
            Ok(if text == Some(&merged) { Rest::Unchanged } else { Rest::Text(merged) })
        })
        .await
    }

    /// Removes the cluster from the file, and the file with it if nothing else is in there; tells whether that changed anything.
    ///
    /// # Errors
    /// As for [`Place::install`].
    pub(crate) async fn uninstall(&self) -> Result<bool> {
        self.change(|text| text.map_or(Ok(Rest::Unchanged), remove)).await
    }

    async fn change(&self, edit: impl Fn(Option<&str>) -> Edited + Clone + Send + 'static) -> Result<bool> {
        let started = Instant::now();
        loop {
            let (place, edit) = (self.clone(), edit.clone());
            let attempt = tokio::task::spawn_blocking(move || place.attempt(edit)).await;
            let attempt = attempt.map_err(|error| Error::invalid(self.shown(), error.to_string()))?;
            if let Some(is_changed) = attempt? {
                return Ok(is_changed);
            }
            if started.elapsed() > LOCK_LIMIT {
                let lock = lock_path(&self.path);
                let problem = format!("is kept locked; remove {} if no program uses it", lock.display());
                return Err(Error::invalid(self.shown(), problem));
            }
            sleep(LOCK_POLL).await;
        }
    }

    /// Changes the file with the rights that are due; `None` if it is locked.
    fn attempt(self, edit: impl Fn(Option<&str>) -> Edited + Send + 'static) -> Result<Option<bool>> {
        if !self.is_home || geteuid().as_raw() == self.account.uid {
            return self.edit(edit);
        }
        let shown = self.shown();
        let failed = |problem: &str| Error::invalid(shown.clone(), problem);
        // The rights are the thread's, which ends with them.
        let thread = std::thread::Builder::new().name("kubeconfig".into()).spawn(move || {
            become_user(&self.account).at("take the rights of the owner of", &self.path)?;
            self.edit(edit)
        });
        let thread = thread.map_err(|error| failed(&format!("cannot start a thread: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(failed("could not be changed")))
    }

    fn edit(&self, edit: impl Fn(Option<&str>) -> Edited) -> Result<Option<bool>> {
        let Some(directory) = self.path.parent() else {
            return Err(Error::invalid(self.shown(), "is not a file's path"));
        };
        let is_there = directory.try_exists().at("examine", directory)?;
        // Without the file there is nothing to be removed: no directory is made for its lock.
        if !is_there && matches!(edit(None), Ok(Rest::Unchanged)) {
            return Ok(Some(false));
        }
        if !is_there {
            // Not what is missing above it: a home that is not there is not made.
            std::fs::DirBuilder::new().mode(0o700).create(directory).at("create", directory)?;
        }
        let Some(lock) = Lock::take(&self.path)? else { return Ok(None) };
        let changed = self.edit_locked(edit);
        lock.release()?;
        if let Ok(true) = changed
            && self.is_home
            && !self.path.exists()
        {
            files::remove_if_empty(directory)?;
        }
        changed.map(Some)
    }

    fn edit_locked(&self, edit: impl Fn(Option<&str>) -> Edited) -> Result<bool> {
        let is_link = self.path.is_symlink();
        let real =
            if is_link { self.path.canonicalize().at("follow", &self.path)? } else { self.path.clone() };
        let before = existing(&real)?;
        let text = before.as_ref().map(|(text, _)| text.as_str());
        let edited = edit(text);
        let edited =
            edited.map_err(|problem| Error::invalid(real.display().to_string(), problem.to_string()))?;
        let rest = match edited {
            Rest::Unchanged => None,
            Rest::Nothing if is_link => Some(String::new()),
            Rest::Nothing => {
                files::remove(&real)?;
                return Ok(true);
            }
            Rest::Text(text) => Some(text),
        };
        let metadata = before.map(|(_, metadata)| metadata);
        let mode = metadata.as_ref().map_or(NEW_MODE, |metadata| metadata.mode() & 0o777);
        let owner = metadata
            .filter(|_| self.is_home)
            .map_or((self.account.uid, self.account.gid), |found| (found.uid(), found.gid()));
        if let Some(text) = &rest {
            files::put(&real, text.as_bytes(), mode)?;
        }
        settle(&real, mode, owner)?;
        Ok(rest.is_some())
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

type Edited = std::result::Result<Rest, Problem>;

/// Gives up every right that a user has not. Only of this thread.
fn become_user(account: &Account) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    set_thread_groups(&[gid])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// Reads the file if it is there.
fn existing(path: &Path) -> Result<Option<(String, std::fs::Metadata)>> {
    let invalid = |problem: &str| Err(Error::invalid(path.display().to_string(), problem));
    let metadata = match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found.at("examine", path)?,
    };
    if !metadata.is_file() {
        return invalid("is not a regular file");
    }
    if metadata.len() > MAX_BYTES {
        return invalid("is too large to be a file of kubectl");
    }
    let text = files::read(path)?;
    if let Some(line) = text.lines().position(|line| line.contains(char::REPLACEMENT_CHARACTER)) {
        // It would not be the same file after a change.
        return invalid(&format!("line {}: is not UTF-8", line + 1));
    }
    Ok(Some((text, metadata)))
}

/// Sees to mode and owner: a mode is subject to the umask when a file is made, and a file belongs to who made it.
fn settle(path: &Path, mode: u32, (uid, gid): (u32, u32)) -> Result<()> {
    let Ok(metadata) = path.metadata() else { return Ok(()) };
    if geteuid().is_root() && (metadata.uid(), metadata.gid()) != (uid, gid) {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).at("change the owner of", path)?;
    }
    if metadata.mode() & 0o777 != mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .at("change the mode of", path)?;
    }
    Ok(())
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// What keeps kubectl from changing the file, by kubectl's own convention.
struct Lock(PathBuf);

impl Lock {
    /// Takes the lock; `None` if another program has it.
    fn take(path: &Path) -> Result<Option<Self>> {
        let path = lock_path(path);
        match OpenOptions::new().write(true).create_new(true).mode(NEW_MODE).open(&path) {
            Ok(mut file) => {
                let written = file.write_all(MARK.as_bytes()).at("write", &path);
                let lock = Self(path);
                // An empty one would be taken for another program's.
                written.or_else(|error| lock.release().and(Err(error)))?;
                Ok(Some(lock))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let is_ours =
                    path.symlink_metadata().is_ok_and(|metadata| metadata.len() == MARK.len() as u64)
                        && files::is(&path, MARK)?;
                Ok(is_ours.then_some(Self(path)))
            }
            Err(error) => Err(error).at("create", path),
        }
    }

    fn release(&self) -> Result<()> {
        files::remove(&self.0)
    }
}
