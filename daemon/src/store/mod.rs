//! The store: the node's control state, durable before it is acknowledged.
//!
//! Takes transactions of whole records, gives back the sequence number each was made durable at. Promises:
//!
//! - What was acknowledged survives kill -9 and power loss, whole; what was not is whole or absent.
//! - Sequence numbers rise by one with each transaction and never return. A record's revision is the number of the
//!   transaction that last wrote it.
//! - Nothing is acknowledged after a write or a sync failed: [`Store::health`] says why, and every commit is refused
//!   until the store is opened again.
//! - Queue, transaction, group, audit log, control state, journal and database file have bounds.
//!
//! Never read on a request's way: the control room loads everything at start ([`Opened::snapshot`]), keeps it in
//! memory, and treats the store as its log.
//!
//! # Why two copies
//!
//! sled 0.34 is the node's database, and its last stable release is known to have come up unopenable, or to have
//! given back less than was there, after abrupt stops. So each group of transactions is written twice, in forms that
//! share no code: to an append-only journal with checksums (`export`) and to sled (`ledger`). At each start both
//! are read whole and compared byte for byte, and whichever is whole mends the other (`recover`). The state is
//! small, bounded by [`StoreOptions::contents_bytes_max`], so that this takes milliseconds.
//!
//! # What each sync buys
//!
//! | sync | without it |
//! |---|---|
//! | of the journal, per group | a power cut takes acknowledged changes out of the export |
//! | of sled's `db`, per group | the same for the database: sled's own flush stops before the disk's cache |
//! | of sled's other files and names, at open | after a power cut sled finds a log without its snapshot, or no log |
//! | of a snapshot, before its rename | the new name could show an empty file |
//! | of the directory, after each rename or creation | the old name could come back, or the new one be gone |
//!
//! A group is one journal frame, one sled batch and one sync of each: transactions that arrive while the disk is busy
//! share the next one.
//!
//! Components, the large part of a node's data, are files of their own: [`blobs`].

pub mod blobs;
mod canary;
mod contents;
mod copy;
mod disk;
mod error;
mod export;
mod key;
mod ledger;
mod record;
mod recover;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

pub use contents::Snapshot;
pub use copy::{IncomingEntries, SealedPlace, StoreCopy};
pub use error::StoreError;
pub use key::{Key, KeyError};
pub use record::{
    AuditRecord, CertificateRecord, FloorRecord, GrantsRecord, ModuleRecord, PublisherKeyRecord,
    Record, RecordError, ReuseRecord, Revised, RouteRecord, TenantRecord, UsageRecord,
    VariableRecord, VersionRecord,
};
pub use recover::Recovery;

use crate::durable::create_private_dir;
use contents::Write;
use error::{chain, io_error};
use ledger::Reader;
use recover::Recovered;
use writer::{Asked, AuditLog, Bounds, Counters, Prepared, Submitted, Writer};

/// The number of a committed transaction.
pub type Seq = u64;

/// Transactions that may wait for the writer.
const QUEUE_MAX: usize = 32;
/// How long another holder of the lock is waited for, in steps of [`LOCK_STEP`]: a predecessor that is just ending, or a
/// process that it was starting at that moment, which has its open files until it becomes another program.
const LOCK_STEPS_MAX: u32 = 100;
const LOCK_STEP: Duration = Duration::from_millis(10);
/// The largest transaction, encoded, in bytes.
pub const TRANSACTION_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The most puts and deletes in one transaction.
pub const TRANSACTION_WRITES_MAX: usize = 16_384;
/// The most entries of one page of the audit log.
pub const AUDIT_PAGE_MAX: usize = 1000;

/// Where the store lives, and its bounds.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Its directory; created where it is not there.
    pub dir: PathBuf,
    /// sled's page cache, in MiB.
    pub cache_mib: u32,
    /// Audit entries that are kept; older ones go with the change that adds a new one.
    pub audit_entries_max: usize,
    /// Bytes that audit entries may come to: beyond, older ones go in the same way.
    pub audit_bytes_max: u64,
    /// Bytes that must be free on the disk before anything is written.
    pub reserve_bytes: u64,
    /// The most the control state may come to, in bytes; it is held in memory once while the store is opened.
    pub contents_bytes_max: u64,
}

