//! The ledger: the control state in sled. The only file that names it.
//!
//! Takes writes, applies each group of them as one sled batch, and returns once the group is on the device. Promises
//! that a panic inside sled comes out as an error. Never runs sled's own flusher.
//!
//! What sled 0.34 does and does not do, and what follows here:
//!
//! - `flush` ends in `sync_file_range`, which does not reach through the disk's cache. [`Ledger::apply`] therefore
//!   syncs an own handle on sled's `db` file after each flush.
//! - No name that sled creates or renames is followed by a sync of its directory. [`Ledger::open`] does that for
//!   everything sled made while opening; later sled creates no more files, because:
//! - values that fill a page beyond a quarter segment go to files of their own, which sled does not sync at all. A
//!   page holds 17 entries, so values are cut into pieces of [`PIECE_BYTES_MAX`].
//! - The flusher thread ends for good at its first error and says so only in a log. All flushing is done by
//!   [`Ledger::apply`], so the flusher is switched off. With it goes the collection of half-empty segments;
//!   [`Ledger::wants_rebuild`] says when the file is due to be written anew instead.
//! - Opening a damaged file may panic, loop in an allocation that aborts the process, or give back less than was
//!   there. Panics are caught here; the count of unfinished attempts and the comparison with the export are the
//!   business of `open`.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::contents::{Contents, Write};
use super::disk::DurableFile;
use crate::durable::sync_dir;

/// The largest piece of a value kept under one sled key, in bytes.
const PIECE_BYTES_MAX: usize = 4096;
/// sled's file may be this large before its size is looked at, in bytes.
const FILE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// From there on it is written anew once it is this many times its contents.
const FILE_TO_CONTENTS: u64 = 16;
/// How long another handle of this very process may still hold sled's lock, in steps of [`LOCK_STEP`].
const LOCK_STEPS_MAX: u32 = 200;
const LOCK_STEP: Duration = Duration::from_millis(10);

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// Why sled did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum LedgerError {
    /// sled says so.
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    /// sled panicked.
    #[error("sled panicked: {0}")]
    Panicked(String),
    /// Its file could not be synced.
    #[error("{} could not be synced", path.display())]
    Sync {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// What it gives back is not what was put in.
    #[error("the entry under `{}` {what}", key.escape_ascii())]
    Torn { key: Vec<u8>, what: &'static str },
}

impl LedgerError {
    /// Tells an error of the box (no permission, no descriptors, no space) from one of the database. To move a sound
    /// database aside because the disk is full would help nobody.
    pub(super) fn of_the_box(self) -> Result<io::Error, Self> {
        use io::ErrorKind::{
            OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        };
        use rustix::io::Errno;
        let source = match &self {
            Self::Sled(sled::Error::Io(source)) | Self::Sync { source, .. } => source,
            _ => return Err(self),
        };
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        let kinds = [
            OutOfMemory,
            PermissionDenied,
            QuotaExceeded,
            ReadOnlyFilesystem,
            StorageFull,
        ];
        let of_the_box = matches!(errno, Some(Errno::MFILE | Errno::NFILE))
            || kinds.contains(&source.kind())
            || is_lock_error(source);
        match self {
            Self::Sled(sled::Error::Io(source)) | Self::Sync { source, .. } if of_the_box => {
                Ok(source)
            }
            other => Err(other),
        }
    }
}

/// sled has no kind of its own for this.
fn is_lock_error(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// sled's handle. Its drop flushes and syncs, and panics where the disk refuses: here that ends in nothing, for by then
/// every acknowledged change was synced.
struct Handle(Option<sled::Db>);

impl Drop for Handle {
    fn drop(&mut self) {
        let db = self.0.take();
        catch_unwind(AssertUnwindSafe(|| drop(db))).ok();
    }
}

/// The database, open.
pub(super) struct Ledger {
    reader: Reader,
    dir: PathBuf,
    file: Box<dyn DurableFile>,
}

/// What reads the database, also on other threads.
#[derive(Clone)]
pub(super) struct Reader {
    handle: Arc<Handle>,
}

impl Ledger {
    /// Opens or creates the database in `dir`.
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, LedgerError> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        let db = guarded(|| open_unlocked(&config))?;
        let reader = Reader {
            handle: Arc::new(Handle(Some(db))),
        };
        guarded(|| Ok(reader.db().flush()?))?;
        let path = dir.join("db");
        let file = sync_everything(dir).and_then(|()| File::open(&path));
        let file = file.map_err(|source| LedgerError::Sync { path, source })?;
        Ok(Self {
            reader,
            dir: dir.to_owned(),
            file: Box::new(file),
        })
    }

    /// Applies writes as one atomic batch, and returns once they are on the device. Each key is written at most once.
    ///
    /// # Errors
    /// After any error nothing is known about the file: the ledger must be dropped.
    pub(super) fn apply(&mut self, writes: &[Write]) -> Result<(), LedgerError> {
        let db = self.reader.db();
        guarded(|| {
            let mut batch = sled::Batch::default();
            for (key, value) in writes {
                stage(db, &mut batch, key, value.as_deref())?;
            }
            db.apply_batch(batch)?;
            db.flush()?;
            Ok(())
        })?;
        self.file.sync().map_err(|source| LedgerError::Sync {
            path: self.dir.join("db"),
            source,
        })
    }

    /// What reads it, also on other threads. The file stays open until the last of these is gone.
    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Whether the file has outgrown its contents so far that it should be written anew.
    pub(super) fn wants_rebuild(&self, contents_bytes: u64) -> io::Result<bool> {
        let file_bytes = self.dir.join("db").metadata()?.len();
        Ok(file_bytes > FILE_BYTES_MIN.max(FILE_TO_CONTENTS * contents_bytes))
    }

    /// The file's size, in bytes.
    pub(super) fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.dir.join("db").metadata()?.len())
    }

    /// Puts another file in place of the one that is synced, for tests in which it fails.
    #[cfg(test)]
    pub(super) fn replace_file(
        &mut self,
        wrap: impl FnOnce(Box<dyn DurableFile>) -> Box<dyn DurableFile>,
    ) {
        let file = std::mem::replace(&mut self.file, Box::new(tempfile::tempfile().unwrap()));
        self.file = wrap(file);
    }
}

