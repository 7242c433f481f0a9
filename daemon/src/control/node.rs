//! A node from its configuration to its end: bound, then run, then drained.

use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control_api::auth::{AuthOptions, AuthSetupError, Authenticator, system_clock};
use control_api::server::{
    AdminTls, AdminTlsError, ApiOptions, ListenError as AdminListenError, ListenOptions, Server,
};
use control_api::view::NodeState;
use edge_config::{Config, HTTP_SOCKETS_MAX, TlsVersion};
use rustix::fs::{Mode, OFlags, open};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ballast::Ballast;
use super::capacity::{BoxMemory, Budgets, pool};
use super::clock::{NodeClock, TimeFloor};
use super::jobs::Jobs;
use super::logs::LogRings;
use super::outbound::{self, AuthoritiesError};
use super::places::UploadPlaces;
use super::restore::{RestoreError, restore};
use super::service::{Inherited, Notifier, Pulse, Service, report};
use super::sockets::{ListenError, Listeners};
use super::supervise::{Backoff, DRAIN_GRACE, Supervisor};
use super::tls::{self, Keyring, unlock};
use super::{Control, plane, variables};
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
use crate::store::blobs::{BlobError, Blobs};
use crate::store::{Opened, Recovery, Store, StoreError, StoreOptions, Transaction};

/// Bytes that stay free on the disk whatever is uploaded.
const DISK_RESERVE_BYTES: u64 = 64 << 20;
/// Most artifacts on disk.
const ARTIFACTS_MAX: usize = 100_000;
/// Most bytes of artifacts on disk; unreferenced ones go first, and what is missing is compiled again.
const ARTIFACTS_BYTES_MAX: u64 = 16 << 30;
/// Components loaded in a worker at once. Each takes some five memory maps, of which a process has 65,530 by default.
const RESIDENT_MAX: u32 = 8192;
/// How often the store's disk is asked whether it still takes writes.
const DISK_ASKED_EVERY: Duration = Duration::from_secs(3600);
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
    /// The admin key that a node without configured keys makes for itself.
    #[error("the node's own admin key cannot be made or read")]
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
    notifier: Option<Notifier>,
    watchdog: Option<Duration>,
    ballast: Ballast,
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
        } = service;
        let data = config.node.data_dir.clone();
        make_private_dir(&data)?;
        let ballast = Ballast::in_folder(&data);
        ballast.give_back_if_full();
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
        let listeners = match std::mem::take(&mut inherited.http) {
            passed if passed.is_empty() => {
                Listeners::bind(&config.http.listen, &config.https.listen, threads)?
            }
            passed => Listeners::inherit(passed, &config.https.listen, threads)?,
        };
        let orders = super::orders(&config);
        let per_thread = listeners.per_thread();
        let authorities = outbound::authorities(&config.outbound.ca_files)?;
        let start = worker_start(
            &config,
            orders,
            &shape,
            (threads, per_thread),
            budgets,
            authorities,
        );
        let backoff = Backoff {
            min: Duration::from_millis(config.worker.restart_backoff_ms_min.into()),
            max: Duration::from_millis(config.worker.restart_backoff_ms_max.into()),
        };
        let program = PathBuf::from("/proc/self/exe");
        let shutdown = CancellationToken::new();
        let metrics = Metrics::new(
            usize::try_from(config.metrics.tenants_max).unwrap_or(usize::MAX),
            WASMTIME_VERSION,
        );
        metrics.recovery(opened.recovery.label());
        let queue_max = usize::try_from(config.compile.queue_max).unwrap_or(usize::MAX);
        let control = Arc::new_cyclic(|me| Control {
            me: me.clone(),
            started: Instant::now(),
            clock: Arc::clone(&clock),
            standing: watch::Sender::new(NodeState::Starting),
            state: std::sync::RwLock::new(state),
            changes: Mutex::new(()),
            store: opened.store,
            blobs,
            cache: Arc::new(cache),
            artifact_names: std::sync::RwLock::default(),
            publishing: std::sync::Mutex::default(),
            supplying: std::sync::Mutex::default(),
            compiler: Compiler::of_this_program().confined(orders),
            compile_limits: compile_limits(&config, threads),
            compile_queue: CompileQueue::new(1, queue_max),
            dry_run_queue: CompileQueue::new(DRY_RUNS_AT_ONCE, queue_max),
            shape,
            guest_memory_bytes_max: budgets.guests_bytes,
            uploads: UploadPlaces::new(config.uploads.concurrent_max),
            jobs: Jobs::new(usize::try_from(config.uploads.jobs_kept_max).unwrap_or(1)),
            supervisor: Supervisor::new(program, start, folder, listeners, backoff),
            vault,
            keyring,
            memory_pulse: Pulse::of("memory"),
            metrics,
            crashes: std::sync::Mutex::default(),
            logs: LogRings::new(std::time::SystemTime::now(), shutdown.clone()),
            storage: Storage::at(data.join("storage")),
            secrets,
            collect: Notify::new(),
            tracker: TaskTracker::new(),
            config,
        });
        let (authenticator, admin_key) = authenticator(&control.config, &keys, clock)?;
        let server = admin_server(&control, &authenticator, inherited)?;
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
            notifier,
            watchdog,
            ballast,
        })
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
            notifier,
            watchdog,
            ballast,
            ..
        } = self;
        let notifier = notifier.map(Arc::new);
        let tracker = control.tracker.clone();
        let workers_stop = CancellationToken::new();
        let supervising = {
            let (control, stop) = (Arc::clone(&control), workers_stop.clone());
            tracker.spawn(async move {
                let home = Arc::clone(&control);
                control.supervisor.run(home, stop).await;
            })
        };
        let background = CancellationToken::new();
        let collecting = Arc::clone(&control).collect_when_asked();
        tracker.spawn(background.clone().run_until_cancelled_owned(collecting));
        let forgetting = Arc::clone(&control).forget_retired_keys();
        tracker.spawn(background.clone().run_until_cancelled_owned(forgetting));
        let watching = Arc::clone(&control).watch_memory();
        tracker.spawn(background.clone().run_until_cancelled_owned(watching));
        let keeping = ballast.keep(DISK_ASKED_EVERY, DISK_RESERVE_BYTES);
        tracker.spawn(background.clone().run_until_cancelled_owned(keeping));
        let asking = {
            let (store, clock) = (control.store.clone(), Arc::clone(&control.clock));
            let reached_s = move || clock.reached_s(Instant::now());
            async move { store.ask_disk_every(DISK_ASKED_EVERY, reached_s).await }
        };
        tracker.spawn(background.clone().run_until_cancelled_owned(asking));
        {
            let stop = background.clone();
            tracker.spawn(async move { authenticator.keep_fresh(stop).await });
        }
        let admin = server.run(shutdown.clone());
        tokio::pin!(admin);
        let ready = async {
            control.supervisor.ready().await;
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
            std::future::pending::<()>().await
        };
        tokio::select! {
            () = stop => {}
            () = ready => {}
            ended = &mut admin => return Err(NodeError::Ended(format!("{ended:?}"))),
        }
        tracing::info!("draining");
        control.standing.send_replace(NodeState::Draining);
        if let Some(notifier) = &notifier {
            let drain_max = Duration::from_millis(control.config.http.drain_ms_max.into());
            notifier.stopping("draining", drain_max + DRAIN_GRACE + LAST_TASKS_MAX);
        }
        workers_stop.cancel();
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
        tracker.close();
        if tokio::time::timeout(LAST_TASKS_MAX, async {
            tokio::join!(admin, tracker.wait())
        })
        .await
        .is_err()
        {
            tracing::warn!("some tasks did not end in time");
        }
        control.standing.send_replace(NodeState::Stopped);
        control.store.clone().close().await;
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

