//! Opening: which of the two copies to believe, and making them one again.
//!
//! Takes the store's directory. Promises that what it gives back holds every acknowledged change and nothing half,
//! that database and export agree byte for byte, and that whatever had to be mended is named in [`Recovery`]. Refuses
//! to start from less than was acknowledged, as far as the files let that be seen. Never deletes a database that did
//! not open: it is moved aside, and the newest two of those are kept.
//!
//! The journal is written before the database, so after a crash the export is as far as the database, or ahead of
//! it. The export is checksummed and is believed wherever it is whole; the database is believed where the export is
//! not, provided that it is at least as far as anything the export's remains speak of.
//!
//! | export | database | then |
//! |---|---|---|
//! | whole, at E | opens, at S ≤ E | the database is brought to the export's contents |
//! | whole, at E | opens, at S > E | the export was lost or cut: written anew from the database |
//! | damaged | opens, at S ≥ all that the export mentions | the export is written anew |
//! | whole | does not open | moved aside, built from the export |
//! | damaged | behind, or does not open | refused: [`StoreError::BothBroken`] |

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::contents::Contents;
use super::error::{StoreError, chain, io_error};
use super::export::{self, Export};
use super::ledger::Ledger;
use crate::durable::{create_private_dir, sync_dir};

/// sled's directory.
const LEDGER_DIR: &str = "sled";
/// Where a database is built that is to take its place.
const LEDGER_NEW_DIR: &str = "sled.new";
/// A database that did not open, with a number behind.
const LEDGER_BROKEN_DIR: &str = "sled.broken-";
/// How many of those are kept.
const LEDGER_BROKEN_MAX: usize = 2;
/// The export's directory.
pub(super) const EXPORT_DIR: &str = "export";
/// Holds one byte for each attempt to open the database that did not end; gone once it opened.
const ATTEMPTS_FILE: &str = "sled.opening";
/// After this many attempts that neither opened nor failed, the process must have been killed by them: the database
/// counts as broken. More than one, so that a power cut while opening costs nothing.
const ATTEMPTS_MAX: u64 = 3;

/// What opening found and mended. Log it; anything but `Created` and `Intact` deserves a look at the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// There was no store; now there is an empty one.
    Created,
    /// Database and export agreed.
    Intact,
    /// The database lacked changes that the export had: usual after a crash or power cut.
    LedgerBehind {
        /// Where the database was.
        from_seq: u64,
        /// Where both are now.
        to_seq: u64,
    },
    /// The database was as far as the export but held something else; it holds the export's contents now.
    LedgerDiffered {
        /// Where both are.
        seq: u64,
        /// How many keys differed.
        keys: usize,
    },
    /// The database did not open; it was moved aside and built from the export.
    LedgerRebuilt {
        /// Where the broken one is now.
        moved_to: PathBuf,
        /// Why it did not open.
        reason: String,
        /// Where both are now.
        seq: u64,
    },
    /// The export was lost or damaged; it was written anew from the database.
    ExportRewritten {
        /// How far the export could be read.
        from_seq: u64,
        /// Where both are now.
        to_seq: u64,
        /// What was wrong.
        reason: String,
    },
}

impl Recovery {
    /// A word for it, for metrics: from a closed list.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Intact => "intact",
            Self::LedgerBehind { .. } => "ledger_behind",
            Self::LedgerDiffered { .. } => "ledger_differed",
            Self::LedgerRebuilt { .. } => "ledger_rebuilt",
            Self::ExportRewritten { .. } => "export_rewritten",
        }
    }
}

/// Both copies, open and equal.
pub(super) struct Recovered {
    pub(super) ledger: Ledger,
    pub(super) export: Export,
    pub(super) contents: Contents,
    pub(super) recovery: Recovery,
}

