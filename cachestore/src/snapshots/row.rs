//! The rows of snapshots.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Info, Kind, Labels, Usage, is_chain};
use crate::error::{DatabaseContext, Error, Result};
use crate::meta::now;

/// A snapshot with a record and a directory.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) info: Info,
    /// Known only of committed snapshots.
    pub(crate) usage: Usage,
}

const COLUMNS: &str = "id, name, kind, parent, labels, size, inodes, created_at, updated_at";

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Active => "active",
        Kind::View => "view",
        Kind::Committed => "committed",
    }
}

pub(super) fn labels_text(labels: &Labels) -> String {
    serde_json::Value::from_iter(labels.iter().map(|(key, value)| (key.clone(), value.clone()))).to_string()
}

fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let kind: String = row.get(2)?;
    let labels: String = row.get(4)?;
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(Row {
        id: row.get(0)?,
        info: Info {
            name: row.get(1)?,
            kind: match kind.as_str() {
                "active" => Kind::Active,
                "view" => Kind::View,
                _ => Kind::Committed,
            },
            parent: row.get(3)?,
            labels: serde_json::from_str(&labels).map_err(rusqlite::types::FromSqlError::other)?,
            created_at: row.get(7)?,
            updated_at: row.get(8)?,
        },
        usage: Usage { size_bytes: number(5)?, inodes: number(6)? },
    })
}

pub(crate) fn by_name(connection: &Connection, name: &str) -> rusqlite::Result<Option<Row>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM snapshots WHERE name = ?"))?
        .query_row([name], from_row)
        .optional()
}

pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM snapshots ORDER BY id"))?
        .query_map([], from_row)?
        .collect()
}

/// Returns the ID of the new row.
pub(super) fn insert(transaction: &Transaction<'_>, info: &Info) -> rusqlite::Result<i64> {
    let Info { name, kind, parent, labels, created_at, updated_at } = info;
    transaction
        .prepare_cached(
            "INSERT INTO snapshots (name, kind, parent, labels, size, inodes, created_at, updated_at)
             VALUES (?, ?, ?, ?, 0, 0, ?, ?)",
        )?
        .execute(params![name, kind_name(*kind), parent, labels_text(labels), created_at, updated_at])?;
    Ok(transaction.last_insert_rowid())
}

pub(super) fn commit(
    transaction: &Transaction<'_>,
    id: i64,
    name: &str,
    labels: &Labels,
    usage: Usage,
) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached(
            "UPDATE snapshots SET name = ?, kind = 'committed', labels = ?, size = ?, inodes = ?, updated_at = ?
             WHERE id = ?",
        )?
        .execute(params![
            name,
            labels_text(labels),
            usage.size_bytes.cast_signed(),
            usage.inodes.cast_signed(),
            now(),
            id
        ])?;
    Ok(())
}

/// A parent is a chain of this store, registered or not, or a committed snapshot.
pub(super) fn check_parent(connection: &Connection, parent: &str) -> Result<()> {
    if is_chain(connection, parent).doing("find chain")? {
        return Ok(());
    }
    match by_name(connection, parent).doing("find snapshot")? {
        Some(row) if row.info.kind == Kind::Committed => Ok(()),
        Some(_) => Err(Error::invalid("parent", parent, "it is not a committed snapshot")),
        None => Err(Error::not_found("snapshot", parent)),
    }
}

pub(super) fn check_no_children(connection: &Connection, name: &str) -> Result<()> {
    let child: Option<String> = connection
        .prepare_cached("SELECT name FROM snapshots WHERE parent = ? LIMIT 1")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
        .doing("find snapshot")?;
    match child {
        None => Ok(()),
        Some(child) => {
            Err(Error::InUse { kind: "snapshot", name: name.to_owned(), user: format!("snapshot {child}") })
        }
    }
}
