//! All tenants' databases on this node: which process has whose, and what lies on the disk.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::message::{Bounds, Start};
use super::process::{Process, Program, SqlConnection, run};
use crate::confine::Orders;
use crate::durable::sync_dir;
use crate::link::sql::SqlFault;

/// Most tenants whose databases are open at once.
const PROCESSES_MAX: usize = 16;
/// What a database's file ends with.
pub(super) const EXTENSION: &str = "db";
/// The log and the index beside a database.
const BESIDE: [&str; 2] = ["-wal", "-shm"];
/// How long a connection waits for one of its tenant's to close: that of a guest which has answered closes soon after.
const CLOSING_MAX: Duration = Duration::from_millis(250);
/// What the log written ahead may exceed a database by, in bytes.
const LOG_MARGIN_BYTES: u64 = 8 << 20;

/// What a tenant's process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessBounds {
    /// SQLite's memory, in bytes.
    pub memory_bytes_max: u64,
    /// Connections at once.
    pub connections_max: u64,
}

/// A database on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Bytes on the disk, its log included.
    pub bytes: u64,
}

/// Everything that guests keep in SQL databases on this node.
pub struct Databases {
    dir: PathBuf,
    program: PathBuf,
    orders: Orders,
    /// Where processes are looked after, whoever asks for one.
    runtime: Handle,
    tracker: TaskTracker,
    places: Arc<Places>,
}

#[derive(Default)]
pub(super) struct Places {
    open: Mutex<Open>,
    /// A process has ended.
    freed: Notify,
}

#[derive(Default)]
struct Open {
    processes: HashMap<Box<str>, Arc<Process>>,
    /// Tenants whose files are being removed.
    barred: std::collections::HashSet<Box<str>>,
}

impl Places {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process's entry in the list, which it takes away at its end.
pub(super) struct Place {
    places: Arc<Places>,
    tenant: Box<str>,
    process: Arc<Process>,
}

impl Place {
    /// Nobody finds the process from here on.
    pub(super) fn leave(self) {
        let mut open = self.places.open();
        // Another may have come in its place.
        if let Some(there) = open.processes.get(&self.tenant)
            && Arc::ptr_eq(there, &self.process)
        {
            open.processes.remove(&self.tenant);
        }
        drop(open);
        self.places.freed.notify_waiters();
    }
}

/// Whether a tenant may have one more connection now.
enum Room {
    Here(Arc<Process>),
    /// Too many tenants have databases open.
    NoneForTenant,
    /// The tenant has as many connections open as it may.
    NoneForConnection(Arc<Process>),
}

impl Databases {
    /// Those in this directory, which is made when there is something to keep. `program` is a `littorald` whose hidden
    /// subcommand `databases` runs [`super::child_main`]. Called in the runtime that looks after processes.
    #[must_use]
    pub fn at(dir: PathBuf, program: PathBuf, orders: Orders, tracker: TaskTracker) -> Self {
        Self {
            dir,
            program,
            // The files are this user's.
            orders: Orders {
                user: None,
                ..orders
            },
            runtime: Handle::current(),
            tracker,
            places: Arc::default(),
        }
    }

    /// Opens a connection to a tenant's database, which is made where it is not there.
    ///
    /// # Errors
    /// [`SqlFault`], also where too many tenants have databases open for as long as a statement may take.
    ///
    /// # Cancel safety
    /// Dropped, the connection is closed should it still be opened.
    pub async fn connect(
        &self,
        tenant: &str,
        database: &str,
        process_bounds: ProcessBounds,
        bounds: Bounds,
    ) -> Result<SqlConnection, SqlFault> {
        // To find a place, and to open.
        let patience = Duration::from_millis(bounds.statement_ms_max) * 2;
        let waited = tokio::time::timeout(patience, async {
            let mut has_ended = false;
            let closing_until = tokio::time::Instant::now() + CLOSING_MAX;
            loop {
                // Asked for before the look, so that no end is missed.
                let freed = self.places.freed.notified();
                let process = match self.process_of(tenant, process_bounds, bounds)? {
                    Room::Here(process) => process,
                    Room::NoneForTenant => {
                        freed.await;
                        continue;
                    }
                    Room::NoneForConnection(process) => {
                        let closed = process.room.notified();
                        if tokio::time::timeout_at(closing_until, closed)
                            .await
                            .is_err()
                        {
                            let connections_max = process_bounds.connections_max;
                            return Err(SqlFault::Io(format!(
                                "the tenant has {connections_max} connections to its databases open; allowed: as many"
                            )));
                        }
                        continue;
                    }
                };
                let ended = process.ended.clone();
                match SqlConnection::open(process, file_name(database), bounds).await {
                    // It was about to end for having had nothing to do.
                    Err(SqlFault::InvalidConnection) if !has_ended => {
                        has_ended = true;
                        ended.cancelled().await;
                    }
                    Err(SqlFault::InvalidConnection) => {
                        let why = "the process for the tenant's databases ended";
                        return Err(SqlFault::Io(why.to_owned()));
                    }
                    opened => return opened,
                }
            }
        });
        waited.await.unwrap_or_else(|_| {
            Err(SqlFault::Io(format!(
                "no database could be opened within {} ms: {PROCESSES_MAX} tenants of this node may have some open at once",
                patience.as_millis()
            )))
        })
    }

