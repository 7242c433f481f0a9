//! What guests keep, on its way out of this node and into another.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use super::database::{OpenError, open_to_write};
use super::{FILE, Storage, unavailable};
use crate::durable::{create_private_dir, sync_dir};
use crate::link::services::Fault;

/// While all is read as of one commit, what guests write is appended to the log and not folded into the database. A reader
/// that is slow beside guests that write a lot ends at this size.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// The log's size is looked at once in so many pairs.
const PAIRS_PER_LOOK: u64 = 64;
/// Bytes that are written in one transaction on the way in.
const TRANSACTION_BYTES: usize = 4 << 20;

/// Why pairs do not get from one node to another.
#[derive(Debug, thiserror::Error)]
pub enum MovingError {
    /// The database.
    #[error("the database of key-value stores does not work")]
    Sql(#[from] rusqlite::Error),
    /// The database is not one of this build.
    #[error("the database of key-value stores cannot be made: {0}")]
    Open(String),
    /// A file.
    #[error("the database of key-value stores cannot be written")]
    Io(#[from] std::io::Error),
    /// The log grew too large meanwhile.
    #[error(
        "guests wrote more than {bytes_max} bytes while what they keep was read: read it faster, or while they write less"
    )]
    TooSlow {
        /// The most.
        bytes_max: u64,
    },
}

/// A pair: tenant, store, key and value.
pub type PairParts<'a> = (&'a str, &'a str, &'a str, &'a [u8]);

/// All that guests keep, as of one commit.
pub struct Pinned {
    connection: Connection,
    log: PathBuf,
    log_bytes_max: u64,
}

impl Storage {
    /// Keeps hold of all that guests keep as it is now; nothing where they never kept anything.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`Fault::Unavailable`].
    pub fn pin(&self) -> Result<Option<Pinned>, Fault> {
        if !self.is_there() {
            return Ok(None);
        }
        let path = &self.opened()?.path;
        Pinned::open(path)
            .map(Some)
            .map_err(|error| unavailable(&error))
    }
}

impl Pinned {
    fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.pragma_update(None, "cache_size", -2048)?;
        connection.execute_batch("BEGIN")?;
        // The transaction begins to see with its first read.
        connection.query_row("SELECT count(*) FROM used", [], |_| Ok(()))?;
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Ok(Self {
            connection,
            log: log.into(),
            log_bytes_max: LOG_BYTES_MAX,
        })
    }

    /// Gives every pair to `take`, in order of tenant, store and key.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// Those of `take`, and [`MovingError`].
    pub fn each<E: From<MovingError>>(
        self,
        mut take: impl FnMut(PairParts<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = |error| E::from(MovingError::Sql(error));
        let mut statement = self
            .connection
            .prepare("SELECT tenant, store, key, value FROM pair ORDER BY tenant, store, key")
            .map_err(sql)?;
        let mut rows = statement.query([]).map_err(sql)?;
        let mut count = 0_u64;
        while let Some(row) = rows.next().map_err(sql)? {
            let text = |column| -> rusqlite::Result<&str> { Ok(row.get_ref(column)?.as_str()?) };
            let value = || -> rusqlite::Result<&[u8]> { Ok(row.get_ref(3)?.as_blob()?) };
            take((
                text(0).map_err(sql)?,
                text(1).map_err(sql)?,
                text(2).map_err(sql)?,
                value().map_err(sql)?,
            ))?;
            count += 1;
            if count.is_multiple_of(PAIRS_PER_LOOK) {
                let bytes = self.log.metadata().map_or(0, |found| found.len());
                let bytes_max = self.log_bytes_max;
                if bytes > bytes_max {
                    return Err(MovingError::TooSlow { bytes_max }.into());
                }
            }
        }
        Ok(())
    }
}

/// A new database on its way in.
pub struct Filling {
    connection: Connection,
    dir: PathBuf,
    /// Of the transaction that is open.
    bytes: usize,
}

impl Filling {
    /// Makes a database in `dir`, which has none.
    ///
    /// # Errors
    /// [`MovingError`].
    pub fn begin(dir: &Path) -> Result<Self, MovingError> {
        create_private_dir(dir)?;
        let connection = open_to_write(&dir.join(FILE)).map_err(|error| match error {
            OpenError::Sql(error) => MovingError::Sql(error),
            other @ OpenError::Layout { .. } => MovingError::Open(other.to_string()),
        })?;
        // All of it is synced in the end, and of no use before.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch("BEGIN")?;
        Ok(Self {
            connection,
            dir: dir.to_owned(),
            bytes: 0,
        })
    }

