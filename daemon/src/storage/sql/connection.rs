//! One connection: carries out statements within its bounds, and keeps its transaction from staying for ever.
//!
//! A transaction of a guest's (`BEGIN` … `COMMIT` over several calls) is this connection's: it ends with a statement that
//! ends it, with the connection, or when its time is up.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fallible_iterator::FallibleIterator as _;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Batch, Connection, ErrorCode, OpenFlags, Statement, ToSql};

use super::message::Bounds;
use super::rules::{self, Denied};
use super::watch::Watch;
use crate::link::sql::{SqlFault, SqlRows, SqlValue, names_bytes, row_bytes};

/// Steps of a statement between two looks at the clock: some ten microseconds.
const STEPS_A_LOOK: i32 = 1000;
/// What is told of an error of SQLite's at most, in bytes: names in it are as long as statements.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Bytes of a page of a database.
const PAGE_BYTES: u64 = 4096;
/// A disk with less room than this is full, in bytes: what a commit that failed has taken may be there again.
const DISK_BYTES_LEFT: u64 = 128 << 10;
/// What the log written ahead is cut back to, in bytes.
const LOG_BYTES_KEPT: u64 = 1 << 20;

/// Why a statement failed.
enum Failed {
    Sql(rusqlite::Error),
    Refused(String),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// An open connection; of one thread.
pub(super) struct Open {
    connection: Connection,
    bounds: Bounds,
    watch: Arc<Watch>,
    denied: Denied,
    /// Since when a transaction is open, between calls.
    transaction_since: Option<Instant>,
    /// Why the transaction that the guest believes to be in is there no more.
    rolled_back: Option<String>,
}

impl Open {
    /// Opens a database, which is made where it is not there.
    pub(super) fn new(
        file: &Path,
        bounds: Bounds,
        cache_kib: u64,
        watch: Arc<Watch>,
    ) -> Result<Self, SqlFault> {
        watch.until(Instant::now() + Duration::from_millis(bounds.statement_ms_max));
        let opened = watch.compute(|| open(file, bounds, cache_kib, &watch));
        match opened {
            Ok((connection, denied)) => Ok(Self {
                connection,
                bounds,
                watch,
                denied,
                transaction_since: None,
                rolled_back: None,
            }),
            // Its log needs room.
            Err(_) if disk_is_full() => Err(SqlFault::Io("the node's disk is full".to_owned())),
            Err(error) => Err(SqlFault::Io(format!(
                "the database cannot be opened: {}",
                said(&error)
            ))),
        }
    }

    /// When the open transaction is to be rolled back.
    pub(super) fn transaction_until(&self) -> Option<Instant> {
        let most = Duration::from_millis(self.bounds.transaction_ms_max);
        self.transaction_since.map(|since| since + most)
    }

    /// Rolls back the transaction whose time is up; the guest is told with its next call.
    pub(super) fn roll_back(&mut self) {
        self.transaction_since = None;
        // Not by the clock that has run out.
        self.watch
            .until(Instant::now() + Duration::from_millis(self.bounds.statement_ms_max));
        let connection = &self.connection;
        if !connection.is_autocommit() {
            // It fails where there is nothing to roll back, and where the disk fails: then the connection does at its end.
            let _ = self.watch.compute(|| connection.execute_batch("ROLLBACK"));
        }
        self.rolled_back = Some(format!(
            "the transaction was open for more than the allowed {} ms, and was rolled back",
            self.bounds.transaction_ms_max
        ));
    }

    /// Carries out one statement.
    pub(super) fn execute(
        &mut self,
        statement: &str,
        parameters: &[SqlValue],
    ) -> Result<SqlRows, SqlFault> {
        if let Some(why) = self.rolled_back.take() {
            return Err(SqlFault::Io(why));
        }
        let started = Instant::now();
        let for_statement = started + Duration::from_millis(self.bounds.statement_ms_max);
        let for_transaction = self.transaction_until();
        let deadline = for_transaction.map_or(for_statement, |until| until.min(for_statement));
        self.watch.until(deadline);
        drop(self.denied.take());
        let (connection, bounds) = (&self.connection, self.bounds);
        let gave = self
            .watch
            .compute(|| run(connection, bounds, statement, parameters));
        let outcome = match gave {
            Ok((columns, rows)) => Ok(SqlRows {
                columns,
                rows,
                last_insert_rowid: connection.last_insert_rowid(),
                changes: connection.changes(),
            }),
            Err(Failed::Refused(why)) => Err(SqlFault::Io(why)),
            Err(Failed::Sql(error)) => Err(self.fault(&error)),
        };
        let is_late = for_transaction.is_some_and(|until| Instant::now() >= until);
        if is_late && outcome.is_err() {
            // SQLite may have rolled it back with the statement.
            self.roll_back();
            return Err(SqlFault::Io(self.rolled_back.take().unwrap_or_default()));
        }
        if self.connection.is_autocommit() {
            self.transaction_since = None;
        } else {
            // From here on: a wait for the lock was the statement's.
            self.transaction_since.get_or_insert_with(Instant::now);
        }
        outcome
    }