impl Reader {
    fn db(&self) -> &sled::Db {
        self.handle.0.as_ref().expect("only drop takes it")
    }

    /// The value under a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        guarded(|| {
            let Some(first) = self.db().get(piece_key(key, 0))? else {
                return Ok(None);
            };
            let (pieces, data) = first_piece(key, &first)?;
            let mut value = data.to_vec();
            for piece in 1..pieces {
                let Some(data) = self.db().get(piece_key(key, piece))? else {
                    return Err(torn(key, "lacks a piece"));
                };
                value.extend_from_slice(&data);
            }
            Ok(Some(value))
        })
    }

    /// The last `limit` entries from `first` on and before `end`, the last one first.
    pub(super) fn last_before(
        &self,
        first: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, LedgerError> {
        guarded(|| {
            let mut entries = Vec::with_capacity(limit);
            for piece in self.db().range(first..end).rev() {
                if entries.len() == limit {
                    break;
                }
                let (piece, _) = piece?;
                let (key, number) = split_piece_key(&piece)?;
                if number != 0 {
                    continue;
                }
                // An entry that the writer drops at this moment is gone by the time it is read whole.
                if let Some(value) = self.get(key)? {
                    entries.push((key.to_vec(), value));
                }
            }
            Ok(entries)
        })
    }

    /// Everything in it.
    pub(super) fn contents(&self) -> Result<Contents, LedgerError> {
        guarded(|| {
            let mut contents = Contents::default();
            let mut entries = self.db().iter();
            while let Some(entry) = entries.next() {
                let (piece, first) = entry?;
                let (key, number) = split_piece_key(&piece)?;
                if number != 0 {
                    return Err(torn(key, "begins in the middle"));
                }
                let (pieces, data) = first_piece(key, &first)?;
                let mut value = data.to_vec();
                for wanted in 1..pieces {
                    let (piece, data) =
                        entries.next().ok_or_else(|| torn(key, "lacks a piece"))??;
                    if piece != piece_key(key, wanted) {
                        return Err(torn(key, "lacks a piece"));
                    }
                    value.extend_from_slice(&data);
                }
                contents.0.insert(key.to_vec(), value);
            }
            Ok(contents)
        })
    }
}

/// Opens sled, waiting a little where a handle that this process just dropped still holds the lock. Another process
/// cannot: the store's own lock was taken before.
fn open_unlocked(config: &sled::Config) -> Result<sled::Db, LedgerError> {
    let mut steps = 0;
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if steps < LOCK_STEPS_MAX && is_lock_error(&error) => {
                steps += 1;
                std::thread::sleep(LOCK_STEP);
            }
            other => return Ok(other?),
        }
    }
}

/// Syncs every file that sled made, then the names.
fn sync_everything(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_everything(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    sync_dir(dir)
}

/// Adds one write to a batch, piece by piece; pieces that a longer old value leaves behind are removed.
fn stage(
    db: &sled::Db,
    batch: &mut sled::Batch,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), LedgerError> {
    let old_pieces = match db.get(piece_key(key, 0))? {
        Some(first) => first_piece(key, &first)?.0,
        None => 0,
    };
    let mut pieces = 0;
    if let Some(value) = value {
        let count = value.len().div_ceil(PIECE_BYTES_MAX).max(1);
        let count = u16::try_from(count).map_err(|_| torn(key, "is longer than a value may be"))?;
        let (head, tail) = value.split_at(value.len().min(PIECE_BYTES_MAX));
        let mut first = count.to_be_bytes().to_vec();
        first.extend_from_slice(head);
        batch.insert(piece_key(key, 0), first);
        for (piece, data) in (1..).zip(tail.chunks(PIECE_BYTES_MAX)) {
            batch.insert(piece_key(key, piece), data);
        }
        pieces = count;
    }
    for piece in pieces..old_pieces {
        batch.remove(piece_key(key, piece));
    }
    Ok(())
}

/// A piece's key: keys are never the beginning of one another, so two more bytes cannot collide.
fn piece_key(key: &[u8], piece: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 2);
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&piece.to_be_bytes());
    bytes
}

fn split_piece_key(bytes: &[u8]) -> Result<(&[u8], u16), LedgerError> {
    let (key, piece) = bytes
        .split_last_chunk::<2>()
        .ok_or_else(|| torn(bytes, "has too short a key"))?;
    Ok((key, u16::from_be_bytes(*piece)))
}

/// The number of pieces, and the first one's data.
fn first_piece<'a>(key: &[u8], bytes: &'a [u8]) -> Result<(u16, &'a [u8]), LedgerError> {
    match bytes.split_first_chunk::<2>() {
        Some((count, data)) if *count != [0, 0] => Ok((u16::from_be_bytes(*count), data)),
        _ => Err(torn(key, "does not say how many pieces it has")),
    }
}

fn torn(key: &[u8], what: &'static str) -> LedgerError {
    LedgerError::Torn {
        key: key.to_vec(),
        what,
    }
}

/// Runs sled code; a panic becomes an error. Whoever gets it drops the ledger, so no half-changed state is used.
fn guarded<T>(work: impl FnOnce() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(LedgerError::Panicked(
            text.unwrap_or("without a message").to_owned(),
        ))
    })
}
