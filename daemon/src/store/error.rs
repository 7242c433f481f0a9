//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use super::key::{Key, KeyError};
use super::record::RecordError;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store in {} is in use by another process", dir.display())]
    Locked {
        /// The store's directory.
        dir: PathBuf,
    },
    /// A file or directory could not be used.
    #[error("the store could not {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Neither the database nor its export holds the whole state.
    #[error(
        "the control state cannot be read: the database {} ({ledger_reason}) and its export {} ({export_reason}) are \
         both damaged; restore a backup, or move one of the two away to go on with what the other holds",
        ledger.display(), export.display()
    )]
    BothBroken {
        /// The database's directory.
        ledger: PathBuf,
        /// What is wrong with it.
        ledger_reason: String,
        /// The export's file or directory.
        export: PathBuf,
        /// What is wrong with it.
        export_reason: String,
    },
    /// The state was written by a newer build.
    #[error("the store was written with schema {found}; this build reads up to schema {newest}")]
    Schema {
        /// The schema found.
        found: u32,
        /// The newest one known.
        newest: u32,
    },
    /// A stored key cannot be read.
    #[error("the store holds a key that it cannot read")]
    Key(#[from] KeyError),
    /// A stored record cannot be read, or a given one not written.
    #[error("the store cannot read or write a record")]
    Record(#[from] RecordError),
    /// The transaction is larger than one may be. Nothing was written.
    #[error(
        "the transaction has {bytes} bytes in {writes} writes; at most {bytes_max} bytes in {writes_max} writes are taken"
    )]
    TransactionTooLarge {
        /// Its size.
        bytes: usize,
        /// The most that is taken.
        bytes_max: usize,
        /// Its writes.
        writes: usize,
        /// The most that are taken.
        writes_max: usize,
    },
    /// The transaction deletes what only the store itself may. Nothing was written.
    #[error("{key:?} is kept by the store itself and cannot be deleted by a transaction")]
    NotDeletable {
        /// The key.
        key: Key,
    },
    /// The control state would outgrow its bound. Nothing was written.
    #[error("the control state would grow to {bytes} bytes; at most {bytes_max} are kept")]
    Full {
        /// What it would grow to.
        bytes: u64,
        /// The most that is kept.
        bytes_max: u64,
    },
    /// The disk is too full to go on safely. Nothing was written; it may work again once there is space.
    #[error(
        "{free_bytes} bytes are free on the disk; at least {needed_bytes} must be before anything is written"
    )]
    NoSpace {
        /// What is free.
        free_bytes: u64,
        /// What must be.
        needed_bytes: u64,
    },
    /// An earlier write failed, or the store was closed: nothing is taken until it is opened again. Nothing was written.
    #[error("the store takes no changes: {reason}")]
    Unavailable {
        /// What failed.
        reason: String,
    },
    /// Writing this very change failed: whether it was kept is known once the store is opened again.
    #[error("the change may or may not have been kept, for writing it failed: {reason}")]
    Undecided {
        /// What failed.
        reason: String,
    },
}

/// Says what was attempted and on what, in the shape [`Result::map_err`] takes.
pub(super) fn io_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// An error with its sources in one line, for messages that travel without them.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