impl StoreOptions {
    /// The defaults for a small box: 8 MiB of cache, 10,000 audit entries in 16 MiB, 16 MiB of reserve, 64 MiB of state.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            cache_mib: 8,
            audit_entries_max: 10_000,
            audit_bytes_max: 16 * 1024 * 1024,
            reserve_bytes: 16 * 1024 * 1024,
            contents_bytes_max: 64 * 1024 * 1024,
        }
    }

    fn cache_bytes(&self) -> u64 {
        u64::from(self.cache_mib) * 1024 * 1024
    }
}

/// Changes that are made together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    /// Records to write, after the deletes; of two with the same key the later one stays.
    pub puts: Vec<Record>,
    /// Records to remove; one that is not there is no error.
    pub deletes: Vec<Key>,
    /// The audit entry that comes with it.
    pub audit: Option<AuditRecord>,
    /// A time, in seconds since 1970-01-01 UTC, that the caller believes has been reached. The highest one ever given
    /// is kept: a floor for a clock that comes up wrong. A transaction of nothing else is also how an idle node asks
    /// whether its disk still takes writes.
    pub known_good_time_s: Option<u64>,
    /// That time is kept even if a later one was given before: somebody knows that those were wrong.
    pub lowers_known_good_time: bool,
}

/// An open store, what it holds, and what opening it had to mend.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Everything but the audit log, as of the last committed transaction.
    pub snapshot: Snapshot,
    /// What was found and mended.
    pub recovery: Recovery,
}

/// Whether the store takes changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Working,
    /// It does not, until it is opened again.
    Failed {
        /// What failed.
        reason: String,
    },
}

/// What the store has done since it was opened, and how large it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Transactions made durable.
    pub transactions: u64,
    /// Groups they were written in.
    pub groups: u64,
    /// Bytes appended to the journal.
    pub journal_bytes: u64,
    /// Time spent writing and syncing the journal, in microseconds.
    pub journal_us: u64,
    /// Time spent writing and syncing the database, in microseconds.
    pub ledger_us: u64,
    /// Journals that were replaced by a snapshot.
    pub compactions: u64,
    /// Times the database file was written anew because it had outgrown its contents.
    pub rebuilds: u64,
    /// The control state's size now, in bytes.
    pub contents_bytes: u64,
    /// The database file's size now, in bytes.
    pub ledger_bytes: u64,
}

/// The durable store of the node's control state.
///
/// Cheap to clone. The writer thread ends once every clone is gone and the queue is empty; [`Store::close`] waits for
/// that.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` once closed.
    queue: Mutex<Option<mpsc::Sender<Asked>>>,
    /// Empty once closed.
    reader: Arc<ArcSwapOption<Reader>>,
    condition: Arc<Condition>,
    counters: Arc<Counters>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What writer and callers both look at.
#[derive(Debug)]
struct Condition {
    seq: AtomicU64,
    failure: OnceLock<String>,
}

impl Condition {
    /// The first failure stays: what follows it says less.
    fn fail(&self, reason: String) {
        self.failure.set(reason).ok();
    }

    fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    fn advance(&self, seq: Seq) {
        self.seq.store(seq, Ordering::Release);
    }
}

impl Store {
    /// Opens the store, mends what a crash, power cut or failing disk left, and starts the writer thread.
    ///
    /// Blocks on the disk, and for some seconds where a large database has to be built anew: call it before the
    /// runtime serves, or on a blocking thread.
    ///
    /// # Errors
    /// [`StoreError::Locked`] where another process still has it open after a second, [`StoreError::BothBroken`] where acknowledged changes
    /// cannot be had from either copy, [`StoreError::Schema`], [`StoreError::Record`] or [`StoreError::Key`] where the
    /// state was written by a build that knows more, [`StoreError::Io`] for what the system refuses.
    pub fn open(options: StoreOptions) -> Result<Opened, StoreError> {
        let StoreOptions { dir, .. } = &options;
        create_private_dir(dir).map_err(io_error("create", dir))?;
        let lock = lock(dir)?;
        let recovered = recover::recover(dir, options.cache_bytes())?;
        Self::start(options, lock, recovered)
    }