/// Opens both copies and makes them one.
pub(super) fn recover(dir: &Path, cache_bytes: u64) -> Result<Recovered, StoreError> {
    let export_dir = dir.join(EXPORT_DIR);
    create_private_dir(&export_dir).map_err(io_error("create", &export_dir))?;
    let new_dir = dir.join(LEDGER_NEW_DIR);
    if new_dir.exists() {
        fs::remove_dir_all(&new_dir).map_err(io_error("remove", &new_dir))?;
    }

    let mut found = export::read(&export_dir)?;
    let created = !found.present && !dir.join(LEDGER_DIR).exists();
    if created {
        // Before the database: so a database without an export always means that the export was lost.
        drop(Export::begin(&export_dir, 0, &Contents::default())?);
        found = export::read(&export_dir)?;
    }
    let opened = open_counted(dir, cache_bytes)?;
    let side = match opened {
        Ok((ledger, contents, seq)) => Side::Opens {
            ledger,
            contents,
            seq,
        },
        Err(reason) => Side::Broken { reason },
    };
    let case = Case {
        dir,
        export_dir: &export_dir,
        cache_bytes,
        created,
    };
    let (ledger, contents, seq, recovery) = match side {
        Side::Opens {
            ledger,
            contents,
            seq,
        } => case.ledger_opens(ledger, contents, seq, &found)?,
        Side::Broken { reason } => case.ledger_broken(reason, &found)?,
    };
    let kept = match recovery {
        Recovery::ExportRewritten { .. } => None,
        _ => Export::go_on(&export_dir, &found)?,
    };
    let export = match kept {
        Some(export) => export,
        None => Export::begin(&export_dir, seq, &contents)?,
    };
    Ok(Recovered {
        ledger,
        export,
        contents,
        recovery,
    })
}

enum Side {
    Opens {
        ledger: Ledger,
        contents: Contents,
        seq: u64,
    },
    Broken {
        reason: String,
    },
}

struct Case<'a> {
    dir: &'a Path,
    export_dir: &'a Path,
    cache_bytes: u64,
    created: bool,
}

type Agreed = (Ledger, Contents, u64, Recovery);

impl Case<'_> {
    fn ledger_opens(
        &self,
        mut ledger: Ledger,
        contents: Contents,
        seq: u64,
        found: &export::Found,
    ) -> Result<Agreed, StoreError> {
        let rewritten = |reason: String| Recovery::ExportRewritten {
            from_seq: found.seq,
            to_seq: seq,
            reason,
        };
        if let Some(damage) = &found.damage {
            if seq < damage.seq {
                let reason = format!(
                    "it holds the state up to change {seq} of at least {}",
                    damage.seq
                );
                return Err(self.both_broken(reason, &damage.path, damage.reason.clone()));
            }
            let reason = format!("{}: {}", damage.path.display(), damage.reason);
            return Ok((ledger, contents, seq, rewritten(reason)));
        }
        if seq > found.seq {
            let reason = format!("it ends at change {}", found.seq);
            return Ok((ledger, contents, seq, rewritten(reason)));
        }
        let writes = contents.writes_to(&found.contents);
        let recovery = if self.created {
            Recovery::Created
        } else if writes.is_empty() {
            Recovery::Intact
        } else if seq < found.seq {
            Recovery::LedgerBehind {
                from_seq: seq,
                to_seq: found.seq,
            }
        } else {
            Recovery::LedgerDiffered {
                seq,
                keys: writes.len(),
            }
        };
        let mended = if writes.is_empty() {
            Ok(())
        } else {
            ledger.apply(&writes)
        };
        match mended {
            Ok(()) => Ok((ledger, found.contents.clone(), found.seq, recovery)),
            Err(error) => {
                drop(ledger);
                self.ledger_broken(chain(&error), found)
            }
        }
    }

    fn ledger_broken(&self, reason: String, found: &export::Found) -> Result<Agreed, StoreError> {
        if let Some(damage) = &found.damage {
            return Err(self.both_broken(reason, &damage.path, damage.reason.clone()));
        }
        if !found.present {
            return Err(self.both_broken(reason, self.export_dir, "it is empty".to_owned()));
        }
        let moved_to = move_aside(self.dir)?;
        let ledger = build(
            &self.dir.join(LEDGER_DIR),
            self.cache_bytes,
            &found.contents,
        )?;
        sync_dir(self.dir).map_err(io_error("sync", self.dir))?;
        let recovery = Recovery::LedgerRebuilt {
            moved_to,
            reason,
            seq: found.seq,
        };
        Ok((ledger, found.contents.clone(), found.seq, recovery))
    }

    fn both_broken(
        &self,
        ledger_reason: String,
        export: &Path,
        export_reason: String,
    ) -> StoreError {
        StoreError::BothBroken {
            ledger: self.dir.join(LEDGER_DIR),
            ledger_reason,
            export: export.to_owned(),
            export_reason,
        }
    }
}

