//! The one metadata database: connection, transactions, schema.

mod migrate;
mod schema;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::disk::fault;
use crate::error::{DatabaseContext, Error, Result};

pub(crate) use migrate::VERSION;

/// Nothing else opens the database while the store's lock is held, but a person's `sqlite3` may look.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Every statement of this crate fits.
const STATEMENT_CACHE: usize = 96;

/// The database. One connection; transactions take turns.
#[derive(Debug)]
pub(crate) struct Meta {
    connection: Mutex<Connection>,
}

impl Meta {
    /// Opens or creates the database and brings its schema up to date.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut connection = Connection::open(path).doing("open")?;
        connection.busy_timeout(BUSY_TIMEOUT).doing("configure")?;
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                 PRAGMA cache_size = -4096; PRAGMA journal_size_limit = 16777216;",
            )
            .doing("configure")?;
        migrate::run(&mut connection)?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// Checks the database's own structure; for stores that were not closed cleanly.
    pub(crate) fn quick_check(&self) -> Result<()> {
        let answer: String =
            self.read("check", |c| c.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)))?;
        match answer.as_str() {
            "ok" => Ok(()),
            problem => Err(Error::corrupt("the metadata database", problem)),
        }
    }

    /// Runs queries.
    pub(crate) fn read<T>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        query(&self.lock()).doing(operation)
    }

    /// Runs one transaction.
    ///
    /// # Durability
    /// When it returns, what it wrote survives a power failure. An error rolls everything back.
    pub(crate) fn write<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).doing(operation)?;
        let result = work(&transaction)?;
        fault::point("before commit");
        transaction.commit().doing(operation)?;
        fault::point("after commit");
        Ok(result)
    }

    /// A panic inside a transaction has rolled it back: the connection itself is sound.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the time as the database stores it: nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX)
}
