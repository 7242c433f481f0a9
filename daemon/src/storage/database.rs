//! The database: its one table of pairs, and what reads it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::unavailable;
use crate::link::services::{Fault, Given, StoreOp};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Most keys in one reply, and in one call.
pub(super) const KEYS_IN_A_CALL_MAX: usize = 1024;
/// Most bytes of values in one reply.
const VALUES_BYTES_MAX: usize = 8 << 20;

/// `WITHOUT ROWID`: a pair is found by one descent of one tree.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS pair (
        tenant TEXT NOT NULL, store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (tenant, store, key)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS used (
        tenant TEXT PRIMARY KEY, keys INTEGER NOT NULL, bytes INTEGER NOT NULL
    ) WITHOUT ROWID;
";
/// The layout above.
const SCHEMA_VERSION: i32 = 1;

/// Why a database is not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error("it has layout {found}; this build reads {SCHEMA_VERSION}")]
    Layout { found: i32 },
}

/// A connection that writes, to a database that is there afterwards.
pub(super) fn open_to_write(path: &Path) -> Result<Connection, OpenError> {
    let connection = Connection::open(path)?;
    // Written ahead and synced with each commit: what is acknowledged is on the disk.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -2048)?;
    connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
    let version: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => {
            connection.execute_batch(SCHEMA)?;
            connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        SCHEMA_VERSION => {}
        found => return Err(OpenError::Layout { found }),
    }
    Ok(connection)
}

/// Reads as of the last commit. For one thread.
pub struct Reader(Connection);

impl Reader {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.pragma_update(None, "cache_size", -2048)?;
        Ok(Self(connection))
    }

    /// Carries out an operation that reads; `None` for one that writes.
    ///
    /// Blocks on the disk, where the page is not in memory.
    ///
    /// # Errors
    /// [`Fault::Refused`] for keys that are too long and lists that are, [`Fault::Unavailable`] where the disk fails.
    pub fn read(&self, tenant: &str, store: &str, op: &StoreOp) -> Option<Result<Given, Fault>> {
        let outcome = match op {
            StoreOp::Get(key) => check_key(key).and_then(|()| {
                let got = value(&self.0, tenant, store, key);
                got.map(Given::Value).map_err(|error| unavailable(&error))
            }),
            StoreOp::Exists(key) => check_key(key).and_then(|()| {
                let length = value_bytes(&self.0, tenant, store, key);
                length
                    .map(|length| Given::Flag(length.is_some()))
                    .map_err(|error| unavailable(&error))
            }),
            StoreOp::GetMany(keys) => self.values(tenant, store, keys),
            StoreOp::Keys { after, limit } => self.keys(tenant, store, after.as_deref(), *limit),
            StoreOp::Set(_)
            | StoreOp::Delete(_)
            | StoreOp::Increment { .. }
            | StoreOp::Swap { .. } => {
                return None;
            }
        };
        Some(outcome)
    }

    fn values(&self, tenant: &str, store: &str, keys: &[String]) -> Result<Given, Fault> {
        check_count(keys.len())?;
        let mut bytes = 0;
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            check_key(key)?;
            let got = value(&self.0, tenant, store, key).map_err(|error| unavailable(&error))?;
            bytes += got.as_ref().map_or(0, Vec::len);
            if bytes > VALUES_BYTES_MAX {
                return Err(Fault::Refused(format!(
                    "the values have more than {VALUES_BYTES_MAX} bytes together; ask for fewer keys at once"
                )));
            }
            values.push(got);
        }
        Ok(Given::Values(values))
    }

    fn keys(
        &self,
        tenant: &str,
        store: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Given, Fault> {
        let limit = limit.min(u32::try_from(KEYS_IN_A_CALL_MAX).unwrap_or(u32::MAX));
        // No key is empty, so all come after the empty one.
        let after = after.unwrap_or_default();
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.0.prepare_cached(
                "SELECT key FROM pair WHERE tenant = ?1 AND store = ?2 AND key > ?3 ORDER BY key LIMIT ?4",
            )?;
            let rows =
                statement.query_map(params![tenant, store, after, limit], |row| row.get(0))?;
            rows.collect()
        };
        read().map(Given::Keys).map_err(|error| unavailable(&error))
    }
}

/// A pair's value.
pub(super) fn value(
    connection: &Connection,
    tenant: &str,
    store: &str,
    key: &str,
) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT value FROM pair WHERE tenant = ?1 AND store = ?2 AND key = ?3")?
        .query_row(params![tenant, store, key], |row| row.get(0))
        .optional()
}

/// The length of a pair's value.
pub(super) fn value_bytes(
    connection: &Connection,
    tenant: &str,
    store: &str,
    key: &str,
) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached(
            "SELECT length(value) FROM pair WHERE tenant = ?1 AND store = ?2 AND key = ?3",
        )?
        .query_row(params![tenant, store, key], |row| row.get(0))
        .optional()
}

/// Whether a key may be one.
pub(super) fn check_key(key: &str) -> Result<(), Fault> {
    match key.len() {
        0 => Err(Fault::Refused(format!(
            "the key is empty; allowed: 1 to {KEY_BYTES_MAX} bytes"
        ))),
        bytes if bytes > KEY_BYTES_MAX => Err(Fault::Refused(format!(
            "the key has {bytes} bytes; allowed: 1 to {KEY_BYTES_MAX}"
        ))),
        _ => Ok(()),
    }
}

/// Whether a call may be about so many keys.
pub(super) fn check_count(keys: usize) -> Result<(), Fault> {
    if keys > KEYS_IN_A_CALL_MAX {
        return Err(Fault::Refused(format!(
            "{keys} keys in one call; allowed: {KEYS_IN_A_CALL_MAX}"
        )));
    }
    Ok(())
}