    /// A tenant's process, with one more connection counted, if there is room.
    fn process_of(
        &self,
        tenant: &str,
        process_bounds: ProcessBounds,
        bounds: Bounds,
    ) -> Result<Room, SqlFault> {
        let start = Start {
            orders: self.orders,
            memory_bytes_max: process_bounds.memory_bytes_max,
            file_bytes_max: bounds.database_bytes_max.saturating_add(LOG_MARGIN_BYTES),
            connections_max: process_bounds.connections_max,
        };
        let mut open = self.places.open();
        if open.barred.contains(tenant) {
            return Err(SqlFault::Io("the database is being removed".to_owned()));
        }
        if let Some(process) = open.processes.get(tenant)
            && !process.end.is_cancelled()
            // Limits that changed hold from the next process on: at once where this one has nothing to do.
            && (process.start == start || process.open.load(Ordering::Acquire) > 0)
        {
            if process.open.load(Ordering::Acquire) >= process_bounds.connections_max {
                return Ok(Room::NoneForConnection(Arc::clone(process)));
            }
            process.open.fetch_add(1, Ordering::AcqRel);
            return Ok(Room::Here(Arc::clone(process)));
        }
        if let Some(process) = open.processes.get(tenant) {
            process.end.cancel();
        }
        if process_bounds.connections_max == 0 {
            return Err(SqlFault::Io(
                "the tenant may have no connections to databases".to_owned(),
            ));
        }
        if open.processes.len() >= PROCESSES_MAX {
            let idle = |process: &&Arc<Process>| process.open.load(Ordering::Acquire) == 0;
            if let Some(process) = open.processes.values().find(idle) {
                process.end.cancel();
            }
            return Ok(Room::NoneForTenant);
        }
        let (process, wanted) = Process::new(start);
        process.open.fetch_add(1, Ordering::AcqRel);
        let place = Place {
            places: Arc::clone(&self.places),
            tenant: tenant.into(),
            process: Arc::clone(&process),
        };
        open.processes.insert(tenant.into(), Arc::clone(&process));
        let program = Program {
            path: self.program.clone(),
            folder: self.folder(tenant),
            start,
        };
        let life = run(program, Arc::clone(&process), wanted, place);
        self.tracker.spawn_on(life, &self.runtime);
        Ok(Room::Here(process))
    }

    /// A tenant's databases by name. Blocks on the disk.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn list(&self, tenant: &str) -> io::Result<Vec<Found>> {
        list(&self.folder(tenant))
    }

    /// Closes and removes a tenant's database; whether there was one. The tenant's connections to others end with it.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub async fn remove(&self, tenant: &str, database: &str) -> io::Result<bool> {
        let _barred = self.close(tenant).await;
        let (folder, file) = (self.folder(tenant), file_name(database));
        let remove = move || {
            let mut was_there = false;
            // The log first: one without its database would be taken for another's.
            for beside in BESIDE.into_iter().chain([""]) {
                match std::fs::remove_file(folder.join(format!("{file}{beside}"))) {
                    Ok(()) => was_there |= beside.is_empty(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            if was_there {
                sync_dir(&folder)?;
            }
            Ok(was_there)
        };
        tokio::task::spawn_blocking(remove).await?
    }

    /// Closes and removes all of a tenant's databases.
    ///
    /// # Errors
    /// Where they cannot be removed.
    pub async fn forget(&self, tenant: &str) -> io::Result<()> {
        let _barred = self.close(tenant).await;
        let (folder, dir) = (self.folder(tenant), self.dir.clone());
        let remove = move || match std::fs::remove_dir_all(folder) {
            Ok(()) => sync_dir(&dir),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        tokio::task::spawn_blocking(remove).await?
    }

    /// Ends all processes: what was committed stays, all else is rolled back.
    pub fn end(&self) {
        for process in self.places.open().processes.values() {
            process.end.cancel();
        }
    }

    /// Ends a tenant's process, and lets none come until what this gives is dropped.
    async fn close(&self, tenant: &str) -> Barred {
        let process = {
            let mut open = self.places.open();
            open.barred.insert(tenant.into());
            open.processes.get(tenant).cloned()
        };
        let barred = Barred {
            places: Arc::clone(&self.places),
            tenant: tenant.into(),
        };
        if let Some(process) = process {
            process.end.cancel();
            process.ended.cancelled().await;
        }
        barred
    }

    fn folder(&self, tenant: &str) -> PathBuf {
        folder_in(&self.dir, tenant)
    }

    /// The file of a tenant's database, or its log's.
    pub(crate) fn file(&self, tenant: &str, database: &str, log: bool) -> PathBuf {
        self.folder(tenant).join(file_of(database, log))
    }
}

struct Barred {
    places: Arc<Places>,
    tenant: Box<str>,
}

impl Drop for Barred {
    fn drop(&mut self) {
        self.places.open().barred.remove(&self.tenant);
    }
}

pub(super) fn list(folder: &Path) -> io::Result<Vec<Found>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_database = path
            .extension()
            .is_some_and(|extension| extension == EXTENSION);
        let stem = path.file_stem().and_then(std::ffi::OsStr::to_str);
        let Some(name) = stem.filter(|_| is_database).and_then(unhex) else {
            continue;
        };
        let mut bytes = 0;
        for beside in [""].into_iter().chain(BESIDE) {
            let mut file = path.clone().into_os_string();
            file.push(beside);
            // The log and its index come and go.
            bytes += std::fs::metadata(file).map_or(0, |file| file.len());
        }
        found.push(Found { name, bytes });
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Where a tenant's databases lie.
pub(crate) fn folder_in(dir: &Path, tenant: &str) -> PathBuf {
    dir.join(hex(tenant))
}

/// The name of a database's file, or of its log's.
pub(crate) fn file_of(database: &str, log: bool) -> String {
    let [wal, _] = BESIDE;
    format!("{}{}", file_name(database), if log { wal } else { "" })
}

fn file_name(database: &str) -> String {
    format!("{}.{EXTENSION}", hex(database))
}

/// A name as a part of a path: no text of a tenant's is one.
pub(super) fn hex(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<String> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> = text
        .as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
        .collect();
    String::from_utf8(bytes?).ok()
}