    /// Takes a pair.
    ///
    /// # Errors
    /// [`MovingError`].
    pub fn put(&mut self, (tenant, store, key, value): PairParts<'_>) -> Result<(), MovingError> {
        self.connection
            .prepare_cached("INSERT INTO pair (tenant, store, key, value) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![tenant, store, key, value])?;
        self.bytes += key.len() + value.len();
        if self.bytes >= TRANSACTION_BYTES {
            self.connection.execute_batch("COMMIT; BEGIN")?;
            self.bytes = 0;
        }
        Ok(())
    }

    /// Counts what each tenant keeps, and makes all of it durable.
    ///
    /// # Errors
    /// [`MovingError`].
    pub fn finish(self) -> Result<(), MovingError> {
        self.connection.execute_batch(
            "INSERT INTO used (tenant, keys, bytes)
                 SELECT tenant, count(*), sum(octet_length(key) + octet_length(value)) FROM pair GROUP BY tenant;
             COMMIT",
        )?;
        // With the last connection the log is folded in.
        self.connection.close().map_err(|(_, error)| error)?;
        for entry in std::fs::read_dir(&self.dir)? {
            std::fs::File::open(entry?.path())?.sync_all()?;
        }
        sync_dir(&self.dir)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::link::services::StoreOp;
    use crate::storage::{Allowance, Kept};

    const PLENTY: Allowance = Allowance {
        keys_max: 1_000_000,
        bytes_max: 1 << 30,
        value_bytes_max: 1 << 20,
    };

    fn set(storage: &Storage, tenant: &str, key: &str, value: &[u8]) {
        let op = StoreOp::Set(vec![(key.to_owned(), value.to_vec())]);
        let (sender, done) = mpsc::channel();
        let tell = move |outcome| sender.send(outcome).unwrap();
        storage.write(tenant, "default", op, PLENTY, Box::new(tell));
        done.recv().unwrap().unwrap();
    }

    /// An error of whoever takes pairs.
    #[derive(Debug)]
    struct Failed(MovingError);

    impl From<MovingError> for Failed {
        fn from(error: MovingError) -> Self {
            Self(error)
        }
    }

    fn keys(pinned: Pinned) -> Result<Vec<String>, Failed> {
        let mut keys = Vec::new();
        pinned.each(|(tenant, _, key, _)| -> Result<(), Failed> {
            keys.push(format!("{tenant}/{key}"));
            Ok(())
        })?;
        Ok(keys)
    }

    #[test]
    fn what_is_pinned_stays_as_it_was_and_fills_another_database_to_the_byte() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::at(folder.path().join("one"));
        assert!(storage.pin().unwrap().is_none(), "nothing was ever kept");
        set(&storage, "acme", "b", b"1");
        set(&storage, "acme", "\u{e9}", b"22");
        set(&storage, "other", "a", b"\x00\xff");
        let pinned = storage.pin().unwrap().unwrap();
        set(&storage, "acme", "a", b"later");
        set(&storage, "other", "a", b"changed");
        let other = folder.path().join("two");
        let mut filling = Filling::begin(&other).unwrap();
        pinned
            .each(|pair| -> Result<(), Failed> { Ok(filling.put(pair)?) })
            .unwrap();
        filling.finish().unwrap();
        let moved = Storage::at(&other);
        let found = keys(moved.pin().unwrap().unwrap()).unwrap();
        assert_eq!(found, ["acme/b", "acme/\u{e9}", "other/a"]);
        // An accented letter has two bytes.
        let kept = Kept { keys: 2, bytes: 6 };
        assert_eq!(moved.kept("acme").unwrap(), kept);
        assert_eq!(moved.kept("other").unwrap(), Kept { keys: 1, bytes: 3 });
        // The first node's own count of the same, with what came later.
        let kept = Kept { keys: 3, bytes: 12 };
        assert_eq!(storage.kept("acme").unwrap(), kept);
    }

    #[test]
    fn a_reader_that_lets_too_much_be_written_meanwhile_ends() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::at(folder.path());
        for number in 0..PAIRS_PER_LOOK {
            set(&storage, "acme", &number.to_string(), b"x");
        }
        let mut pinned = storage.pin().unwrap().unwrap();
        pinned.log_bytes_max = 1 << 20;
        for number in 0..3 {
            set(&storage, "acme", &format!("big{number}"), &[7; 1 << 20]);
        }
        let ended = keys(pinned).unwrap_err();
        let Failed(MovingError::TooSlow { bytes_max }) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(bytes_max, 1 << 20);
        // The next one finds all of it.
        let all = keys(storage.pin().unwrap().unwrap()).unwrap();
        assert_eq!(all.len() as u64, PAIRS_PER_LOOK + 3);
    }
}