    /// Starts the writer on two copies that agree.
    fn start(
        options: StoreOptions,
        lock: File,
        recovered: Recovered,
    ) -> Result<Opened, StoreError> {
        let Recovered {
            ledger,
            export,
            contents,
            recovery,
        } = recovered;
        let dir = &options.dir;
        let snapshot = Snapshot::read(&contents)?;
        let condition = Arc::new(Condition {
            seq: AtomicU64::new(snapshot.seq),
            failure: OnceLock::new(),
        });
        let counters = Arc::new(Counters::default());
        let reader = Arc::new(ArcSwapOption::from_pointee(ledger.reader().clone()));
        let writer = Writer {
            dir: dir.clone(),
            ledger: Some(ledger),
            export,
            reader: Arc::clone(&reader),
            node: contents.node()?,
            audit: AuditLog::new(contents.audit_entries()),
            contents_bytes: contents.bytes(),
            bounds: Bounds {
                audit_entries_max: options.audit_entries_max,
                audit_bytes_max: options.audit_bytes_max,
                reserve_bytes: options.reserve_bytes,
                contents_bytes_max: options.contents_bytes_max,
                cache_bytes: options.cache_bytes(),
            },
            condition: Arc::clone(&condition),
            counters: Arc::clone(&counters),
        };
        let (queue, submitted) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                writer.run(submitted);
                drop(lock);
            })
            .map_err(io_error("start a thread for", dir))?;
        let store = Self {
            inner: Arc::new(Inner {
                queue: Mutex::new(Some(queue)),
                reader,
                condition,
                counters,
                writer: Mutex::new(Some(thread)),
            }),
        };
        Ok(Opened {
            store,
            snapshot,
            recovery,
        })
    }

    /// Makes a transaction durable and gives its sequence number.
    ///
    /// Transactions get their numbers in the order in which they enter the queue; two commits that are awaited at the
    /// same time may enter in either order.
    ///
    /// # Errors
    /// [`StoreError::Undecided`] where writing this very transaction failed: it may be there after the next open. All
    /// others mean that nothing was written.
    ///
    /// # Cancel safety
    /// Until the transaction has a place in the queue, dropping the future means that nothing happens. From then on it
    /// is carried out whether or not anybody waits for the answer: a caller that must know puts the call into a task
    /// of its own.
    pub async fn commit(&self, transaction: Transaction) -> Result<Seq, StoreError> {
        let transaction = prepare(transaction)?;
        let queue = self.inner.queue.lock().ok().and_then(|queue| queue.clone());
        let queue = queue.ok_or_else(|| self.unavailable())?;
        let (answer, answered) = oneshot::channel();
        queue
            .send(Asked::Commit(Submitted {
                transaction,
                answer,
            }))
            .await
            .map_err(|_| self.unavailable())?;
        drop(queue);
        match answered.await {
            Ok(result) => result,
            // The writer ended while it held this transaction.
            Err(_) => Err(StoreError::Undecided {
                reason: self.reason(),
            }),
        }
    }

    /// Everything that is stored, the audit log included, as of one transaction. It is held in memory twice, as entries and
    /// as records.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn copy(&self) -> Result<StoreCopy, StoreError> {
        let queue = self.inner.queue.lock().ok().and_then(|queue| queue.clone());
        let queue = queue.ok_or_else(|| self.unavailable())?;
        let (answer, answered) = oneshot::channel();
        let asked = queue.send(Asked::Copy(answer)).await;
        asked.map_err(|_| self.unavailable())?;
        drop(queue);
        let contents = answered.await.map_err(|_| self.unavailable())??;
        StoreCopy::of(contents)
    }

    /// Audit entries with their sequence numbers as revisions, newest first: those before `before`, or the newest of
    /// all; at most `limit` and never more than [`AUDIT_PAGE_MAX`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the database cannot be read, [`StoreError::Record`] where an entry cannot.
    pub async fn audit_page(
        &self,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Revised<AuditRecord>>, StoreError> {
        let reader = self.inner.reader.load_full();
        let reader = reader.ok_or_else(|| self.unavailable())?;
        let read = move || read_audit(&reader, before, limit.min(AUDIT_PAGE_MAX));
        tokio::task::spawn_blocking(read)
            .await
            .unwrap_or_else(|error| {
                Err(StoreError::Unavailable {
                    reason: error.to_string(),
                })
            })
    }

    /// The last transaction that was made durable.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.inner.condition.seq.load(Ordering::Acquire)
    }

    /// Whether changes are taken.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.inner.condition.failure() {
            None => Health::Working,
            Some(reason) => Health::Failed {
                reason: reason.to_owned(),
            },
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let counters = &self.inner.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            transactions: read(&counters.transactions),
            groups: read(&counters.groups),
            journal_bytes: read(&counters.journal_bytes),
            journal_us: read(&counters.journal_us),
            ledger_us: read(&counters.ledger_us),
            compactions: read(&counters.compactions),
            rebuilds: read(&counters.rebuilds),
            contents_bytes: read(&counters.contents_bytes),
            ledger_bytes: read(&counters.ledger_bytes),
        }
    }

    /// Refuses further commits, finishes those in the queue, and returns once all files are closed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the store closing.
    pub async fn close(self) {
        if let Ok(mut queue) = self.inner.queue.lock() {
            queue.take();
        }
        let thread = self
            .inner
            .writer
            .lock()
            .ok()
            .and_then(|mut writer| writer.take());
        let reader = Arc::clone(&self.inner.reader);
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(thread) = thread {
                // A panic of the writer is in its failure already.
                thread.join().ok();
            }
            reader.store(None);
        });
        ended.await.ok();
    }

    fn reason(&self) -> String {
        let failure = self.inner.condition.failure();
        failure.unwrap_or("it is closed").to_owned()
    }

    fn unavailable(&self) -> StoreError {
        StoreError::Unavailable {
            reason: self.reason(),
        }
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("open", &path))?;
    for _ in 0..LOCK_STEPS_MAX {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_STEP),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
        }
    }
    Err(StoreError::Locked {
        dir: dir.to_owned(),
    })
}