async fn open_store(config: &Config, dir: PathBuf) -> Result<Opened, NodeError> {
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

fn worker_start(
    config: &Config,
    orders: Orders,
    shape: &EngineShape,
    (threads, listeners_per_thread): (usize, usize),
    budgets: Budgets,
    authorities: Vec<Vec<u8>>,
) -> WorkerStart {
    let (http, https) = (&config.http, &config.https);
    let to_u32 = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    WorkerStart {
        shape: shape.clone(),
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
        tls_listeners_per_thread: to_u32(https.listen.len()),
        signing_sockets: to_u32(handshake_threads(config, threads)),
        tls12: https.tls_min == TlsVersion::Tls12,
        handshakes_max: https.handshakes_max,
        handshake_timeout_ms: https.handshake_timeout_ms.into(),
        authorities,
        streams_max: http.streams_max,
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

fn compile_limits(config: &Config, threads: usize) -> CompileLimits {
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
    inherited: Inherited,
) -> Result<Server, NodeError> {
    let mut api = ApiOptions::new(
        plane::plane(Arc::clone(control)),
        Arc::clone(authenticator),
        control.tracker.clone(),
    )
    .bounded_by(&control.config);
    if let Some(path) = &control.config.metrics.token_file {
        api.metrics_token = Some(metrics_token(path)?);
    }
    let mut listen = ListenOptions::from_config(&control.config);
    listen.tls = AdminTls::from_config(&control.config)?.map(Arc::new);
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
