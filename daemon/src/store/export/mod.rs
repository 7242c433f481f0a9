//! The export: a second, independent copy of the control state, in plain checksummed files.
//!
//! Takes the changes of each group before the database sees them, and makes them durable in an append-only journal.
//! Once the journal is larger than its bound, the whole state goes into a snapshot file and a new journal begins;
//! what was there before is removed only after the new files are durable. Promises that a node can rebuild its
//! database from these files alone, and that it notices every byte of them that changed. Never reads the database.
//!
//! ```text
//! export/snapshot-<sequence number, 16 hex digits>    the state at that number
//! export/journal-<sequence number, 16 hex digits>     the changes after that number
//! ```

mod frame;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::contents::{Change, Contents};
use super::disk::{DurableFile, free_bytes};
use super::error::{StoreError, io_error};
use crate::durable::{sync_dir, write_whole};

/// The journal is at least this long before it is compacted, in bytes.
pub(super) const JOURNAL_BYTES_MIN: u64 = 1024 * 1024;
/// From there on it is compacted once it is this many times the snapshot: what compaction adds to the bytes written
/// stays a quarter.
pub(super) const JOURNAL_TO_SNAPSHOT: u64 = 4;

/// What the export's files hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The state they lead to; as far as they lead where they are damaged.
    pub(super) contents: Contents,
    /// Its sequence number.
    pub(super) seq: u64,
    /// Whether there was any file.
    pub(super) present: bool,
    /// Bytes of a torn end that nobody was told about.
    pub(super) torn_bytes: u64,
    /// What is wrong, where acknowledged changes are missing.
    pub(super) damage: Option<Damage>,
    /// The journal to go on with, where everything is whole.
    journal: Option<(u64, u64)>,
    snapshot_bytes: u64,
}

/// Acknowledged changes that the export cannot give back.
#[derive(Debug, Clone)]
pub(super) struct Damage {
    /// The file it was found in.
    pub(super) path: PathBuf,
    /// What is wrong with it.
    pub(super) reason: String,
    /// The state must reach at least this sequence number to have lost nothing.
    pub(super) seq: u64,
}

impl Found {
    /// Notes damage, unless worse is known.
    fn damaged(&mut self, path: PathBuf, reason: String, seq: u64) {
        if self.damage.as_ref().is_none_or(|known| known.seq < seq) {
            self.damage = Some(Damage { path, reason, seq });
        }
    }

    /// Applies the groups that continue this state.
    fn follow(&mut self, path: &Path, journal: frame::Journal) {
        for group in journal.groups {
            let last = group.last().map_or(0, |change| change.seq);
            for change in group {
                if change.seq <= self.seq {
                    continue;
                }
                if change.seq != self.seq + 1 {
                    let reason = format!("change {} follows change {}", change.seq, self.seq);
                    return self.damaged(path.to_owned(), reason, last);
                }
                self.seq = change.seq;
                self.contents.apply(change);
            }
        }
        if let Some(seq) = journal.stranded_seq.filter(|&seq| seq > self.seq) {
            let reason = format!(
                "it does not read after change {}, and whole changes up to {seq} follow",
                self.seq
            );
            self.damaged(path.to_owned(), reason, seq);
        }
    }
}

/// The export as it is written.
pub(super) struct Export {
    dir: PathBuf,
    journal: Box<dyn DurableFile>,
    journal_bytes: u64,
    snapshot_bytes: u64,
}

fn snapshot_name(seq: u64) -> String {
    format!("snapshot-{seq:016x}")
}

fn journal_name(seq: u64) -> String {
    format!("journal-{seq:016x}")
}

/// The export's files by kind, oldest first.
struct Listing {
    snapshots: Vec<(u64, PathBuf)>,
    journals: Vec<(u64, PathBuf)>,
}

fn list(dir: &Path) -> Result<Listing, StoreError> {
    let mut listing = Listing {
        snapshots: Vec::new(),
        journals: Vec::new(),
    };
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let path = entry.map_err(io_error("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let parse = |prefix: &str| {
            let digits = name?.strip_prefix(prefix)?;
            (digits.len() == 16).then_some(())?;
            u64::from_str_radix(digits, 16).ok()
        };
        if let Some(seq) = parse("snapshot-") {
            listing.snapshots.push((seq, path));
        } else if let Some(seq) = parse("journal-") {
            listing.journals.push((seq, path));
        } else if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
    }
    listing.snapshots.sort();
    listing.journals.sort();
    Ok(listing)
}

