//! Snapshots, in the sense of containerd: what a container's root filesystem is mounted from.
//!
//! A *committed* snapshot is usually a chain of this store: its name is the chain ID, and it needs no record, so that it
//! is there even where nobody remembers having registered it. *Active* snapshots have a directory of their own on top
//! of a committed one, *views* only read. An active snapshot can also be committed (containerd does so when it unpacks
//! an image by itself); such a snapshot keeps its own directory.

mod mounts;
mod registered;
mod row;
mod usage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::params;

pub use mounts::Mount;
pub(crate) use registered::{Discarded, Registered};
pub use usage::Usage;

use crate::Store;
use crate::chains;
use crate::digest::Digest;
use crate::disk::{atomic, fault, remove};
use crate::error::{DatabaseContext, Error, IoContext, Result};
use crate::meta::now;
use row::Row;
pub(crate) use row::all as rows;

/// Labels, as containerd gives them.
pub type Labels = BTreeMap<String, String>;

/// The label with which containerd asks for a snapshot that may be here already; its value is the chain ID.
pub const LABEL_REF: &str = "containerd.io/snapshot.ref";

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Writable.
    Active,
    /// Read-only.
    View,
    /// The base of others.
    Committed,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name: for a chain, the chain ID.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The committed snapshot below it.
    pub parent: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Nanoseconds since 1970.
    pub updated_at: i64,
}

