//! The control process: owns all that is durable or secret, and answers the admin API.
//!
//! Takes a configuration; gives a node. Promises that a change is durable before it is acknowledged, that the worker
//! serves it by then, and that nothing a tenant sends is parsed here beyond names, statements, lengths and
//! certificates. Never runs
//! or compiles a guest.

pub mod backup;
mod ballast;
pub(crate) mod capacity;
mod change;
mod clock;
mod collect;
mod compile;
mod crashes;
mod dry_run;
mod edit;
mod grants;
mod holdings;
mod instances;
mod jobs;
pub mod logs;
mod node;
mod observe;
mod outbound;
mod places;
mod plane;
mod pressure;
mod receipts;
mod reload;
mod restore;
pub mod service;
mod services;
mod sockets;
mod sql;
mod state;
mod stores;
mod supervise;
mod supply;
mod tls;
pub mod upgrade;
mod upload;
mod variables;
mod vault;
mod views;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use control_api::error::PlaneError;
use control_api::view::NodeState;
use edge_config::{Config, Digest, TenantName};
use tokio::sync::{Mutex, Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::artifact::cache::ArtifactCache;
use crate::artifact::compile::{CompileLimits, CompileQueue, Compiler};
use crate::confine::{Orders, Strictness};
use crate::engine::EngineShape;
use crate::link::ArtifactName;
use crate::metrics::Metrics;
use crate::storage::Storage;
use crate::storage::sql::Databases;
use crate::store::{Health, Store, blobs::Blobs};
use clock::NodeClock;
use crashes::Crashes;
use jobs::Jobs;
use logs::LogRings;
use places::UploadPlaces;
use receipts::Meter;
use service::{Notifier, Pulse};
use state::{NameArtifacts, State};

use supervise::Supervisor;
use tls::Keyring;
use upgrade::{Restart, Sockets};
use vault::Vault;

pub use clock::TimeFloor;
pub use node::{Node, NodeError, Started};
pub use plane::plane;
pub use reload::ConfigSource;

/// How long an answer waits for the worker to serve the change it acknowledges.
const APPLIED_PATIENCE: Duration = Duration::from_secs(2);

/// The node's control state with everything that acts on it.
pub struct Control {
    me: Weak<Control>,
    config: ArcSwap<Config>,
    /// Where the configuration is read from anew, where it can be.
    source: OnceLock<ConfigSource>,
    /// Held while the node changes as a whole: its configuration, or the process that it is.
    reloads: Mutex<()>,
    /// How a process that takes over is started, where one can be.
    restart: OnceLock<Restart>,
    /// What it is passed beside the sockets for guests.
    sockets: OnceLock<Sockets>,
    /// Held for reading by each upload and its job, which a new process would know nothing of.
    uploading: Arc<tokio::sync::RwLock<()>>,
    /// While the store is another's, and when it stays so.
    handing_over: AtomicBool,
    /// Cancelled when another process is the node.
    relieved: CancellationToken,
    /// Cancelled when the process before this one has ended, or there was none.
    predecessor_gone: CancellationToken,
    /// Who is told how the node stands.
    notifier: Option<Arc<Notifier>>,
    started: Instant,
    clock: Arc<NodeClock>,
    standing: watch::Sender<NodeState>,
    state: RwLock<State>,
    /// Held over a whole change, from looking at the state to publishing it.
    changes: Mutex<()>,
    store: ArcSwap<Store>,
    blobs: Blobs,
    cache: Arc<ArtifactCache>,
    /// Which component an artifact is made of: those that kept versions and uploads under way stand on.
    artifact_names: RwLock<HashMap<ArtifactName, Digest>>,
    /// Components of uploads under way: their artifacts may be there before any version stands on them.
    publishing: std::sync::Mutex<HashMap<Digest, usize>>,
    /// Artifacts that are being made ready for a worker.
    supplying: std::sync::Mutex<std::collections::HashSet<ArtifactName>>,
    compiler: Compiler,
    /// Threads that serve, and that compile.
    threads: usize,
    compile_queue: CompileQueue,
    dry_run_queue: CompileQueue,
    shape: ArcSwap<EngineShape>,
    /// Memory of all guests together.
    guest_memory_bytes_max: AtomicU64,
    uploads: UploadPlaces,
    jobs: Jobs,
    supervisor: Supervisor,
    vault: Vault,
    keyring: Keyring,
    /// Of the loop that watches memory.
    memory_pulse: Pulse,
    metrics: Metrics,
    /// Held for as long as it takes to look one tenant up.
    crashes: std::sync::Mutex<Crashes>,
    logs: LogRings,
    /// What guests keep.
    storage: Storage,
    /// Their SQL databases.
    databases: Databases,
    /// What secrets among variables are sealed in.
    secrets: Vault,
    collect: Notify,
    backups: Arc<Semaphore>,
    /// What tenants used, over restarts.
    meter: Meter,
    tracker: TaskTracker,
}

impl Control {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handle that tasks keep; gone once the node is being dropped.
    fn me(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    fn now_s(&self) -> u64 {
        self.clock.now_s(Instant::now())
    }

    /// The time that the node has reached for certain, for the store to keep.
    fn reached_s(&self) -> u64 {
        self.clock.reached_s(Instant::now())
    }

    fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    fn changes(&self) -> &Mutex<()> {
        &self.changes
    }

    fn store(&self) -> Arc<Store> {
        self.store.load_full()
    }

    /// Whether a new process is taking over, or has.
    fn hands_over(&self) -> bool {
        self.handing_over.load(Ordering::Relaxed)
    }

    fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    fn standing(&self) -> NodeState {
        *self.standing.borrow()
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn is_draining(&self) -> bool {
        matches!(self.standing(), NodeState::Draining | NodeState::Stopped)
    }

    /// How it goes, in one line for the operator who asks the service manager.
    fn said_of_service(&self) -> String {
        let (tenants, routes) = {
            let state = self.read();
            (state.tenants.len(), state.route_count())
        };
        let served = format!("{routes} routes of {tenants} tenants");
        match self.standing() {
            NodeState::Starting => "starting".to_owned(),
            NodeState::Serving if self.supervisor.status().ready => format!("serving {served}"),
            NodeState::Serving => format!("the worker is being replaced; {served}"),
            NodeState::Draining => "draining".to_owned(),
            NodeState::Stopped => "stopped".to_owned(),
        }
    }

    /// Asks the store's disk now and then whether it still takes writes, for as long as it does.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    async fn ask_disk(&self) {
        loop {
            let store = self.store();
            store
                .ask_disk_every(node::DISK_ASKED_EVERY, || self.reached_s())
                .await;
            // One that failed is asked again when it was opened anew.
            tokio::time::sleep(node::DISK_ASKED_EVERY).await;
        }
    }

    fn store_works(&self) -> Result<(), String> {
        match self.store().health() {
            Health::Working => Ok(()),
            Health::Failed { .. } => Err("the store takes no changes; the log says why".to_owned()),
        }
    }

    /// The most memory one instance can have on this box, in MiB, whatever tenants are allowed.
    fn instance_memory_mib_max(&self) -> u64 {
        self.shape.load().memory_bytes_max >> 20
    }

    /// Linear memories and tables of all guests together, in bytes.
    fn guest_memory_bytes_max(&self) -> u64 {
        self.guest_memory_bytes_max.load(Ordering::Relaxed)
    }

    /// What bounds a compile child.
    fn compile_limits(&self) -> CompileLimits {
        node::compile_limits(&self.config(), self.threads)
    }

    /// Components that are being compiled, and those that wait for it.
    fn compile_queue_depth(&self) -> (u64, u64) {
        let (running, waiting) = self.compile_queue.depth();
        (running as u64, waiting as u64)
    }

    async fn artifact_count(&self) -> u64 {
        let cache = Arc::clone(&self.cache);
        let usage = blocking(move || cache.usage()).await;
        usage.map_or(0, |usage| usage.map_or(0, |(count, _)| count as u64))
    }

    /// Drops what was kept in memory for a tenant that is gone.
    fn forget_tenant(&self, tenant: &TenantName) {
        self.metrics.forget(tenant.as_str());
        self.logs.forget(tenant.as_str());
        self.meter.forget(tenant);
        let mut crashes = self.crashes.lock().unwrap_or_else(PoisonError::into_inner);
        crashes.forget(tenant);
        drop(crashes);
        self.collect_soon();
    }
}

impl NameArtifacts for Control {
    fn artifact_of(&self, digest: &Digest) -> ArtifactName {
        let name = self.cache.name_of(digest);
        let known = self
            .artifact_names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&name);
        if !known {
            self.artifact_names
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name, *digest);
        }
        name
    }
}

/// A fault of ours or of the box: the caller learns only that there was one, the log all of it.
fn internal(error: &dyn std::error::Error) -> PlaneError {
    PlaneError::Internal {
        inside: crate::logging::chain(error),
    }
}

/// Runs what blocks on the disk away from the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PlaneError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| internal(&error))
}

/// What the configuration says of confinement, for the processes that it is for.
fn orders(config: &Config) -> Orders {
    Orders {
        strictness: match config.worker.confinement {
            edge_config::Strictness::Enforce => Strictness::Enforce,
            edge_config::Strictness::Log => Strictness::Log,
            edge_config::Strictness::Off => Strictness::Off,
        },
        user: (config.worker.user_id != 0).then_some(config.worker.user_id),
    }
}
