//! The records of layers: commit, look-up, and their tars.

use std::io::{self, Write};
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::unpack::{TreeSize, Unpacked};
use super::workspace::Workspace;
use super::{audit, pack, prune, recipe};
use crate::Store;
use crate::digest::{Digest, Hashed};
use crate::disk::{atomic, fault, remove};
use crate::error::{DatabaseContext, Error, IoContext, Result, chain};
use crate::leases::Lease;
use crate::meta::now;

/// Names a layer's directory. Never used again for another layer of the same store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(pub(crate) i64);

/// The record of a layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Where its bytes are.
    pub id: LayerId,
    /// How its bytes came to be; `None` when a newer layer has taken the key.
    pub key: Option<String>,
    /// The digest of its uncompressed tar.
    pub diff_id: Digest,
    /// The size of that tar.
    pub tar_size_bytes: u64,
    /// Bytes of content of its files.
    pub content_size_bytes: u64,
    /// Bytes on the disk.
    pub disk_size_bytes: u64,
    /// The build step that made it; empty for other layers.
    pub description: String,
    /// When it was recorded: nanoseconds since 1970.
    pub created_at: i64,
    pub(crate) inodes: u64,
    pub(crate) has_recipe: bool,
}

pub(crate) const COLUMNS: &str =
    "id, key, diff_id, tar_size, content_size, disk_size, inodes, has_recipe, description, created_at";

impl Layer {
    pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let size = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok(Self {
            id: LayerId(row.get(0)?),
            key: row.get(1)?,
            diff_id: row.get(2)?,
            tar_size_bytes: size(3)?,
            content_size_bytes: size(4)?,
            disk_size_bytes: size(5)?,
            inodes: size(6)?,
            has_recipe: row.get(7)?,
            description: row.get(8)?,
            created_at: row.get(9)?,
        })
    }
}

/// What is to be recorded of a layer whose tree is complete.
struct NewLayer<'a> {
    key: &'a str,
    diff_id: Digest,
    tar_size: u64,
    size: TreeSize,
    has_recipe: bool,
    description: &'a str,
}

/// What a build step made, besides its tree.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// What finds the layer again.
    pub key: &'a str,
    /// What people are told that the layer is.
    pub description: &'a str,
    /// What to do when a layer of the same key is there already.
    pub if_keyed: IfKeyed,
    /// The layers on which the step was done, bottom first.
    pub below: &'a [LayerId],
}

/// What to do when a layer of the same key is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfKeyed {
    /// Use that one and drop the new tree: two builds did the same work at once.
    Keep,
    /// The new layer takes the key: the step was run again on purpose.
    Replace,
}

impl Store {
    /// Commits the tree of a workspace as the layer of a step. The tree must not be mounted any more. What in it is the
    /// same in the layers below is taken out.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a tree that no tar can hold.
    ///
    /// # Durability
    /// The record survives a power failure; the tree does once [`Store::settle`] has run.
    pub fn commit_built(&self, workspace: Workspace, step: &Step<'_>, lease: &Lease) -> Result<Layer> {
        remove::tree(&workspace.work())?;
        prune::unchanged(&workspace.tree(), &self.lower_dirs(step.below))?;
        let mut tar = Hashed::new(io::sink());
        let size = pack::pack(&workspace.tree(), &mut tar)?;
        let (_, diff_id, tar_size) = tar.finish();
        fault::point("layer hashed");
        let Step { key, description, if_keyed, .. } = *step;
        let new = NewLayer { key, diff_id, tar_size, size, has_recipe: false, description };
        self.commit(workspace, &new, if_keyed, lease)
    }

