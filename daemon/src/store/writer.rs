//! The one thread that writes.
//!
//! Takes transactions from a bounded queue, gives each its sequence number, and answers once it is durable in both
//! the export's journal and the database. Transactions that wait while the disk is busy are written together: one
//! frame, one batch, one sync of each. Promises never to acknowledge anything after a write or sync has failed: from
//! then on every transaction is refused with the reason, until the store is opened again. Never drops a transaction
//! that it has taken from the queue without an answer.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

use super::contents::{Change, Contents, Write, entry_bytes};
use super::error::{StoreError, chain};
use super::export::Export;
use super::key::Key;
use super::ledger::{Ledger, Reader};
use super::record::{NodeRecord, SCHEMA_VERSION, seal, set_revision};
use super::recover::rebuild;
use super::{Condition, Seq};

/// Most transactions written together.
pub(super) const GROUP_TRANSACTIONS_MAX: usize = 64;
/// No transaction joins a group that is this large already, in bytes.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The size of sled's file is looked at once in so many groups.
const GROUPS_PER_LOOK: u64 = 256;

/// A transaction, encoded; revisions are filled in here.
pub(super) struct Prepared {
    pub(super) writes: Vec<Write>,
    pub(super) audit: Option<Vec<u8>>,
    pub(super) known_good_time_s: Option<u64>,
    pub(super) lowers_known_good_time: bool,
    pub(super) bytes: usize,
}

/// A transaction and who waits for it.
pub(super) struct Submitted {
    pub(super) transaction: Prepared,
    pub(super) answer: oneshot::Sender<Result<Seq, StoreError>>,
}

/// What the writer is asked for.
pub(super) enum Asked {
    /// A transaction.
    Commit(Submitted),
    /// Everything that is stored, as of the last transaction that is durable by then.
    Copy(oneshot::Sender<Result<Contents, StoreError>>),
}

/// What the writer has done, for metrics; read at any time.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) transactions: AtomicU64,
    pub(super) groups: AtomicU64,
    pub(super) journal_bytes: AtomicU64,
    pub(super) journal_us: AtomicU64,
    pub(super) ledger_us: AtomicU64,
    pub(super) compactions: AtomicU64,
    pub(super) rebuilds: AtomicU64,
    pub(super) contents_bytes: AtomicU64,
    pub(super) ledger_bytes: AtomicU64,
}

/// Bounds the writer keeps to.
pub(super) struct Bounds {
    pub(super) audit_entries_max: usize,
    pub(super) audit_bytes_max: u64,
    pub(super) reserve_bytes: u64,
    pub(super) contents_bytes_max: u64,
    pub(super) cache_bytes: u64,
}

pub(super) struct Writer {
    pub(super) dir: PathBuf,
    /// `None` only after a failure.
    pub(super) ledger: Option<Ledger>,
    pub(super) export: Export,
    pub(super) reader: Arc<ArcSwapOption<Reader>>,
    pub(super) node: NodeRecord,
    pub(super) audit: AuditLog,
    pub(super) contents_bytes: u64,
    pub(super) bounds: Bounds,
    pub(super) condition: Arc<Condition>,
    pub(super) counters: Arc<Counters>,
}

/// What a group would do, before any of it is done.
struct Group {
    changes: Vec<Change>,
    /// The last write of each key.
    merged: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    answers: Vec<(Seq, oneshot::Sender<Result<Seq, StoreError>>)>,
    node: NodeRecord,
    audit: AuditChange,
    contents_bytes: u64,
}

/// The audit entries that are kept, oldest first, each with what it counts for.
#[derive(Debug, Default)]
pub(super) struct AuditLog {
    entries: VecDeque<(Seq, u64)>,
    bytes: u64,
}

/// What a group adds to the audit log, and how many entries leave it at the old end for that.
#[derive(Debug, Clone, Default)]
struct AuditChange {
    added: Vec<(Seq, u64)>,
    added_bytes: u64,
    dropped: usize,
    dropped_bytes: u64,
}

impl AuditLog {
    pub(super) fn new(entries: impl Iterator<Item = (Seq, u64)>) -> Self {
        let entries: VecDeque<_> = entries.collect();
        Self {
            bytes: entries.iter().map(|(_, bytes)| bytes).sum(),
            entries,
        }
    }

    /// Adds an entry to a change, and drops the oldest until count and bytes are within the bounds: the new one stays,
    /// whatever its size. Gives what was dropped.
    fn add(&self, change: &mut AuditChange, entry: (Seq, u64), bounds: &Bounds) -> Vec<Seq> {
        change.added.push(entry);
        change.added_bytes += entry.1;
        let mut oldest = self
            .entries
            .iter()
            .chain(&change.added)
            .copied()
            .skip(change.dropped);
        let mut count = self.entries.len() + change.added.len() - change.dropped;
        let mut bytes = self.bytes + change.added_bytes - change.dropped_bytes;
        let mut dropped = Vec::new();
        while count > 1 && (count > bounds.audit_entries_max || bytes > bounds.audit_bytes_max) {
            let Some((seq, entry_bytes)) = oldest.next() else {
                break;
            };
            dropped.push(seq);
            count -= 1;
            bytes -= entry_bytes;
            change.dropped_bytes += entry_bytes;
        }
        change.dropped += dropped.len();
        dropped
    }