/// Opens the database and reads all of it. The inner error says why it counts as broken.
fn open_counted(
    dir: &Path,
    cache_bytes: u64,
) -> Result<Result<(Ledger, Contents, u64), String>, StoreError> {
    let attempts = dir.join(ATTEMPTS_FILE);
    let unfinished = count_attempt(&attempts).map_err(io_error("write", &attempts))?;
    let ledger_dir = dir.join(LEDGER_DIR);
    let opened = if unfinished >= ATTEMPTS_MAX && ledger_dir.exists() {
        Err(format!("{unfinished} attempts to open it did not end"))
    } else {
        open_whole(&ledger_dir, cache_bytes)?
    };
    fs::remove_file(&attempts).map_err(io_error("remove", &attempts))?;
    sync_dir(dir).map_err(io_error("sync", dir))?;
    Ok(opened)
}

/// Adds one to the unfinished attempts and gives those before. Not synced: it is there for attempts that kill the
/// process, not the box.
fn count_attempt(attempts: &Path) -> io::Result<u64> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(attempts)?;
    let mut before = Vec::new();
    (&mut file).take(ATTEMPTS_MAX).read_to_end(&mut before)?;
    file.write_all(b"!")?;
    Ok(before.len() as u64)
}

fn open_whole(
    ledger_dir: &Path,
    cache_bytes: u64,
) -> Result<Result<(Ledger, Contents, u64), String>, StoreError> {
    let opened = Ledger::open(ledger_dir, cache_bytes).and_then(|ledger| {
        ledger
            .reader()
            .contents()
            .map(|contents| (ledger, contents))
    });
    let (ledger, contents) = match opened {
        Ok(opened) => opened,
        Err(error) => match error.of_the_box() {
            Ok(source) => {
                return Err(StoreError::Io {
                    action: "open",
                    path: ledger_dir.to_owned(),
                    source,
                });
            }
            Err(error) => return Ok(Err(chain(&error))),
        },
    };
    match contents.node() {
        Ok(node) => Ok(Ok((ledger, contents, node.seq))),
        Err(error @ StoreError::Schema { .. }) => Err(error),
        Err(error) => Ok(Err(chain(&error))),
    }
}

/// Makes a database with these contents in an empty or new directory.
fn build(ledger_dir: &Path, cache_bytes: u64, contents: &Contents) -> Result<Ledger, StoreError> {
    let built = Ledger::open(ledger_dir, cache_bytes).and_then(|mut ledger| {
        let empty = Contents::default();
        ledger.apply(&empty.writes_to(contents)).map(|()| ledger)
    });
    built.map_err(|error| StoreError::Io {
        action: "build a database in",
        path: ledger_dir.to_owned(),
        source: io::Error::other(error),
    })
}

/// Writes the database anew into a directory of its own and puts it in the old one's place. Where anything fails or
/// the process dies in between, the next start finds one of the two whole, or builds one from the export.
pub(super) fn rebuild(
    dir: &Path,
    cache_bytes: u64,
    old: Ledger,
    contents: &Contents,
) -> Result<Ledger, StoreError> {
    let (current, new) = (dir.join(LEDGER_DIR), dir.join(LEDGER_NEW_DIR));
    drop(build(&new, cache_bytes, contents)?);
    drop(old);
    fs::remove_dir_all(&current).map_err(io_error("remove", &current))?;
    fs::rename(&new, &current).map_err(io_error("move into place", &new))?;
    sync_dir(dir).map_err(io_error("sync", dir))?;
    Ledger::open(&current, cache_bytes).map_err(|error| StoreError::Io {
        action: "open",
        path: current,
        source: io::Error::other(error),
    })
}

/// Moves the database out of the way, and removes the oldest of those moved before beyond [`LEDGER_BROKEN_MAX`].
fn move_aside(dir: &Path) -> Result<PathBuf, StoreError> {
    let mut broken: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let path = entry.map_err(io_error("list", dir))?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix(LEDGER_BROKEN_DIR)?.parse().ok());
        broken.extend(number.map(|number| (number, path)));
    }
    broken.sort();
    let next = broken
        .last()
        .map_or(1, |(number, _)| number.saturating_add(1));
    let moved_to = dir.join(format!("{LEDGER_BROKEN_DIR}{next}"));
    let ledger_dir = dir.join(LEDGER_DIR);
    fs::rename(&ledger_dir, &moved_to).map_err(io_error("move aside", &ledger_dir))?;
    let keep_before = LEDGER_BROKEN_MAX - 1;
    let surplus = broken.len().saturating_sub(keep_before);
    for (_, path) in broken.iter().take(surplus) {
        let removed = if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
        removed.map_err(io_error("remove", path))?;
    }
    sync_dir(dir).map_err(io_error("sync", dir))?;
    Ok(moved_to)
}