/// Reads the export's files; leftovers of an unfinished compaction are removed.
///
/// # Errors
/// A file that cannot be listed or removed. Files that are damaged, missing or unreadable are no error here but
/// [`Found::damage`].
pub(super) fn read(dir: &Path) -> Result<Found, StoreError> {
    let listing = list(dir)?;
    let mut found = Found {
        present: !listing.snapshots.is_empty() || !listing.journals.is_empty(),
        ..Found::default()
    };
    let mut has_base = false;
    for (seq, path) in listing.snapshots.iter().rev() {
        let read = fs::read(path);
        match read
            .as_ref()
            .ok()
            .and_then(|bytes| frame::read_snapshot(bytes))
        {
            Some((inside, contents)) if inside == *seq => {
                found.seq = inside;
                found.contents = contents;
                found.snapshot_bytes = read.map_or(0, |bytes| bytes.len() as u64);
                has_base = true;
                break;
            }
            _ => found.damaged(path.clone(), "it is not a whole snapshot".to_owned(), *seq),
        }
    }
    let mut last = None;
    for (base, path) in &listing.journals {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                found.damaged(path.clone(), error.to_string(), base + 1);
                continue;
            }
        };
        let journal = frame::read_journal(&bytes);
        has_base |= *base == 0;
        if *base > found.seq || !has_base {
            let reason = format!("no snapshot or journal leads to change {base}, which it follows");
            let seq = journal
                .highest_seq()
                .map_or(*base, |highest| highest.max(*base));
            found.damaged(path.clone(), reason, seq);
            continue;
        }
        let whole_bytes = bytes.len() as u64 - journal.torn_bytes;
        found.torn_bytes = journal.torn_bytes;
        let header_reads = journal.base_seq == Some(*base);
        found.follow(path, journal);
        last = (header_reads && found.torn_bytes == 0).then_some((*base, whole_bytes));
    }
    if found
        .damage
        .as_ref()
        .is_some_and(|damage| damage.seq <= found.seq)
    {
        // An unreadable newer snapshot, but older files lead all the way past it.
        found.damage = None;
    }
    found.journal = last.filter(|_| found.damage.is_none());
    Ok(found)
}

impl Export {
    /// Goes on with files that are whole; `None` where a fresh snapshot is needed first.
    pub(super) fn go_on(dir: &Path, found: &Found) -> Result<Option<Self>, StoreError> {
        let Some((base, journal_bytes)) = found.journal else {
            return Ok(None);
        };
        let path = dir.join(journal_name(base));
        let journal = open_journal(&path).map_err(io_error("open", &path))?;
        Ok(Some(Self {
            dir: dir.to_owned(),
            journal: Box::new(journal),
            journal_bytes,
            snapshot_bytes: found.snapshot_bytes,
        }))
    }

    /// Begins anew: a snapshot of the whole state and an empty journal, then everything older is removed.
    pub(super) fn begin(dir: &Path, seq: u64, contents: &Contents) -> Result<Self, StoreError> {
        let mut snapshot_bytes = 0;
        if seq > 0 {
            let bytes = frame::snapshot(seq, contents).ok_or_else(|| StoreError::Io {
                action: "encode a snapshot into",
                path: dir.to_owned(),
                source: io::ErrorKind::FileTooLarge.into(),
            })?;
            snapshot_bytes = bytes.len() as u64;
            write_whole(dir, &snapshot_name(seq), &[&bytes])
                .map_err(io_error("write a snapshot into", dir))?;
        }
        let header = frame::journal_header(seq);
        write_whole(dir, &journal_name(seq), &[&header])
            .map_err(io_error("begin a journal in", dir))?;
        let path = dir.join(journal_name(seq));
        let journal = open_journal(&path).map_err(io_error("open", &path))?;
        let listing = list(dir)?;
        for (at, path) in listing.snapshots.iter().chain(&listing.journals) {
            if *at != seq {
                fs::remove_file(path).map_err(io_error("remove", path))?;
            }
        }
        sync_dir(dir).map_err(io_error("sync", dir))?;
        Ok(Self {
            dir: dir.to_owned(),
            journal: Box::new(journal),
            journal_bytes: frame::JOURNAL_HEADER_BYTES as u64,
            snapshot_bytes,
        })
    }

    /// Makes one group of changes durable; gives the bytes written.
    ///
    /// # Errors
    /// Whatever the disk says. The journal's end is unknown then: nothing may be appended to it again.
    pub(super) fn append(&mut self, group: &[Change]) -> io::Result<u64> {
        let frame = frame::frame(group).ok_or(io::ErrorKind::FileTooLarge)?;
        self.journal.append(&frame)?;
        self.journal.sync()?;
        self.journal_bytes += frame.len() as u64;
        Ok(frame.len() as u64)
    }

    /// Whether the journal has reached its bound.
    pub(super) fn wants_compaction(&self) -> bool {
        self.journal_bytes > JOURNAL_BYTES_MIN.max(JOURNAL_TO_SNAPSHOT * self.snapshot_bytes)
    }

    /// The free bytes of the disk it lies on.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.dir)
    }

    /// Merges snapshot and journal into a new snapshot, read back from the disk itself: so each compaction also
    /// proves that what was written can be read. Where it cannot, `other_copy` gives the state.
    pub(super) fn compact(
        &mut self,
        seq: u64,
        other_copy: impl FnOnce() -> Result<Contents, StoreError>,
    ) -> Result<(), StoreError> {
        let found = read(&self.dir)?;
        let contents = if found.damage.is_none() && found.torn_bytes == 0 && found.seq == seq {
            found.contents
        } else {
            other_copy()?
        };
        *self = Self::begin(&self.dir, seq, &contents)?;
        Ok(())
    }

    /// Puts another file in the journal's place, for tests in which it fails.
    #[cfg(test)]
    pub(super) fn replace_journal(
        &mut self,
        wrap: impl FnOnce(Box<dyn DurableFile>) -> Box<dyn DurableFile>,
    ) {
        let journal = std::mem::replace(&mut self.journal, Box::new(tempfile::tempfile().unwrap()));
        self.journal = wrap(journal);
    }
}

fn open_journal(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).open(path)
}