    /// Commits an unpacked layer on top of `below`, which must be recorded.
    ///
    /// # Errors
    /// Those of the disk and the database.
    ///
    /// # Durability
    /// As for [`Store::commit_built`].
    pub fn commit_unpacked(&self, unpacked: Unpacked, below: &[LayerId], lease: &Lease) -> Result<Layer> {
        let chain = self.chain_of(below)?;
        if unpacked.depends_on_lower() {
            self.copy_lower_metadata(&unpacked, below)?;
        }
        let key = if unpacked.depends_on_lower() {
            key_on(unpacked.diff_id, chain)
        } else {
            format!("tar:{}", unpacked.diff_id)
        };
        let Unpacked { workspace, diff_id, tar_size, size, .. } = unpacked;
        let new = NewLayer { key: &key, diff_id, tar_size, size, has_recipe: true, description: "" };
        self.commit(workspace, &new, IfKeyed::Keep, lease)
    }

    fn commit(
        &self,
        workspace: Workspace,
        new: &NewLayer<'_>,
        if_keyed: IfKeyed,
        lease: &Lease,
    ) -> Result<Layer> {
        let id = self.next_layer_id();
        let place = self.paths.layer(id);
        let committed = self.meta.write("record layer", |transaction| {
            if let Some(layer) = by_key(transaction, new.key).doing("find layer")? {
                match if_keyed {
                    IfKeyed::Keep => {
                        lease.hold(layer.id.0);
                        return Ok(layer);
                    }
                    IfKeyed::Replace => drop_key(transaction, layer.id)?,
                }
            }
            atomic::rename(workspace.path(), &place)?;
            insert(transaction, id, new, &self.boot)?;
            fault::point("layer recorded");
            lease.record(transaction, id)?;
            lease.hold(id);
            by_id(transaction, id).doing("read layer")
        });
        match &committed {
            Ok(layer) if layer.id.0 == id => workspace.moved(),
            Ok(_) => {}
            Err(_) => remove::tree(&place)?,
        }
        committed
    }

    /// Finds the layer of a build step, and protects it by the lease.
    ///
    /// # Errors
    /// Those of the database.
    pub fn layer_by_key(&self, key: &str, lease: &Lease) -> Result<Option<Layer>> {
        self.meta.read("find layer", |connection| {
            let layer = by_key(connection, key)?;
            Ok(layer.inspect(|layer| lease.hold(layer.id.0)))
        })
    }

