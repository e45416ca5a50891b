//! The one metadata database: connection, transactions, schema.

mod migrate;
mod schema;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::disk::fault;
use crate::error::{DATABASE, DatabaseContext, Error, Result};

pub(crate) use migrate::VERSION;

/// Nothing else opens the database while the store's lock is held, but a person's `sqlite3` may look.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Every statement of this crate fits.
const STATEMENT_CACHE: usize = 96;
/// How much of the disk the log of transactions has for itself: twice what it grows to until it begins anew.
const LOG_BYTES: u64 = 8 << 20;

/// The database. One connection; transactions take turns.
#[derive(Debug)]
pub(crate) struct Meta {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Meta {
    /// Opens or creates the database and brings its schema up to date.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let connection = match connect(path, "NORMAL") {
            // Without others who may look, the index of the log is in memory, and not in a file that is made at each opening.
            Err(Error::NoSpace { .. }) => connect(path, "EXCLUSIVE"),
            connected => connected,
        };
        let connection = connection.map_err(|error| located(error, path))?;
        reserve_log(path);
        Ok(Self { path: path.to_path_buf(), connection: Mutex::new(connection) })
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
        query(&self.lock()).doing(operation).map_err(|error| located(error, &self.path))
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
        self.transact(operation, work).map_err(|error| located(error, &self.path))
    }

    fn transact<T>(
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

fn connect(path: &Path, locking: &str) -> Result<Connection> {
    let mut connection = Connection::open(path).doing("open")?;
    connection.busy_timeout(BUSY_TIMEOUT).doing("configure")?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    connection.pragma_update(None, "locking_mode", locking).doing("configure")?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA cache_size = -4096; PRAGMA journal_size_limit = 16777216;",
        )
        .doing("configure")?;
    migrate::run(&mut connection)?;
    Ok(connection)
}

/// Says where the database is that there was no space for.
fn located(error: Error, database: &Path) -> Error {
    match error {
        Error::NoSpace { path } if path == Path::new(DATABASE) => Error::NoSpace { path: database.into() },
        other => other,
    }
}

/// Reserves room for the log of transactions, so that on a disk that is full what is not needed can still be removed: a removal
/// begins with a record. SQLite takes locks on other files than this one, so that it may be opened and closed beside it.
fn reserve_log(database: &Path) {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    let reserved = OpenOptions::new().write(true).open(&log).and_then(|log| {
        Ok(rustix::fs::fallocate(&log, rustix::fs::FallocateFlags::KEEP_SIZE, 0, LOG_BYTES)?)
    });
    if let Err(error) = reserved {
        // A filesystem may not know how, and the disk may be full already: then it goes without.
        tracing::debug!(log = %log.display(), %error, "cannot reserve room for the log of transactions");
    }
}

/// Returns the time as the database stores it: nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_log_has_room_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("meta.db");
        let _meta = Meta::open(&path).unwrap();
        let log = directory.path().join("meta.db-wal").metadata().unwrap();
        assert!(log.blocks() * 512 >= LOG_BYTES, "{} blocks", log.blocks());
        assert!(log.len() < LOG_BYTES);
    }

    #[test]
    fn a_full_disk_is_that_of_the_database() {
        let path = Path::new("/store/meta.db");
        for (given, expected) in [(DATABASE, "/store/meta.db"), ("/store/t/1", "/store/t/1")] {
            let Error::NoSpace { path } = located(Error::NoSpace { path: given.into() }, path) else {
                panic!("another error")
            };
            assert_eq!(path, Path::new(expected));
        }
    }
}
