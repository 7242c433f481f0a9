//! A node from its configuration to its end: bound, then run, then drained.

use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use control_api::auth::{AuthOptions, AuthSetupError, Authenticator, system_clock};
use control_api::server::{
    AdminTls, AdminTlsError, ApiOptions, ListenError as AdminListenError, ListenOptions, Server,
};
use control_api::view::NodeState;
use edge_config::{Config, HTTP_SOCKETS_MAX, TlsVersion};
use rustix::fs::{Mode, OFlags, open};
use tokio::sync::{Mutex, Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ballast::Ballast;
use super::capacity::{BoxMemory, Budgets, pool};
use super::clock::{NodeClock, TimeFloor};
use super::jobs::Jobs;
use super::logs::LogRings;
use super::outbound::{self, AuthoritiesError};
use super::places::UploadPlaces;
use super::receipts::Meter;
use super::restore::{RestoreError, restore};
use super::service::{Inherited, Notifier, Pulse, Service, report};
use super::sockets::{ListenError, Listeners};
use super::supervise::{Backoff, DRAIN_GRACE, Supervisor};
use super::tls::{self, Keyring, unlock};
use super::upgrade::{Predecessor, Restart, Sockets, TakeOverError};
use super::{ConfigSource, Control, backup, plane, variables};
use crate::artifact::cache::{ArtifactCache, ArtifactKey, CacheBounds, KeyError};
use crate::artifact::compile::{CompileLimits, CompileQueue, Compiler};
use crate::artifact::name::{CompatHash, WASMTIME_VERSION};
use crate::confine::Orders;
use crate::durable::create_private_dir;
use crate::engine::{BoxFigures, EngineShape, ShapeError};
use crate::link::WorkerStart;
use crate::link::signing::PAIRS_MAX;
use crate::metrics::Metrics;
use crate::startup_code::StartupCode;
use crate::storage::Storage;
use crate::storage::sql::Databases;
use crate::store::blobs::{BlobError, Blobs};
use crate::store::{Opened, Recovery, Store, StoreError, StoreOptions, Transaction};

/// Bytes that stay free on the disk whatever is uploaded.
pub(super) const DISK_RESERVE_BYTES: u64 = 64 << 20;
/// Most artifacts on disk.
const ARTIFACTS_MAX: usize = 100_000;
/// Most bytes of artifacts on disk; unreferenced ones go first, and what is missing is compiled again.
const ARTIFACTS_BYTES_MAX: u64 = 16 << 30;
/// Components loaded in a worker at once. Each takes some five memory maps, of which a process has 65,530 by default.
const RESIDENT_MAX: u32 = 8192;
/// How often the store's disk is asked whether it still takes writes.
pub(super) const DISK_ASKED_EVERY: Duration = Duration::from_secs(3600);
/// Dry runs that look into a component at once.
const DRY_RUNS_AT_ONCE: usize = 2;
/// Guests go before the compiler. Not further back: at 19, beside two guests that compute, an ordinary component took
/// 14 s instead of 3.
const COMPILE_NICENESS: u8 = 10;
/// What remains under way when the worker has drained ends within this time.
const LAST_TASKS_MAX: Duration = Duration::from_secs(10);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A directory cannot be made or used.
    #[error("cannot use the directory {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A restore was interrupted.
    #[error(
        "a restore into {} did not come to its end: repeat it (`littorald restore`), or empty the directory",
        dir.display()
    )]
    HalfRestored {
        /// The data directory.
        dir: PathBuf,
    },
    /// The store does not open.
    #[error("the store does not open")]
    Store(#[from] StoreError),
    /// The store holds what this build does not know.
    #[error("the store's contents cannot be used")]
    Restore(#[from] RestoreError),
    /// Components cannot be kept.
    #[error("the folder of components cannot be used")]
    Blobs(#[from] BlobError),
    /// A key of the node's own making is not usable.
    #[error("a key of this node cannot be used")]
    Key(#[from] KeyError),
    /// The engine does not fit the box.
    #[error("the instances do not fit this box")]
    Shape(#[from] ShapeError),
    /// wasmtime refuses this CPU or configuration.
    #[error("the engine cannot be set up: {0:#}")]
    Engine(wasmtime::Error),
    /// Guests cannot be served there.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The admin API cannot be served there.
    #[error("the admin API cannot be served")]
    Admin(#[from] AdminListenError),
    /// The admin API cannot be served over TLS.
    #[error("the admin API cannot be served over TLS")]
    AdminTls(#[from] AdminTlsError),
    /// Tokens cannot be checked.
    #[error("the keys that sign tokens cannot be used")]
    Auth(#[from] AuthSetupError),
    /// The keys that the node makes for itself: to sign receipts, and admin tokens where no keys are configured.
    #[error("a key of the node's own, for admin tokens or receipts, cannot be made or read")]
    AdminKey(#[from] control_api::keypair::KeyFileError),
    /// The token for scraping metrics cannot be read.
    #[error("metrics.token_file: cannot use {}", path.display())]
    MetricsToken {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The authorities that guests' TLS believes.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// The process before this one goes on.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// A task of the node ended that never should.
    #[error("the admin API ended: {0}")]
    Ended(String),
}

/// A node that has bound its sockets and runs once it is told to.
pub struct Node {
    control: Arc<Control>,
    server: Server,
    authenticator: Arc<Authenticator>,
    admin_addresses: Vec<SocketAddr>,
    admin_key: Option<PathBuf>,
    shutdown: CancellationToken,
    watchdog: Option<Duration>,
    ballast: Ballast,
    predecessor: Option<Predecessor>,
}

/// Where a node listens, ports known.
#[derive(Debug, Clone)]
pub struct Started {
    /// Guests.
    pub http: Vec<SocketAddr>,
    /// Guests, over TLS.
    pub https: Vec<SocketAddr>,
    /// The admin API over TCP.
    pub admin: Vec<SocketAddr>,
    /// The private key of the node's own making that signs admin tokens, where none was configured.
    pub admin_key: Option<PathBuf>,
}

impl Node {
    /// Opens everything and binds every socket. Ports are known from here on; nothing is served yet.
    ///
    /// `service` is the manager that started this process, if one did.
    ///
    /// # Errors
    /// [`NodeError`]; what was opened is closed again.
    pub async fn bind(
        config: Config,
        service: Service,
        floor: TimeFloor,
    ) -> Result<Self, NodeError> {
        let Service {
            notifier,
            watchdog,
            mut inherited,
            mut predecessor,
        } = service;
        let notifier = notifier.map(Arc::new);
        let data = config.node.data_dir.clone();
        make_private_dir(&data)?;
        if backup::is_unfinished(&data) {
            return Err(NodeError::HalfRestored { dir: data });
        }
        let ballast = Ballast::in_folder(&data);
        ballast.give_back_if_full();
        if let Some(predecessor) = &mut predecessor {
            predecessor.give_store().await?;
        }
        let opened = open_store(&config, data.join("store")).await?;
        report_recovery(&opened.recovery);
        let known_good_s = opened.snapshot.known_good_time_s;
        let clock = NodeClock::new(system_clock(), known_good_s, floor, Instant::now());
        let clock = Arc::new(clock);
        if floor == TimeFloor::Reset {
            lower_floor(&opened.store, &clock).await?;
        }
        let keys = data.join("keys");
        make_private_dir(&keys)?;
        let (vault, keyring) = (tls::vault(&keys)?, Keyring::default());
        let meter = Meter::open(&keys, opened.snapshot.usage.clone())?;
        let state = restore(opened.snapshot, config.limits, |record| {
            unlock(record, &vault, &keyring)
        })?;
        let budgets = Budgets::of(&config, BoxMemory::total_bytes());
        let pool = pool(&config, &budgets, &BoxFigures::of_this_box())?;
        tracing::info!(
            instances_max = pool.shape.instances_max,
            bound = ?pool.bound,
            guard_pages = pool.shape.has_guard_pages(),
            "instances"
        );
        let shape = pool.shape;
        let compat = CompatHash::for_shape(&shape).map_err(NodeError::Engine)?;
        let secrets = variables::vault(&keys)?;
        variables::report_locked(&state, &secrets);
        let bounds = CacheBounds {
            total_bytes_max: ARTIFACTS_BYTES_MAX,
            artifact_bytes_max: u64::from(config.compile.artifact_mib_max) << 20,
            artifacts_max: ARTIFACTS_MAX,
        };
        let artifacts = data.join("artifacts");
        let cache = ArtifactCache::open(
            &artifacts,
            ArtifactKey::open_or_create(&keys)?,
            compat,
            bounds,
        )
        .map_err(|source| NodeError::Directory {
            path: artifacts.clone(),
            source,
        })?;
        let folder = open_folder(&artifacts)?;
        let blobs = Blobs::open(data.join("components"), DISK_RESERVE_BYTES)?;
        let addresses = config.http.listen.len() + config.https.listen.len();
        let sockets_max = usize::try_from(HTTP_SOCKETS_MAX).unwrap_or(usize::MAX);
        let threads = match config.http.threads {
            0 => std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(sockets_max / addresses),
            threads => usize::try_from(threads).unwrap_or(1),
        };
        let (http, https) = (&config.http.listen, &config.https.listen);
        let http_before = std::mem::take(&mut inherited.http_before);
        let https_before = std::mem::take(&mut inherited.https_before);
        let listeners = match std::mem::take(&mut inherited.http) {
            passed if passed.is_empty() && predecessor.is_some() => {
                Listeners::follow((http, http_before), (https, https_before), threads)?
            }
            passed if passed.is_empty() => Listeners::bind(http, https, threads)?,
            passed => Listeners::inherit(passed, https, https_before, threads)?,
        };
        let orders = super::orders(&config);
        let secure_per_thread = u32::try_from(listeners.secure_per_thread()).unwrap_or(u32::MAX);
        let per_thread = (threads, listeners.per_thread(), secure_per_thread);
        let authorities = outbound::authorities(&config.outbound.ca_files)?;
        let start = worker_start(&config, orders, &shape, per_thread, budgets, authorities);
        let backoff = backoff(&config);
        let program = PathBuf::from("/proc/self/exe");
        let shutdown = CancellationToken::new();
        let metrics = Metrics::new(
            usize::try_from(config.metrics.tenants_max).unwrap_or(usize::MAX),
            WASMTIME_VERSION,
        );
        metrics.recovery(opened.recovery.label());
        let queue_max = usize::try_from(config.compile.queue_max).unwrap_or(usize::MAX);
        let tracker = TaskTracker::new();
        let control = Arc::new_cyclic(|me| Control {
            me: me.clone(),
            started: Instant::now(),
            clock: Arc::clone(&clock),
            standing: watch::Sender::new(NodeState::Starting),
            state: std::sync::RwLock::new(state),
            changes: Mutex::new(()),
            store: ArcSwap::from_pointee(opened.store),
            blobs,
            cache: Arc::new(cache),
            artifact_names: std::sync::RwLock::default(),
            publishing: std::sync::Mutex::default(),
            supplying: std::sync::Mutex::default(),
            compiler: Compiler::of_this_program().confined(orders),
            threads,
            compile_queue: CompileQueue::new(1, queue_max),
            dry_run_queue: CompileQueue::new(DRY_RUNS_AT_ONCE, queue_max),
            shape: ArcSwap::from_pointee(shape),
            guest_memory_bytes_max: AtomicU64::new(budgets.guests_bytes),
            uploads: UploadPlaces::new(config.uploads.concurrent_max),
            jobs: Jobs::new(usize::try_from(config.uploads.jobs_kept_max).unwrap_or(1)),
            supervisor: Supervisor::new(program.clone(), start, folder, listeners, backoff),
            vault,
            keyring,
            memory_pulse: Pulse::of("memory"),
            metrics,
            crashes: std::sync::Mutex::default(),
            logs: LogRings::new(std::time::SystemTime::now(), shutdown.clone()),
            storage: Storage::at(data.join("storage")),
            databases: Databases::at(data.join("databases"), program, orders, tracker.clone()),
            secrets,
            collect: Notify::new(),
            meter,
            backups: Arc::new(Semaphore::new(backup::BACKUPS_AT_ONCE)),
            tracker,
            config: ArcSwap::from_pointee(config),
            source: OnceLock::new(),
            reloads: Mutex::new(()),
            restart: OnceLock::new(),
            sockets: OnceLock::new(),
            uploading: Arc::default(),
            handing_over: AtomicBool::new(false),
            relieved: CancellationToken::new(),
            predecessor_gone: CancellationToken::new(),
            notifier,
        });
        let (authenticator, admin_key) = authenticator(&control.config(), &keys, clock)?;
        let admin_passed = inherited.has_admin();
        let server = admin_server(&control, &authenticator, inherited)?;
        let sockets = Sockets {
            admin: server.sockets().map_err(|source| NodeError::Directory {
                path: data.clone(),
                source,
            })?,
            admin_passed,
            file_stays: server.socket_file_stays(),
        };
        // Set once: the node was made above.
        let _ = control.sockets.set(sockets);
        if predecessor.is_none() {
            control.predecessor_gone.cancel();
        }
        let admin_addresses = server
            .local_addrs()
            .into_iter()
            .filter_map(|listening| match listening {
                control_api::server::Listening::Tcp(address) => Some(address),
                control_api::server::Listening::Unix(_) => None,
            })
            .collect();
        Ok(Self {
            control,
            server,
            authenticator,
            admin_addresses,
            admin_key,
            shutdown,
            watchdog,
            ballast,
            predecessor,
        })
    }

    /// Has SIGHUP and the API read the configuration from there, and SIGUSR2 and the API start what takes over so.
    #[must_use]
    pub fn changed_by(self, source: ConfigSource, restart: Restart) -> Self {
        // Set once: there is one way to a node, and this is on it.
        let _ = self.control.source.set(source);
        let _ = self.control.restart.set(restart);
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn started(&self) -> Started {
        Started {
            http: self.control.supervisor.listeners().addresses().to_vec(),
            https: self
                .control
                .supervisor
                .listeners()
                .secure_addresses()
                .to_vec(),
            admin: self.admin_addresses.clone(),
            admin_key: self.admin_key.clone(),
        }
    }

    /// Serves until `stop`, then drains: readiness turns false, no change is taken, requests under way finish within
    /// the configured time.
    ///
    /// `on_ready` is called once, when the first worker serves.
    ///
    /// # Errors
    /// [`NodeError::Ended`] if the admin API ends by itself.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        on_ready: impl FnOnce(),
    ) -> Result<(), NodeError> {
        let Self {
            control,
            server,
            authenticator,
            shutdown,
            watchdog,
            ballast,
            mut predecessor,
            ..
        } = self;
        let notifier = control.notifier.clone();
        let tracker = control.tracker.clone();
        let workers_stop = CancellationToken::new();
        let follows = predecessor.is_some();
        let supervising = {
            let (control, stop) = (Arc::clone(&control), workers_stop.clone());
            tracker.spawn(async move {
                let home = Arc::clone(&control);
                control.supervisor.run(home, follows, stop).await;
            })
        };
        let background = CancellationToken::new();
        // What changes the data that a process before this one may come back to begins when this one is the node.
        let is_node = CancellationToken::new();
        let in_charge = |work: Pin<Box<dyn Future<Output = ()> + Send>>| {
            let (is_node, stop) = (is_node.clone(), background.clone());
            tracker.spawn(stop.run_until_cancelled_owned(async move {
                is_node.cancelled().await;
                work.await;
            }));
        };
        let collecting = Arc::clone(&control).collect_when_asked();
        in_charge(Box::pin(collecting));
        let forgetting = Arc::clone(&control).forget_retired_keys();
        tracker.spawn(background.clone().run_until_cancelled_owned(forgetting));
        let watching = Arc::clone(&control).watch_memory();
        tracker.spawn(background.clone().run_until_cancelled_owned(watching));
        let writing = Arc::clone(&control).write_usage_hourly();
        in_charge(Box::pin(writing));
        let keeping = ballast.keep(DISK_ASKED_EVERY, DISK_RESERVE_BYTES);
        in_charge(Box::pin(keeping));
        let asking = {
            let control = Arc::clone(&control);
            async move { control.ask_disk().await }
        };
        in_charge(Box::pin(asking));
        {
            let stop = background.clone();
            tracker.spawn(async move { authenticator.keep_fresh(stop).await });
        }
        if control.source.get().is_some() {
            let told = Arc::clone(&control).change_when_told();
            in_charge(Box::pin(told));
        }
        let admin = async {
            is_node.cancelled().await;
            server.run(shutdown.clone()).await;
        };
        tokio::pin!(admin);
        let ready = async {
            if predecessor.is_none() {
                is_node.cancel();
            }
            control.supervisor.ready().await;
            if let Some(mut before) = predecessor.take() {
                before.give_way().await?;
                is_node.cancel();
                control.note_upgrade(&before).await;
                let gone = control.predecessor_gone.clone();
                tracker.spawn(async move {
                    before.gone().await;
                    gone.cancel();
                });
            }
            control.standing.send_replace(NodeState::Serving);
            on_ready();
            if let Some(notifier) = &notifier {
                notifier.ready(&control.said_of_service());
                let reporting =
                    keep_reporting(Arc::clone(notifier), watchdog, Arc::clone(&control));
                tracker.spawn(background.clone().run_until_cancelled_owned(reporting));
            }
            if let Err(error) = StartupCode::find().and_then(StartupCode::give_back) {
                tracing::debug!(%error, "the code of the start stays in memory");
            }
            std::future::pending::<Result<(), NodeError>>().await
        };
        tokio::select! {
            () = stop => {}
            () = control.relieved.cancelled() => {}
            failed = ready => return failed,
            ended = &mut admin => return Err(NodeError::Ended(format!("{ended:?}"))),
        }
        tracing::info!("draining");
        control.standing.send_replace(NodeState::Draining);
        workers_stop.cancel();
        if control.relieved.is_cancelled() {
            // The admin API is the other process's, and what changes the data.
            shutdown.cancel();
            background.cancel();
            // Workers have their own time, and are ended when it is over.
            let (_, supervised) = tokio::join!(admin, supervising);
            if let Err(error) = supervised {
                tracing::error!(%error, "supervision did not end well");
            }
            tracker.close();
            let _ = tokio::time::timeout(LAST_TASKS_MAX, tracker.wait()).await;
            control.standing.send_replace(NodeState::Stopped);
            tracing::info!("stopped");
            return Ok(());
        }
        if let Some(notifier) = &notifier {
            let drain_max = Duration::from_millis(control.config().http.drain_ms_max.into());
            notifier.stopping("draining", drain_max + DRAIN_GRACE + LAST_TASKS_MAX);
        }
        // The admin API goes on answering while requests finish: readiness is asked there.
        tokio::select! {
            ended = supervising => {
                if let Err(error) = ended {
                    tracing::error!(%error, "supervision did not end well");
                }
            }
            _ = &mut admin => {}
        }
        shutdown.cancel();
        background.cancel();
        control.databases.end();
        tracker.close();
        if tokio::time::timeout(LAST_TASKS_MAX, async {
            tokio::join!(admin, tracker.wait())
        })
        .await
        .is_err()
        {
            tracing::warn!("some tasks did not end in time");
        }
        control.write_usage().await;
        control.standing.send_replace(NodeState::Stopped);
        control.store().as_ref().clone().close().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Tells the service manager for as long as the node runs, drain included.
async fn keep_reporting(
    notifier: Arc<Notifier>,
    watchdog: Option<Duration>,
    control: Arc<Control>,
) {
    let loops = [control.supervisor.pulse(), &control.memory_pulse];
    report(&notifier, watchdog, &loops, || control.said_of_service()).await;
}

/// What the clock says now holds from here on, at the next start too.
async fn lower_floor(store: &Store, clock: &NodeClock) -> Result<(), NodeError> {
    let lower = Transaction {
        known_good_time_s: Some(clock.reached_s(Instant::now())),
        lowers_known_good_time: true,
        ..Transaction::default()
    };
    store.commit(lower).await?;
    Ok(())
}

pub(super) async fn open_store(config: &Config, dir: PathBuf) -> Result<Opened, NodeError> {
    let mut options = StoreOptions::at(dir);
    options.cache_mib = config.store.cache_mib;
    options.audit_entries_max =
        usize::try_from(config.store.audit_entries_max).unwrap_or(usize::MAX);
    let opened = tokio::task::spawn_blocking(move || Store::open(options)).await;
    // It panics only if sled does where nobody foresaw it: the message is in the log by then.
    Ok(opened.map_err(|error| NodeError::Ended(error.to_string()))??)
}

fn report_recovery(recovery: &Recovery) {
    match recovery {
        Recovery::Created | Recovery::Intact => {}
        mended => tracing::warn!(recovery = recovery.label(), ?mended, "the store was mended"),
    }
}

pub(super) fn worker_start(
    config: &Config,
    orders: Orders,
    shape: &EngineShape,
    (threads, listeners_per_thread, tls_listeners_per_thread): (usize, usize, u32),
    budgets: Budgets,
    authorities: Vec<Vec<u8>>,
) -> WorkerStart {
    let (http, https) = (&config.http, &config.https);
    let to_u32 = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    WorkerStart {
        shape: shape.clone(),
        follows: false,
        threads: to_u32(threads),
        orders,
        guest_clock_resolution_us: config.worker.guest_clock_resolution_us,
        listeners_per_thread: to_u32(listeners_per_thread),
        connections_max: http.connections_max,
        header_read_timeout_ms: http.header_read_timeout_ms.into(),
        header_bytes_max: u64::from(http.header_kib_max) << 10,
        header_count_max: http.header_count_max,
        trusted_proxies: http
            .trusted_proxies
            .iter()
            .map(ToString::to_string)
            .collect(),
        drain_ms_max: http.drain_ms_max.into(),
        resident_max: RESIDENT_MAX,
        guest_memory_bytes_max: budgets.guests_bytes,
        code_bytes_max: budgets.code_bytes,
        buffer_bytes_max: budgets.buffers_bytes,
        client_connections_max: http.client_connections_max,
        log_level: config.log.level.as_str().to_owned(),
        log_json: config.log.format.as_str() == "json",
        tls_listeners_per_thread,
        signing_sockets: to_u32(handshake_threads(config, threads)),
        tls12: https.tls_min == TlsVersion::Tls12,
        handshakes_max: https.handshakes_max,
        handshake_timeout_ms: https.handshake_timeout_ms.into(),
        authorities,
        streams_max: http.streams_max,
    }
}

/// How long to wait before a worker that died early is replaced.
pub(super) fn backoff(config: &Config) -> Backoff {
    Backoff {
        min: Duration::from_millis(config.worker.restart_backoff_ms_min.into()),
        max: Duration::from_millis(config.worker.restart_backoff_ms_max.into()),
    }
}

/// Threads that compute handshakes, and as many that sign for them.
fn handshake_threads(config: &Config, threads: usize) -> usize {
    if config.https.listen.is_empty() {
        return 0;
    }
    let wanted = match config.https.handshake_threads {
        // While half of them wait for signatures, the other half computes.
        0 => threads.saturating_mul(2),
        wanted => usize::try_from(wanted).unwrap_or(PAIRS_MAX),
    };
    wanted.clamp(1, PAIRS_MAX)
}

pub(super) fn compile_limits(config: &Config, threads: usize) -> CompileLimits {
    let compile = &config.compile;
    CompileLimits {
        // RLIMIT_CPU counts whole seconds.
        cpu_s_max: compile.cpu_ms_max.div_ceil(1000),
        wall_max: Duration::from_millis(compile.wall_ms_max.into()),
        memory_bytes_max: u64::from(compile.memory_mib_max) << 20,
        output_bytes_max: u64::from(compile.artifact_mib_max) << 20,
        threads_max: u32::try_from(threads).unwrap_or(1),
        niceness: COMPILE_NICENESS,
    }
}

/// Who may ask: the configured keys, or, where none is, a key of the node's own making.
fn authenticator(
    config: &Config,
    keys: &Path,
    clock: Arc<NodeClock>,
) -> Result<(Arc<Authenticator>, Option<PathBuf>), NodeError> {
    let mut options = AuthOptions::from_config(config)?;
    let mut admin_key = None;
    if options.jwks_files.is_empty() && options.jwks_url.is_none() {
        let (private, public) = (keys.join("admin.key"), keys.join("admin.jwks"));
        let key = if private.exists() {
            control_api::keypair::PrivateKey::read(&private)?
        } else {
            let key = control_api::keypair::PrivateKey::generate()?;
            key.write_new(&private)?;
            key
        };
        let document = control_api::keypair::jwks_document(&[key.public()]);
        // Not written where it is as it should be: a disk that is full would be left with half of it.
        let written = std::fs::read_to_string(&public).is_ok_and(|there| there == document);
        if !written {
            std::fs::write(&public, document).map_err(|source| NodeError::Directory {
                path: public.clone(),
                source,
            })?;
        }
        options.jwks_files.push(public);
        admin_key = Some(private);
    }
    let clock = Arc::new(move || clock.now_s(Instant::now()));
    Ok((Arc::new(Authenticator::new(options, clock)?), admin_key))
}

fn admin_server(
    control: &Arc<Control>,
    authenticator: &Arc<Authenticator>,
    mut inherited: Inherited,
) -> Result<Server, NodeError> {
    let mut api = ApiOptions::new(
        plane::plane(Arc::clone(control)),
        Arc::clone(authenticator),
        control.tracker.clone(),
    )
    .bounded_by(&control.config());
    let config = control.config();
    if let Some(path) = &config.metrics.token_file {
        api.metrics_token = Some(metrics_token(path)?);
    }
    let mut listen = ListenOptions::from_config(&config);
    listen.tcp_there = inherited.admin_tcp_before.take();
    listen.unix_there = inherited.admin_unix_before.take();
    listen.tls = AdminTls::from_config(&config)?.map(Arc::new);
    if inherited.has_admin() {
        (listen.tcp, listen.unix) = (None, None);
        listen.tcp_open = inherited.admin_tcp;
        listen.unix_open = inherited.admin_unix;
    }
    Ok(Server::bind(listen, api)?)
}

/// A handle on a folder that leads to its files and lists none.
fn open_folder(path: &Path) -> Result<OwnedFd, NodeError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    open(path, flags, Mode::empty()).map_err(|error| NodeError::Directory {
        path: path.to_owned(),
        source: error.into(),
    })
}

fn metrics_token(path: &Path) -> Result<String, NodeError> {
    let failed = |source| NodeError::MetricsToken {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    match text.trim() {
        "" => Err(failed(std::io::Error::other("the file is empty"))),
        token => Ok(token.to_owned()),
    }
}

fn make_private_dir(path: &Path) -> Result<(), NodeError> {
    create_private_dir(path).map_err(|source| NodeError::Directory {
        path: path.to_owned(),
        source,
    })
}