    /// What the guest is told of an error.
    fn fault(&self, error: &rusqlite::Error) -> SqlFault {
        let ms_max = self.bounds.statement_ms_max;
        SqlFault::Io(match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) if disk_is_full() => {
                "the node's disk is full".to_owned()
            }
            Some(ErrorCode::DiskFull) => return SqlFault::Full,
            Some(ErrorCode::OperationInterrupted) => {
                format!("the statement took more than the allowed {ms_max} ms")
            }
            Some(ErrorCode::OutOfMemory) => {
                "the statement takes more memory than the tenant's databases may have".to_owned()
            }
            Some(ErrorCode::TooBig) => format!(
                "a value or the statement is too long; allowed: {} bytes for a value, {} for a statement",
                rules::VALUE_BYTES_MAX,
                rules::STATEMENT_BYTES_MAX
            ),
            Some(ErrorCode::DatabaseBusy) if self.watch.is_over() => {
                format!("another connection had the database locked for {ms_max} ms")
            }
            Some(ErrorCode::AuthorizationForStatementDenied) => {
                self.denied.take().unwrap_or_else(|| said(error))
            }
            _ => said(error),
        })
    }
}

/// SQLite's own words, without the statement, which the guest has.
fn said(error: &rusqlite::Error) -> String {
    let mut said = match error {
        rusqlite::Error::SqlInputError { msg, offset, .. } if *offset >= 0 => {
            format!("{msg} (at byte {offset})")
        }
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        error => error.to_string(),
    };
    said.truncate(said.floor_char_boundary(MESSAGE_BYTES_MAX));
    said
}

/// Whether the folder's file system has room for nothing more, so that it is not the database that has as much as it may.
fn disk_is_full() -> bool {
    let room = |disk: rustix::fs::StatVfs| disk.f_bavail.saturating_mul(disk.f_frsize);
    rustix::fs::statvfs(".").is_ok_and(|disk| room(disk) < DISK_BYTES_LEFT)
}

fn open(
    file: &Path,
    bounds: Bounds,
    cache_kib: u64,
    watch: &Arc<Watch>,
) -> rusqlite::Result<(Connection, Denied)> {
    // No URIs: they have parameters that change what a file is opened as.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut connection = Connection::open_with_flags(file, flags)?;
    let (at_lock, at_step) = (Arc::clone(watch), Arc::clone(watch));
    connection.busy_handler(Some(move |times| at_lock.wait_for_lock(times)))?;
    connection.progress_handler(STEPS_A_LOOK, Some(move || at_step.step()))?;
    // Synced with each commit: what is acknowledged is on the disk.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cache_size", -i64::try_from(cache_kib).unwrap_or(64))?;
    connection.pragma_update(None, "cell_size_check", true)?;
    let pages = (bounds.database_bytes_max / PAGE_BYTES).max(1);
    connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    let denied = rules::hold(&mut connection)?;
    Ok((connection, denied))
}

type Table = (Vec<String>, Vec<Vec<SqlValue>>);

fn run(
    connection: &Connection,
    bounds: Bounds,
    statement: &str,
    parameters: &[SqlValue],
) -> Result<Table, Failed> {
    if statement.len() > rules::STATEMENT_BYTES_MAX {
        return Err(Failed::Refused(format!(
            "the statement has {} bytes; allowed: {}",
            statement.len(),
            rules::STATEMENT_BYTES_MAX
        )));
    }
    let mut batch = Batch::new(connection, statement);
    let Some(mut prepared) = batch.next()? else {
        // Nothing but blanks and comments.
        return Ok(Table::default());
    };
    // Whatever comes after would not be carried out, and nobody would be told.
    if !matches!(batch.next(), Ok(None)) {
        return Err(Failed::Refused(
            "there is more after the first statement; allowed: one in a call".to_owned(),
        ));
    }
    let wanted = prepared.parameter_count();
    if wanted != parameters.len() {
        return Err(Failed::Refused(format!(
            "the statement has {wanted} parameters, and {} came with it",
            parameters.len()
        )));
    }
    for (at, value) in parameters.iter().enumerate() {
        prepared.raw_bind_parameter(at + 1, value)?;
    }
    rows(&mut prepared, bounds)
}

fn rows(prepared: &mut Statement<'_>, bounds: Bounds) -> Result<Table, Failed> {
    let columns: Vec<String> = prepared.column_names().map(str::to_owned).collect();
    let mut bytes = names_bytes(&columns);
    let mut gave = Vec::new();
    let mut rows = prepared.raw_query();
    loop {
        if bytes as u64 > bounds.result_bytes_max {
            return Err(Failed::Refused(format!(
                "the statement gives more than the allowed {} KiB; ask for less, by LIMIT or by fewer columns",
                bounds.result_bytes_max >> 10
            )));
        }
        let Some(row) = rows.next()? else {
            return Ok((columns, gave));
        };
        let mut values = Vec::with_capacity(columns.len());
        for (at, name) in columns.iter().enumerate() {
            values.push(match row.get_ref(at)? {
                ValueRef::Null => SqlValue::Null,
                ValueRef::Integer(number) => SqlValue::Integer(number),
                ValueRef::Real(number) => SqlValue::Real(number),
                ValueRef::Blob(bytes) => SqlValue::Blob(bytes.to_vec()),
                ValueRef::Text(text) => match std::str::from_utf8(text) {
                    Ok(text) => SqlValue::Text(text.to_owned()),
                    Err(_) => {
                        return Err(Failed::Refused(format!(
                            "column {name:?} has text that is not UTF-8; ask for CAST({name} AS BLOB)"
                        )));
                    }
                },
            });
        }
        bytes += row_bytes(&values);
        gave.push(values);
    }
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
            Self::Null => ValueRef::Null,
        }))
    }
}
