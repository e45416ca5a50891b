//! `COPY`, by the rules of BuildKit's `fsutil/copy`.

use rustix::fs::FileType;

use super::file::{self, Changes};
use super::mkdir::{NewDirectory, make_all};
use crate::cancel::Cancel;
use crate::error::{BuildError, IoDoing, Result};
use crate::plan::{Chmod, CopyStep};
use crate::rooted::{Inside, Root, kind};
use crate::tree::{Entry, Selection};

/// Whether what was copied is what was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fidelity {
    /// It is.
    Exact,
    /// Some file changed between being selected and being copied: the result must not be found again by its key.
    Changed,
}

/// Where a `COPY` copies to.
pub(crate) struct Target<'a> {
    pub(crate) root: &'a Root,
    /// Whose everything will be; without it, files keep their owners.
    pub(crate) owner: Option<(u32, u32)>,
}

/// Copies selections into a root filesystem.
pub(crate) fn copy(
    from: &Root,
    selections: &[Selection],
    step: &CopyStep,
    target: &Target<'_>,
    cancel: &Cancel,
) -> Result<Fidelity> {
    let Target { root, owner } = *target;
    let mode = match step.chmod {
        // As in BuildKit, directories above what is copied get the permissions alone.
        Some(Chmod::Octal(mode)) => mode & 0o777,
        _ => NewDirectory::DEFAULT.mode,
    };
    let new_directory = NewDirectory { mode, owner: owner.unwrap_or((0, 0)) };
    let copier =
        Copier { from, root, changes: Changes { owner, chmod: step.chmod.clone() }, new_directory, cancel };
    let mut fidelity = Fidelity::Exact;
    for selection in selections {
        let target = copier.prepare(selection, step)?;
        if copier.selection(selection, &target)? == Fidelity::Changed {
            fidelity = Fidelity::Changed;
        }
    }
    Ok(fidelity)
}

struct Copier<'a> {
    from: &'a Root,
    root: &'a Root,
    changes: Changes,
    new_directory: NewDirectory,
    cancel: &'a Cancel,
}

impl Copier<'_> {
    /// Makes what is missing of the destination; returns where the selection itself goes.
    fn prepare(&self, selection: &Selection, step: &CopyStep) -> Result<Inside> {
        let destination = step.destination.path.as_bytes();
        let slash = destination.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        let ensured = if step.destination.is_directory { destination } else { &destination[..slash] };
        make_all(self.root, &self.root.resolve(ensured)?, self.new_directory)?;
        let mut target = self.root.resolve(destination)?;
        let there = self.root.stat(&target)?;
        if selection.is_directory() {
            if there.is_none() {
                make_all(self.root, &target, self.new_directory)?;
            }
            return Ok(target);
        }
        if there.is_some_and(|stat| kind(&stat) == FileType::Directory) {
            target = target.join(&selection.name);
        }
        make_all(self.root, &target.parent(), self.new_directory)?;
        Ok(target)
    }

    fn selection(&self, selection: &Selection, target: &Inside) -> Result<Fidelity> {
        let mut fidelity = Fidelity::Exact;
        for (index, entry) in selection.entries.iter().enumerate() {
            if self.cancel.is_cancelled() {
                return Err(BuildError::cancelled());
            }
            let to = if entry.path.is_empty() { target.clone() } else { target.join(&entry.path) };
            if entry.is_directory() {
                // The root of what is copied was prepared, and keeps what it had but its times.
                if index > 0 {
                    self.directory(&to)?;
                }
                continue;
            }
            self.make_room(&to)?;
            if self.file(selection, entry, target, &to)? == Fidelity::Changed {
                fidelity = Fidelity::Changed;
            }
        }
        self.finish_directories(selection, target)?;
        Ok(fidelity)
    }

    fn directory(&self, to: &Inside) -> Result<()> {
        let full = self.root.full(to);
        match self.root.stat(to)? {
            None => rustix::fs::mkdir(&full, rustix::fs::Mode::from_raw_mode(0o700)).doing("create", &full),
            Some(stat) if kind(&stat) == FileType::Directory => Ok(()),
            Some(_) => Err(BuildError::failed(format!("cannot copy to non-directory: /{}", shown(to)))),
        }
    }

    /// A file replaces a file or a link, but no directory.
    fn make_room(&self, to: &Inside) -> Result<()> {
        let full = self.root.full(to);
        match self.root.stat(to)? {
            None => Ok(()),
            Some(stat) if kind(&stat) == FileType::Directory => {
                Err(BuildError::failed(format!("cannot replace to directory /{} with file", shown(to))))
            }
            Some(_) => std::fs::remove_file(&full).doing("replace", &full),
        }
    }

    fn file(&self, selection: &Selection, entry: &Entry, target: &Inside, to: &Inside) -> Result<Fidelity> {
        let full = self.root.full(to);
        if let Some(first) = entry.same_as {
            let first = target.join(&selection.entries[first].path);
            let first = self.root.full(&first);
            return std::fs::hard_link(&first, &full).doing("link", &full).map(|()| Fidelity::Exact);
        }
        let mut fidelity = Fidelity::Exact;
        if entry.is_file() {
            let from = self.from.full(&selection.inside(entry));
            if !file::content(&from, &full, &entry.stat)? {
                fidelity = Fidelity::Changed;
            }
        } else {
            file::special(&full, entry)?;
        }
        file::metadata(&full, entry, &self.changes)?;
        Ok(fidelity)
    }

    /// Metadata of directories comes last, the deepest first: copying into them changes their times.
    fn finish_directories(&self, selection: &Selection, target: &Inside) -> Result<()> {
        for entry in selection.entries.iter().rev().filter(|entry| entry.is_directory()) {
            if entry.path.is_empty() {
                file::times(&self.root.full(target), entry)?;
            } else {
                file::metadata(&self.root.full(&target.join(&entry.path)), entry, &self.changes)?;
            }
        }
        Ok(())
    }
}

impl Selection {
    fn is_directory(&self) -> bool {
        self.entries.first().is_some_and(Entry::is_directory)
    }
}

fn shown(path: &Inside) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}
