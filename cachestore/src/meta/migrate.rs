//! Numbered migrations: `PRAGMA user_version` says which have run.

use rusqlite::{Connection, TransactionBehavior};

use super::schema;
use crate::disk::fault;
use crate::error::{DatabaseContext, Error, Result};

/// The migrations, in order; the first makes an empty database version 1.
const MIGRATIONS: [&str; 2] = [schema::V1, schema::V2];

/// The version that this program writes.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Brings the schema up to date, each migration in a transaction of its own.
pub(super) fn run(connection: &mut Connection) -> Result<()> {
    let found = version(connection)?;
    if found > VERSION {
        return Err(Error::Unsupported {
            subject: "the metadata database".into(),
            problem: format!("it has version {found}, this program knows {VERSION}; use a newer program"),
        });
    }
    for (number, migration) in (1..=VERSION).zip(MIGRATIONS) {
        if number <= found {
            continue;
        }
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).doing("migrate")?;
        transaction.execute_batch(migration).doing("migrate")?;
        transaction.pragma_update(None, "user_version", number).doing("migrate")?;
        fault::point("before migration");
        transaction.commit().doing("migrate")?;
        fault::point("after migration");
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).doing("read the version")
}