    /// Finds a layer with this diff ID, and protects it by the lease.
    ///
    /// Layers whose tree depends on those below are found only where `below` is known, and only on top of it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn layer_by_diff_id(
        &self,
        diff_id: Digest,
        below: Option<&[LayerId]>,
        lease: &Lease,
    ) -> Result<Option<Layer>> {
        let key = match below {
            Some(below) => key_on(diff_id, self.chain_of(below)?),
            None => String::new(),
        };
        self.meta.read("find layer", |connection| {
            let layer = connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM layers WHERE diff_id = ?1 AND (key IS NULL OR key NOT GLOB 'tar:*@*' OR key = ?2)
                     ORDER BY id LIMIT 1"
                ))?
                .query_row(params![diff_id, key], Layer::from_row)
                .optional()?;
            Ok(layer.inspect(|layer| lease.hold(layer.id.0)))
        })
    }

    /// Returns where the tree of a layer is.
    pub fn layer_tree(&self, id: LayerId) -> PathBuf {
        self.paths.layer_tree(id.0)
    }

    /// Writes the exact uncompressed tar of a layer.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if what was written has another digest; the output is worthless then.
    pub fn write_tar(&self, layer: &Layer, output: impl Write) -> Result<()> {
        let directory = self.paths.layer(layer.id.0);
        let mut output = Hashed::new(io::BufWriter::with_capacity(256 << 10, output));
        if layer.has_recipe {
            recipe::replay(&directory, &mut output)?;
        } else {
            pack::pack(&self.paths.layer_tree(layer.id.0), &mut output)?;
        }
        let (mut output, digest, size) = output.finish();
        output.flush().at("write", "tar")?;
        if digest == layer.diff_id && size == layer.tar_size_bytes {
            return Ok(());
        }
        let problem = format!(
            "its tar has the diff ID {digest} and {size} bytes, recorded are {}",
            layer.tar_size_bytes
        );
        Err(Error::corrupt(format!("layer {} in {}", layer.diff_id, directory.display()), problem))
    }

    /// Reads every byte of a layer and passes on what is wrong with it: that its tar does not come back, or in what the
    /// tree differs from the tar of which it was unpacked.
    pub(crate) fn check_content(&self, layer: &Layer, problem: &mut dyn FnMut(String)) -> Result<()> {
        if !layer.has_recipe {
            if let Err(error) = self.write_tar(layer, io::sink()) {
                problem(chain(&error));
            }
            return Ok(());
        }
        let directory = self.paths.layer(layer.id.0);
        let (reader, writer) = io::pipe().at("make", "a pipe")?;
        let (written, compared, differences) = std::thread::scope(|scope| {
            let comparison = scope.spawn(|| {
                let mut differences = Vec::new();
                let mut reader = io::BufReader::with_capacity(256 << 10, reader);
                let compared = audit::compare(&directory, &mut reader, &mut |one| differences.push(one));
                // Whoever writes the tar must not be stopped by an error here.
                let drained = io::copy(&mut reader, &mut io::sink()).at("read", "a pipe");
                (compared.and(drained), differences)
            });
            let written = self.write_tar(layer, writer);
            let (compared, differences) =
                comparison.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (written, compared, differences)
        });
        match (written, compared) {
            // Half a tar says nothing of the tree.
            (Err(error), _) | (Ok(()), Err(error)) => problem(chain(&error)),
            (Ok(()), Ok(_)) => differences.into_iter().for_each(problem),
        }
        Ok(())
    }

    /// Notes that layers were used just now, for the order in which a full build cache is emptied.
    ///
    /// # Errors
    /// Those of the database.
    pub fn touch_layers(&self, layers: &[LayerId]) -> Result<()> {
        self.meta.write("note use of layers", |transaction| {
            let mut statement = transaction
                .prepare_cached("UPDATE layers SET used_at = ? WHERE id = ?")
                .doing("note use of layers")?;
            for layer in layers {
                statement.execute(params![now(), layer.0]).doing("note use of layers")?;
            }
            Ok(())
        })
    }
}

/// A layer that had to look at those below it is found again only on top of the same chain.
fn key_on(diff_id: Digest, below: Option<Digest>) -> String {
    match below {
        Some(chain) => format!("tar:{diff_id}@{chain}"),
        None => format!("tar:{diff_id}@bottom"),
    }
}

fn by_key(connection: &Connection, key: &str) -> rusqlite::Result<Option<Layer>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM layers WHERE key = ?"))?
        .query_row([key], Layer::from_row)
        .optional()
}

pub(crate) fn by_id(connection: &Connection, id: i64) -> rusqlite::Result<Layer> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM layers WHERE id = ?"))?
        .query_row([id], Layer::from_row)
}

fn drop_key(transaction: &Transaction<'_>, id: LayerId) -> Result<()> {
    transaction
        .prepare_cached("UPDATE layers SET key = NULL WHERE id = ?")
        .and_then(|mut statement| statement.execute([id.0]))
        .doing("record layer")?;
    Ok(())
}

fn insert(transaction: &Transaction<'_>, id: i64, new: &NewLayer<'_>, boot: &str) -> Result<()> {
    let time = now();
    transaction
        .prepare_cached(
            "INSERT INTO layers (id, key, diff_id, tar_size, content_size, disk_size, inodes, has_recipe, description,
                 unsettled_boot, created_at, used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                id,
                new.key,
                new.diff_id,
                new.tar_size.cast_signed(),
                new.size.content.cast_signed(),
                new.size.disk.cast_signed(),
                new.size.inodes.cast_signed(),
                new.has_recipe,
                new.description,
                boot,
                time,
                time,
            ])
        })
        .doing("record layer")?;
    Ok(())
}