    fn apply(&mut self, change: AuditChange) {
        self.entries.extend(change.added);
        self.entries.drain(..change.dropped);
        self.bytes += change.added_bytes;
        self.bytes -= change.dropped_bytes;
    }
}

impl Writer {
    /// Works until every sender is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Asked>) {
        while let Some(first) = queue.blocking_recv() {
            let (mut group, mut bytes, mut copy) = (Vec::new(), 0, None);
            let mut next = Some(first);
            while let Some(asked) = next.take() {
                match asked {
                    Asked::Commit(submitted) => {
                        bytes += submitted.transaction.bytes;
                        group.push(submitted);
                    }
                    // It has what was asked for before, and ends the group.
                    Asked::Copy(answer) => {
                        copy = Some(answer);
                        break;
                    }
                }
                if group.len() < GROUP_TRANSACTIONS_MAX && bytes < GROUP_BYTES_MAX {
                    next = queue.try_recv().ok();
                }
            }
            // sled code that panics is caught nearer by; this is for our own mistakes, which must not look like a
            // store that is merely slow.
            let committed = catch_unwind(AssertUnwindSafe(|| {
                if !group.is_empty() {
                    self.commit(group);
                }
            }));
            if committed.is_err() {
                self.condition.fail("the writer panicked".to_owned());
                self.ledger = None;
            }
            if let Some(answer) = copy {
                // Whoever asked may be gone.
                answer.send(self.copy()).ok();
            }
        }
    }

    fn copy(&self) -> Result<Contents, StoreError> {
        let unavailable = |reason| StoreError::Unavailable { reason };
        let ledger = self.ledger.as_ref().ok_or_else(|| {
            let why = self
                .condition
                .failure()
                .unwrap_or("the database was given up");
            unavailable(why.to_owned())
        })?;
        let contents = ledger.reader().contents();
        contents.map_err(|error| unavailable(chain(&error)))
    }

    fn commit(&mut self, submitted: Vec<Submitted>) {
        if let Err(refusal) = self.may_write() {
            for Submitted { answer, .. } in submitted {
                answer.send(Err(refusal())).ok();
            }
            return;
        }
        let group = match self.plan(submitted) {
            Ok(Some(group)) => group,
            Ok(None) => return,
            Err(reason) => return self.condition.fail(reason),
        };
        match self.write(&group) {
            Ok(()) => self.acknowledge(group),
            Err(reason) => {
                self.condition.fail(reason.clone());
                self.ledger = None;
                for (_, answer) in group.answers {
                    let reason = reason.clone();
                    answer.send(Err(StoreError::Undecided { reason })).ok();
                }
                return;
            }
        }
        if let Err(reason) = self.maintain() {
            self.condition.fail(reason);
            self.ledger = None;
        }
    }

    /// Whether anything may be written now; the refusal is made once for each who waits.
    fn may_write(&self) -> Result<(), Box<dyn Fn() -> StoreError>> {
        if let Some(reason) = self.condition.failure() {
            let reason = reason.to_owned();
            return Err(Box::new(move || StoreError::Unavailable {
                reason: reason.clone(),
            }));
        }
        let needed_bytes = self.bounds.reserve_bytes;
        match self.export.free_bytes() {
            Ok(free_bytes) if free_bytes >= needed_bytes => Ok(()),
            Ok(free_bytes) => Err(Box::new(move || StoreError::NoSpace {
                free_bytes,
                needed_bytes,
            })),
            Err(error) => {
                let reason = format!("the disk's free space cannot be told: {error}");
                Err(Box::new(move || StoreError::Unavailable {
                    reason: reason.clone(),
                }))
            }
        }
    }

    /// Numbers the transactions and works out what they write. `None` where none is left to be written.
    fn plan(&self, submitted: Vec<Submitted>) -> Result<Option<Group>, String> {
        let mut group = Group {
            changes: Vec::with_capacity(submitted.len()),
            merged: BTreeMap::new(),
            answers: Vec::with_capacity(submitted.len()),
            node: self.node.clone(),
            audit: AuditChange::default(),
            contents_bytes: self.contents_bytes,
        };
        let reader = self
            .ledger
            .as_ref()
            .ok_or("the database was given up")?
            .reader();
        for Submitted {
            transaction,
            answer,
        } in submitted
        {
            let mut node = group.node.clone();
            node.schema = SCHEMA_VERSION;
            node.seq += 1;
            node.known_good_time_s = match transaction.known_good_time_s {
                Some(lower) if transaction.lowers_known_good_time => lower,
                other => node.known_good_time_s.max(other.unwrap_or(0)),
            };
            let mut writes = transaction.writes;
            let mut audit = group.audit.clone();
            if let Some(entry) = transaction.audit {
                let key = Key::Audit { seq: node.seq }.encode();
                let bytes = entry_bytes(key.len(), entry.len());
                let dropped = self.audit.add(&mut audit, (node.seq, bytes), &self.bounds);
                writes.push((key, Some(entry)));
                let dropped = dropped.into_iter().map(|seq| Key::Audit { seq }.encode());
                writes.extend(dropped.map(|key| (key, None)));
            }
            let sealed = seal(&node).map_err(|error| chain(&error))?;
            writes.push((Key::Node.encode(), Some(sealed)));
            for (_, value) in &mut writes {
                if let Some(value) = value {
                    set_revision(value, node.seq);
                }
            }

            let bytes = grown(reader, &group, &writes)?;
            let bytes_max = self.bounds.contents_bytes_max;
            if bytes > bytes_max && bytes > group.contents_bytes {
                answer.send(Err(StoreError::Full { bytes, bytes_max })).ok();
                continue;
            }
            group.audit = audit;
            group.contents_bytes = bytes;
            group.merged.extend(writes.iter().cloned());
            group.answers.push((node.seq, answer));
            group.changes.push(Change {
                seq: node.seq,
                writes,
            });
            group.node = node;
        }
        Ok((!group.changes.is_empty()).then_some(group))
    }

    /// Journal first, then database: a crash in between leaves the export ahead, which is believed as it is.
    fn write(&mut self, group: &Group) -> Result<(), String> {
        let began = Instant::now();
        let journal_bytes = self
            .export
            .append(&group.changes)
            .map_err(|error| format!("the journal could not be written: {error}"))?;
        let journaled = Instant::now();
        let writes: Vec<Write> = group
            .merged
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let ledger = self.ledger.as_mut().ok_or("the database was given up")?;
        ledger.apply(&writes).map_err(|error| chain(&error))?;
        let counters = &self.counters;
        add(&counters.journal_bytes, journal_bytes);
        add(&counters.journal_us, micros(began, journaled));
        add(&counters.ledger_us, micros(journaled, Instant::now()));
        add(&counters.transactions, group.changes.len() as u64);
        Ok(())
    }

    fn acknowledge(&mut self, group: Group) {
        self.node = group.node;
        self.audit.apply(group.audit);
        self.contents_bytes = group.contents_bytes;
        self.condition.advance(self.node.seq);
        for (seq, answer) in group.answers {
            // Whoever asked may be gone; the change stays.
            answer.send(Ok(seq)).ok();
        }
    }

    /// Keeps both files within their bounds. The group is acknowledged by now; whoever comes next waits.
    fn maintain(&mut self) -> Result<(), String> {
        let groups = self.counters.groups.fetch_add(1, Ordering::Relaxed) + 1;
        let ledger = self.ledger.as_ref().ok_or("the database was given up")?;
        let unreadable = |error: &dyn std::error::Error| chain(error);
        if self.export.wants_compaction() {
            let other_copy = || {
                ledger
                    .reader()
                    .contents()
                    .map_err(|error| StoreError::Unavailable {
                        reason: chain(&error),
                    })
            };
            self.export
                .compact(self.node.seq, other_copy)
                .map_err(|error| unreadable(&error))?;
            add(&self.counters.compactions, 1);
        }
        if groups % GROUPS_PER_LOOK == 1 {
            let outgrown = ledger.wants_rebuild(self.contents_bytes);
            if outgrown.map_err(|error| unreadable(&error))? {
                self.rebuild()?;
            }
        }
        let ledger = self.ledger.as_ref().ok_or("the database was given up")?;
        let file_bytes = ledger.file_bytes().map_err(|error| unreadable(&error))?;
        self.counters
            .ledger_bytes
            .store(file_bytes, Ordering::Relaxed);
        self.counters
            .contents_bytes
            .store(self.contents_bytes, Ordering::Relaxed);
        Ok(())
    }

    fn rebuild(&mut self) -> Result<(), String> {
        let old = self.ledger.take().ok_or("the database was given up")?;
        let contents: Contents = old.reader().contents().map_err(|error| chain(&error))?;
        let new = rebuild(&self.dir, self.bounds.cache_bytes, old, &contents)
            .map_err(|error| chain(&error))?;
        self.reader.store(Some(Arc::new(new.reader().clone())));
        self.ledger = Some(new);
        add(&self.counters.rebuilds, 1);
        Ok(())
    }
}

/// What the contents come to once these writes follow the group's.
fn grown(reader: &Reader, group: &Group, writes: &[Write]) -> Result<u64, String> {
    let mut bytes = group.contents_bytes;
    let mut own: BTreeMap<&[u8], Option<usize>> = BTreeMap::new();
    for (key, value) in writes {
        let before = match (own.get(key.as_slice()), group.merged.get(key)) {
            (Some(before), _) => *before,
            (None, Some(before)) => before.as_ref().map(Vec::len),
            (None, None) => reader
                .get(key)
                .map_err(|error| chain(&error))?
                .map(|value| value.len()),
        };
        let after = value.as_ref().map(Vec::len);
        let count = |value: Option<usize>| value.map_or(0, |length| entry_bytes(key.len(), length));
        bytes = bytes.saturating_sub(count(before)) + count(after);
        own.insert(key, after);
    }
    Ok(bytes)
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.duration_since(from).as_micros()).unwrap_or(u64::MAX)
}
