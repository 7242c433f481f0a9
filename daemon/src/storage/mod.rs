//! What guests keep: keys and values of each tenant's stores, durable before they are acknowledged.
//!
//! Takes operations with what the tenant may have; gives what was asked for or why not. Promises:
//!
//! - What was acknowledged survives kill -9 and power loss; an operation is done whole or not at all.
//! - Operations on one key happen one after another: no increment is lost.
//! - No tenant has more keys or bytes than it may, by the byte.
//!
//! One SQLite database for all tenants, in write-ahead mode with a sync per commit. sled, which keeps the control state,
//! would not do here: its last stable release has come up unopenable after abrupt stops, and the second copy that guards
//! the control state against that would double what guests write to flash. One thread writes, and commits as a group
//! what came while the disk was busy; reads look at the last commit and never wait for it.
//!
//! Opened when it is first needed: a node whose guests keep nothing pays nothing for it.

mod database;
mod moving;
pub mod sql;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};

pub use database::{KEY_BYTES_MAX, Reader};
pub use moving::{Filling, MovingError, PairParts, Pinned};

use crate::durable::create_private_dir;
use crate::link::services::{Fault, Given, StoreOp};
use writer::{Job, Writer};

/// Jobs that may wait for the writer; with more, they are refused.
const QUEUE_MAX: usize = 4096;

/// What a tenant may keep in all its stores together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Keys.
    pub keys_max: u64,
    /// Keys and values, in bytes.
    pub bytes_max: u64,
    /// One value, in bytes.
    pub value_bytes_max: u64,
}

/// What a tenant keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Keys.
    pub keys: u64,
    /// Keys and values, in bytes.
    pub bytes: u64,
}

/// Called once with what came of an operation, on the writer's thread.
pub type Done = Box<dyn FnOnce(Result<Given, Fault>) + Send>;

/// Everything that guests keep on this node.
pub struct Storage {
    dir: PathBuf,
    opened: OnceLock<Result<Opened, String>>,
}

struct Opened {
    path: PathBuf,
    jobs: mpsc::SyncSender<Job>,
    used: Arc<Mutex<writer::Used>>,
}

impl Storage {
    /// In this directory, which is made when there is something to keep.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            opened: OnceLock::new(),
        }
    }

    /// Something to read with, for one thread.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] where the database cannot be opened.
    pub fn reader(&self) -> Result<Reader, Fault> {
        Reader::open(&self.opened()?.path).map_err(|error| unavailable(&error))
    }

    /// Has an operation that writes carried out; `done` is told when it is durable.
    ///
    /// Blocks on the disk the first time.
    pub fn write(&self, tenant: &str, store: &str, op: StoreOp, allowed: Allowance, done: Done) {
        let opened = match self.opened() {
            Ok(opened) => opened,
            Err(fault) => return done(Err(fault)),
        };
        let job = Job::Op {
            tenant: tenant.to_owned(),
            store: store.to_owned(),
            op,
            allowed,
            done,
        };
        refuse_where_full(opened.jobs.try_send(job));
    }

    /// Removes all that a tenant keeps; `done` is told when that is durable.
    pub fn forget(&self, tenant: &str, done: Done) {
        // What was never opened in this life may have been in another.
        let opened = match self.opened() {
            Ok(opened) => opened,
            Err(fault) => return done(Err(fault)),
        };
        let job = Job::Forget {
            tenant: tenant.to_owned(),
            done,
        };
        refuse_where_full(opened.jobs.try_send(job));
    }

    /// Whether any guest of this node has ever kept anything.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.opened.get().is_some() || self.dir.join(FILE).exists()
    }

    /// What a tenant keeps, as of the last commit.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] where the database cannot be opened.
    pub fn kept(&self, tenant: &str) -> Result<Kept, Fault> {
        if !self.is_there() {
            return Ok(Kept::default());
        }
        let used = self.opened()?.used.lock();
        let used = used.unwrap_or_else(PoisonError::into_inner);
        Ok(used.get(tenant).copied().unwrap_or_default())
    }

    fn opened(&self) -> Result<&Opened, Fault> {
        let opened = self.opened.get_or_init(|| {
            self.open().inspect_err(|error| {
                tracing::error!(error, dir = %self.dir.display(), "guests' storage cannot be opened");
            })
        });
        opened.as_ref().map_err(|why| {
            Fault::Unavailable(format!("the node's storage is not available: {why}"))
        })
    }

    fn open(&self) -> Result<Opened, String> {
        create_private_dir(&self.dir).map_err(|error| error.to_string())?;
        let path = self.dir.join(FILE);
        let used = Arc::default();
        let writer = Writer::open(&path, Arc::clone(&used)).map_err(|error| error.to_string())?;
        let (jobs, queue) = mpsc::sync_channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("storage-writer".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|error| error.to_string())?;
        Ok(Opened { path, jobs, used })
    }
}

const FILE: &str = "key-value.db";

fn refuse_where_full(sent: Result<(), mpsc::TrySendError<Job>>) {
    let (job, why) = match sent {
        Ok(()) => return,
        Err(mpsc::TrySendError::Full(job)) => (job, "too many writes wait for the disk"),
        Err(mpsc::TrySendError::Disconnected(job)) => (job, "the node is going down"),
    };
    job.done(Err(Fault::Unavailable(why.to_owned())));
}

fn unavailable(error: &rusqlite::Error) -> Fault {
    tracing::error!(%error, "guests' storage");
    Fault::Unavailable("the node's storage failed".to_owned())
}