/// Encodes a transaction and holds it against the bounds.
fn prepare(transaction: Transaction) -> Result<Prepared, StoreError> {
    let Transaction {
        puts,
        deletes,
        audit,
        known_good_time_s,
        lowers_known_good_time,
    } = transaction;
    let mut writes: Vec<Write> = Vec::with_capacity(deletes.len() + puts.len() + 3);
    for key in deletes {
        if matches!(key, Key::Audit { .. } | Key::Node) {
            return Err(StoreError::NotDeletable { key });
        }
        writes.push((key.encode(), None));
    }
    for record in &puts {
        writes.push((record.key().encode(), Some(record.seal()?)));
    }
    let audit = audit.as_ref().map(record::seal).transpose()?;
    let bytes = writes
        .iter()
        .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
        .sum::<usize>()
        + audit.as_ref().map_or(0, Vec::len);
    if bytes > TRANSACTION_BYTES_MAX || writes.len() > TRANSACTION_WRITES_MAX {
        return Err(StoreError::TransactionTooLarge {
            bytes,
            bytes_max: TRANSACTION_BYTES_MAX,
            writes: writes.len(),
            writes_max: TRANSACTION_WRITES_MAX,
        });
    }
    Ok(Prepared {
        writes,
        audit,
        known_good_time_s,
        lowers_known_good_time,
        bytes,
    })
}

fn read_audit(
    reader: &Reader,
    before: Option<Seq>,
    limit: usize,
) -> Result<Vec<Revised<AuditRecord>>, StoreError> {
    let end = Key::Audit {
        seq: before.unwrap_or(Seq::MAX),
    };
    let found = reader
        .last_before(&Key::Audit { seq: 0 }.encode(), &end.encode(), limit)
        .map_err(|error| StoreError::Unavailable {
            reason: chain(&error),
        })?;
    let mut entries = Vec::with_capacity(found.len());
    for (key, value) in found {
        entries.push(record::unseal(&Key::decode(&key)?, &value)?);
    }
    Ok(entries)
}