impl Store {
    /// Makes an active snapshot or a view on top of a committed one, and returns how to mount it.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::NotFound`] for the parent, [`Error::Invalid`] for a parent that is not
    /// committed. Also [`Error::AlreadyExists`], naming the chain, for a request with [`LABEL_REF`] that this store can
    /// answer with a chain: nothing is made then.
    pub fn prepare(
        &self,
        name: &str,
        kind: Kind,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<Vec<Mount>> {
        if let Some(chain) = labels.get(LABEL_REF).filter(|_| kind == Kind::Active)
            && self.register(chain, parent)?
        {
            return Err(Error::AlreadyExists { kind: "snapshot", name: chain.clone() });
        }
        let info = Info {
            name: name.to_owned(),
            kind,
            parent: parent.map(str::to_owned),
            labels: labels.clone(),
            created_at: now(),
            updated_at: now(),
        };
        let lower = self.lower_of(&info)?;
        let temporary = self.make_directories(lower.first().map(|path| &**path), labels)?;
        let mut place = temporary.clone();
        let made = self.meta.write("record snapshot", |transaction| {
            if row::by_name(transaction, name).doing("find snapshot")?.is_some()
                || is_chain(transaction, name).doing("find chain")?
            {
                return Err(Error::AlreadyExists { kind: "snapshot", name: name.to_owned() });
            }
            if let Some(parent) = parent {
                row::check_parent(transaction, parent)?;
            }
            let id = row::insert(transaction, &info).doing("record snapshot")?;
            let directory = self.paths.snapshot(id);
            atomic::rename(&temporary, &directory)?;
            place = directory;
            Ok(())
        });
        match made {
            Ok(()) => Ok(mounts::of(kind, &place, &lower, labels)),
            Err(error) => {
                // Where the commit itself failed, the next snapshot gets the same ID, and with it this place.
                remove::tree(&place)?;
                Err(error)
            }
        }
    }

    fn make_directories(&self, below: Option<&Path>, labels: &Labels) -> Result<PathBuf> {
        let directory = self.paths.temporary();
        for path in [directory.clone(), directory.join("u"), directory.join("w")] {
            std::fs::create_dir(&path).at("create", &path)?;
            fault::point("snapshot directory made");
        }
        mounts::prepare_upper(&directory.join("u"), below, labels)?;
        fault::point("snapshot made");
        Ok(directory)
    }

    /// Returns how to mount an active snapshot or a view.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a committed snapshot.
    pub fn mounts(&self, name: &str) -> Result<Vec<Mount>> {
        let row = self.expect_row(name)?;
        if row.info.kind == Kind::Committed {
            return Err(Error::invalid("snapshot", name, "a committed snapshot cannot be mounted"));
        }
        Ok(mounts::of(
            row.info.kind,
            &self.paths.snapshot(row.id),
            &self.lower_of(&row.info)?,
            &row.info.labels,
        ))
    }

    /// Turns an active snapshot into a committed one of another name.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] for the new name; [`Error::NotFound`]; [`Error::Invalid`] if it is not active.
    pub fn commit_snapshot(&self, name: &str, key: &str, labels: &Labels) -> Result<()> {
        let row = self.expect_row(key)?;
        if row.info.kind != Kind::Active {
            return Err(Error::invalid("snapshot", key, "only an active snapshot can be committed"));
        }
        let usage = usage::of_tree(&self.paths.snapshot(row.id).join("u"))?;
        self.meta.write("commit snapshot", |transaction| {
            if row::by_name(transaction, name).doing("find snapshot")?.is_some()
                || is_chain(transaction, name).doing("find chain")?
            {
                return Err(Error::AlreadyExists { kind: "snapshot", name: name.to_owned() });
            }
            row::commit(transaction, row.id, name, labels, usage).doing("commit snapshot")
        })?;
        remove::tree(&self.paths.snapshot(row.id).join("w"))
    }

    /// Removes the work directories of committed snapshots, which a crash may have left.
    pub(crate) fn remove_work_directories(&self) -> Result<()> {
        for row in self.meta.read("list snapshots", row::all)? {
            if row.info.kind == Kind::Committed {
                remove::tree(&self.paths.snapshot(row.id).join("w"))?;
            }
        }
        Ok(())
    }

    /// Removes a snapshot. For a chain this only says that containerd has no use for it any more: the layers stay.
    ///
    /// The directory is moved away and removed by [`Store::cleanup`].
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InUse`] if it is the parent of another snapshot.
    pub fn remove_snapshot(&self, name: &str) -> Result<()> {
        if let Some(chain) = self.known_chain(name)? {
            return self.unregister(&chain);
        }
        let directory = self.meta.write("remove snapshot", |transaction| {
            let row = row::by_name(transaction, name).doing("find snapshot")?;
            let row = row.ok_or_else(|| Error::not_found("snapshot", name))?;
            row::check_no_children(transaction, name)?;
            transaction.execute("DELETE FROM snapshots WHERE id = ?", [row.id]).doing("remove snapshot")?;
            let directory = self.paths.snapshot(row.id);
            self.discarded.announce(directory.clone());
            Ok(directory)
        })?;
        self.discard(&directory)
    }

    /// Returns a snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn snapshot(&self, name: &str) -> Result<Info> {
        match self.known_chain(name)? {
            Some(chain) => self.chain_info(&chain),
            None => self.expect_row(name).map(|row| row.info),
        }
    }

    /// Replaces a snapshot's labels by what `change` makes of them.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn update_labels(&self, name: &str, change: impl FnOnce(&mut Labels)) -> Result<Info> {
        if let Some(chain) = self.known_chain(name)? {
            let mut info = self.chain_info(&chain)?;
            change(&mut info.labels);
            self.registered.set_labels(chain, info.labels.clone());
            return Ok(info);
        }
        self.meta.write("update snapshot", |transaction| {
            let row = row::by_name(transaction, name).doing("find snapshot")?;
            let mut row = row.ok_or_else(|| Error::not_found("snapshot", name))?;
            change(&mut row.info.labels);
            row.info.updated_at = now();
            transaction
                .execute(
                    "UPDATE snapshots SET labels = ?, updated_at = ? WHERE id = ?",
                    params![row::labels_text(&row.info.labels), row.info.updated_at, row.id],
                )
                .doing("update snapshot")?;
            Ok(row.info)
        })
    }

    /// Returns every snapshot that has a record, and the chains that containerd has registered.
    ///
    /// Never the whole store: containerd's collection removes every snapshot listed that it does not know.
    ///
    /// # Errors
    /// Those of the database.
    pub fn snapshots(&self) -> Result<Vec<Info>> {
        let rows = self.meta.read("list snapshots", row::all)?;
        let mut infos: Vec<_> = rows.into_iter().map(|row| row.info).collect();
        for chain in self.registered.chains() {
            match self.chain_info(&chain) {
                Ok(info) => infos.push(info),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(infos)
    }

    /// Returns what a snapshot's own directory takes on the disk, without those below it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn usage(&self, name: &str) -> Result<Usage> {
        if let Some(chain) = self.known_chain(name)? {
            return self.chain_usage(&chain);
        }
        let row = self.expect_row(name)?;
        match row.info.kind {
            Kind::Committed => Ok(row.usage),
            Kind::Active | Kind::View => usage::of_tree(&self.paths.snapshot(row.id).join("u")),
        }
    }

    /// Removes from the disk what removed snapshots left there.
    ///
    /// # Errors
    /// Those of the disk; what is left is removed when the store is next opened.
    pub fn cleanup(&self) -> Result<()> {
        for path in self.discarded.take() {
            remove::tree(&path)?;
        }
        Ok(())
    }

    /// Moves a directory that has no record any more out of the way, if it is there; [`Store::cleanup`] removes it.
    pub(crate) fn discard(&self, path: &Path) -> Result<()> {
        let temporary = self.paths.temporary();
        let renamed = if path.exists() { atomic::rename(path, &temporary).map(Some) } else { Ok(None) };
        self.discarded.moved(path, matches!(renamed, Ok(Some(()))).then_some(temporary));
        renamed.map(drop)
    }

    fn expect_row(&self, name: &str) -> Result<Row> {
        let row = self.meta.read("find snapshot", |connection| row::by_name(connection, name))?;
        row.ok_or_else(|| Error::not_found("snapshot", name))
    }

    /// Returns the directories below a snapshot, top first.
    fn lower_of(&self, info: &Info) -> Result<Vec<PathBuf>> {
        let mut directories = Vec::new();
        let mut parent = info.parent.clone();
        while let Some(name) = parent {
            if let Some(chain) = self.known_chain(&name)? {
                directories.extend(self.lower_dirs(&self.chain_layers(&chain)?));
                break;
            }
            let below = self.expect_row(&name)?;
            directories.push(self.paths.snapshot(below.id).join("u"));
            parent = below.info.parent;
        }
        Ok(directories)
    }
}

fn is_chain(connection: &rusqlite::Connection, name: &str) -> rusqlite::Result<bool> {
    match name.parse::<Digest>() {
        Ok(chain) => chains::exists(connection, &chain),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests;
