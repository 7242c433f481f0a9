//! The worker process: runs guests, keeps nothing.
//!
//! Takes its link on standard input and everything else over it: listening sockets, settings, the routing table,
//! artifacts as open files. Promises that it can be killed at any instant without loss, and that it is confined
//! ([`crate::confine`]) before it accepts a connection. Holds no key, no token and no path; opens no file by name.

mod crash;
mod report;

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use wasmtime::Engine;

use crate::confine::{self, ConfineError, FilterState, InForce, Strictness};
use crate::engine::{Resident, ResidentBounds, Resting, Ticker, runtime_config};
use crate::gateway::{
    Acceptor, Buffers, Compute, Gateway, GatewayParts, Handshakes, Leave, LineSender, Settings,
    TableBuilder, TlsError, TlsSettings, TrustedProxies,
};
use crate::host::{ClockResolution, Services, Trust, linker};
use crate::link::flight::FlightRecord;
use crate::link::{
    self, FrameBounds, FrameError, GuestLine, LinkReader, LinkWriter, Supplied, ToControl,
    ToWorker, WorkerReport, WorkerStart, lines_in_one_frame, split,
};
use crate::logging;
use crate::quota::{RunQueue, VirtualClock};
use crate::startup_code::StartupCode;

/// How often figures are sent without being asked for.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// After the drain time, for refusals of what was still under way to reach their clients.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Components that a worker loads before it accepts, where another one still does, and the longest time that it takes for
/// them: with all that come in at once waiting for loads, those who wait too long would be refused.
const AHEAD_MAX: usize = 64;
const AHEAD_TIME_MAX: Duration = Duration::from_secs(2);
/// Tasks polled between two looks at sockets and timers. tokio's default of 61 would let guests that compute hold
/// back everybody else on the thread for as many ticks.
const EVENT_INTERVAL: u32 = 8;

/// Why a worker ends other than by being told to.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("standard input is not a link to control")]
    NoLink(#[source] std::io::Error),
    #[error("the link to control broke")]
    Link(#[from] FrameError),
    #[error("control did not begin with a start message")]
    NoStart,
    #[error("the engine does not start")]
    Engine(#[source] wasmtime::Error),
    #[error("a thread does not start")]
    Thread(#[source] std::io::Error),
    #[error("the flight record cannot be used")]
    FlightRecord(#[source] std::io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the worker cannot be confined")]
    Confine(#[from] ConfineError),
}

/// The worker's whole life; the process ends with the code that this returns.
#[must_use]
pub fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("littorald worker: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = logging::chain(&error), "the worker ends");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), WorkerError> {
    let socket = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(WorkerError::NoLink)?;
    let (mut reader, writer) =
        split(UnixStream::from(socket), FrameBounds::WORKER).map_err(WorkerError::NoLink)?;
    let (ToWorker::Start(start), files) = reader.receive().await? else {
        return Err(WorkerError::NoStart);
    };
    let mut files = files.into_iter();
    let (Some(artifacts), Some(record), Some(calls)) = (files.next(), files.next(), files.next())
    else {
        return Err(WorkerError::NoStart);
    };
    let (answers, calls) =
        split(UnixStream::from(calls), FrameBounds::SERVICES).map_err(WorkerError::NoLink)?;
    logging::start(&start.log_level, start.log_json, "worker");
    raise_descriptor_limit();
    // Afterwards no file may be opened.
    let startup_code = StartupCode::find();
    Trust::look_around();
    let record = FlightRecord::map(record).map_err(WorkerError::FlightRecord)?;
    crash::mark_crashes();
    let mut in_force = confine::give_up_privileges(start.orders)?;
    // The engine opens what it needs of /proc.
    let engine = Engine::new(&runtime_config(&start.shape)).map_err(WorkerError::Engine)?;
    confine::close_files(start.orders, Some(artifacts.as_fd()), &mut in_force)?;
    drop(artifacts);
    let linker = linker(&engine).map_err(WorkerError::Engine)?;
    let ticker = Ticker::start(&engine).map_err(WorkerError::Thread)?;
    let (needs_sender, needs) = mpsc::unbounded_channel();
    let bounds = ResidentBounds {
        components_max: usize::try_from(start.resident_max).unwrap_or(usize::MAX),
        bytes_max: start.code_bytes_max,
    };
    let resident = Arc::new(Resident::new(engine, linker, needs_sender, bounds));
    let (lines_sender, lines) = LineSender::channel();
    let leave = Leave::default();
    let tracker = TaskTracker::new();
    let clock = Arc::<VirtualClock>::default();
    let threads = usize::try_from(start.threads).unwrap_or(1);
    let compute = Compute::start(threads, Arc::clone(&clock), move |number| {
        // Behind the seats of those that own connections.
        record.take_seat(threads + number);
    })
    .map_err(WorkerError::Thread)?;
    let resting = Arc::<Resting>::default();
    let (services, asked) = Services::new(Trust::new(start.authorities.clone()));
    tokio::spawn(Arc::clone(&services).run(asked, answers, calls));
    let trusted = TrustedProxies::parse(&start.trusted_proxies);
    let gateway = Arc::new(Gateway::new(GatewayParts {
        resident: Arc::clone(&resident),
        resting: Arc::clone(&resting),
        ticker,
        lines: lines_sender,
        trusted,
        clocks: ClockResolution::from_us(start.guest_clock_resolution_us),
        tracker: tracker.clone(),
        compute,
        buffers: Buffers::new(start.buffer_bytes_max, start.header_bytes_max),
    }));
    let to_usize = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let mut sockets: Vec<_> = files.collect();
    // Behind the listening ones.
    let signing = sockets
        .len()
        .saturating_sub(to_usize(start.signing_sockets));
    let handshakes = Handshakes::start(
        sockets.split_off(signing),
        to_usize(start.handshakes_max),
        Duration::from_millis(start.handshake_timeout_ms),
    )
    .map_err(WorkerError::Thread)?;
    let tls = (start.tls_listeners_per_thread > 0)
        .then(|| TlsSettings::new(start.tls12, start.streams_max > 0))
        .transpose()?;
    let acceptor = Acceptor::new(
        Arc::clone(&gateway),
        settings(&start),
        handshakes,
        leave.clone(),
        tracker.clone(),
    );
    let (outgoing, queue) = mpsc::channel(1024);
    let sending = tokio::spawn(send_all(writer, queue, needs, lines));

    let worker = Worker {
        resident,
        resting,
        gateway,
        acceptor,
        leave,
        tracker,
        outgoing,
        clock,
        record,
        in_force,
        services,
    };
    let outcome = worker
        .follow(&mut reader, &start, sockets, tls, startup_code.ok())
        .await;
    drop(worker);
    // What is still queued goes out; a control that is gone needs none of it.
    let _ = tokio::time::timeout(Duration::from_secs(1), sending).await;
    outcome
}

struct Worker {
    resident: Arc<Resident>,
    resting: Arc<Resting>,
    gateway: Arc<Gateway>,
    acceptor: Arc<Acceptor>,
    leave: Leave,
    tracker: TaskTracker,
    outgoing: mpsc::Sender<ToControl>,
    clock: Arc<VirtualClock>,
    record: FlightRecord,
    in_force: InForce,
    services: Arc<Services>,
}

impl Worker {
    /// Does what control says until it says drain or goes away, and then until all that was accepted is done or the drain
    /// time is over: what drains still needs artifacts, and its requests still count.
    async fn follow(
        &self,
        reader: &mut LinkReader,
        start: &WorkerStart,
        sockets: Vec<OwnedFd>,
        tls: Option<TlsSettings>,
        mut startup_code: Option<StartupCode>,
    ) -> Result<(), WorkerError> {
        let mut builder = TableBuilder::new(
            start.guest_memory_bytes_max,
            Arc::clone(&self.resting),
            Arc::clone(&self.services),
        )
        .with_tls(tls);
        // Of a table that comes in pieces: whether it is whole, and its changes so far.
        let mut coming = (false, Vec::new());
        let mut sockets = Some(sockets);
        let mut begin_at = None;
        let loaded = Arc::new(Notify::new());
        let user = self.in_force.user;
        self.send(ToControl::Became { user }).await;
        let mut report_at = tokio::time::interval(REPORT_EVERY);
        report_at.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (messages_sender, mut messages) = mpsc::channel(64);
        let receive = async {
            loop {
                let message = reader.receive::<ToWorker>().await;
                let ended = message.is_err();
                if messages_sender.send(message).await.is_err() || ended {
                    return std::future::pending::<()>().await;
                }
            }
        };
        tokio::pin!(receive);
        let drain_max = Duration::from_millis(start.drain_ms_max);
        let mut drain_until = None;
        let mut outcome = Ok(());
        loop {
            let overdue = async {
                match drain_until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            if sockets.is_some()
                && begin_at
                    .is_some_and(|at| tokio::time::Instant::now() >= at || !self.resident.awaits())
                && let Some(sockets) = sockets.take()
            {
                begin_at = None;
                let in_force = self.start_threads(start, sockets)?;
                self.send(ToControl::Ready(in_force)).await;
                if let Some(code) = startup_code.take()
                    && let Err(error) = code.give_back()
                {
                    tracing::debug!(%error, "the code of the start stays in memory");
                }
            }
            let begin = async {
                match begin_at {
                    Some(at) => tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = loaded.notified() => {}
                    },
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                () = &mut receive => continue,
                () = begin => continue,
                () = self.tracker.wait(), if drain_until.is_some() => break,
                () = overdue => {
                    tracing::warn!(
                        connections = self.acceptor.open(),
                        "the drain time is over; ending what still runs"
                    );
                    self.leave.end();
                    let _ = tokio::time::timeout(LAST_WORDS, self.tracker.wait()).await;
                    break;
                }
                Some(message) = messages.recv() => message,
                _ = report_at.tick() => {
                    self.resident.second_passed();
                    self.resting.second_passed(Instant::now());
                    if let Some(report) = report::since_last(&builder, &self.gateway, &self.acceptor, &self.resident, &self.resting) {
                        self.report(report).await;
                    }
                    continue;
                }
            };
            match message {
                Ok((
                    ToWorker::Table {
                        revision,
                        full,
                        changes: piece,
                        more,
                    },
                    _,
                )) => {
                    coming.0 |= full;
                    coming.1.extend(piece);
                    if more {
                        continue;
                    }
                    let (full, changes) = std::mem::take(&mut coming);
                    let table = builder.apply(full, changes, &self.resident, Instant::now());
                    self.gateway.set_table(table);
                    if builder.take_frees() {
                        self.resident.forget_unrouted();
                    }
                    if sockets.is_some() && begin_at.is_none() {
                        let now = tokio::time::Instant::now();
                        begin_at = Some(if start.follows {
                            self.resident.ask_ahead(AHEAD_MAX);
                            now + AHEAD_TIME_MAX
                        } else {
                            now
                        });
                    }
                    self.send(ToControl::TableApplied { revision }).await;
                }
                Ok((ToWorker::Artifact { name, refused }, files)) => {
                    let mut files = files.into_iter();
                    let file = match (files.next(), refused) {
                        (Some(artifact), _) => Ok(Supplied {
                            artifact,
                            upload: files.next(),
                        }),
                        (None, why) => {
                            Err(why.unwrap_or_else(|| "control sent no file".to_owned()))
                        }
                    };
                    let (resident, loaded) = (Arc::clone(&self.resident), Arc::clone(&loaded));
                    tokio::task::spawn_blocking(move || {
                        if let Err(error) = resident.arrived(name, file) {
                            tracing::warn!(error, "a component could not be loaded");
                        }
                        loaded.notify_one();
                    });
                }
                Ok((
                    ToWorker::Pressure {
                        drop_idle_s,
                        shed_below_class,
                    },
                    _,
                )) => {
                    self.gateway.shed_below(shed_below_class);
                    if let Some(idle_s) = drop_idle_s {
                        self.resting.clear();
                        self.resident.drop_idle(idle_s);
                    }
                }
                Ok((ToWorker::Report, _)) => {
                    let report = report::now(
                        &builder,
                        &self.gateway,
                        &self.acceptor,
                        &self.resident,
                        &self.resting,
                    );
                    self.report(report).await;
                }
                told_to_end => {
                    let last = match told_to_end {
                        Ok((ToWorker::Drain { last }, _)) => last,
                        // Control is gone. Where others have its sockets, they serve what waits there.
                        Err(FrameError::Closed) => false,
                        Ok(_) => {
                            outcome = Err(WorkerError::NoStart);
                            false
                        }
                        Err(error) => {
                            outcome = Err(error.into());
                            false
                        }
                    };
                    drain_until.get_or_insert_with(|| tokio::time::Instant::now() + drain_max);
                    self.leave.begin(last);
                    self.tracker.close();
                }
            }
        }
        // The last requests count as well.
        let last = report::since_last(
            &builder,
            &self.gateway,
            &self.acceptor,
            &self.resident,
            &self.resting,
        );
        if let Some(report) = last {
            self.report(report).await;
        }
        outcome
    }

    async fn report(&self, report: WorkerReport) {
        for message in link::report(report) {
            self.send(message).await;
        }
    }

    async fn send(&self, message: ToControl) {
        // The sending task ends only with the link, which `follow` notices by itself.
        let _ = self.outgoing.send(message).await;
    }

    /// Starts the threads that serve; they accept once the filter of system calls is set for all of them.
    fn start_threads(
        &self,
        start: &WorkerStart,
        sockets: Vec<OwnedFd>,
    ) -> Result<InForce, WorkerError> {
        let per_thread = usize::try_from(start.listeners_per_thread)
            .unwrap_or(1)
            .max(1);
        let tls_per_thread = usize::try_from(start.tls_listeners_per_thread).unwrap_or(0);
        let mut listeners = sockets.into_iter().map(TcpListener::from).peekable();
        let threads = listeners.len().div_ceil(per_thread);
        let have_loops = Arc::new(Barrier::new(threads + 1));
        let may_accept = Arc::new(Barrier::new(threads + 1));
        let mut number = 0;
        while listeners.peek().is_some() {
            let listeners: Vec<_> = listeners
                .by_ref()
                .take(per_thread)
                .enumerate()
                .map(|(index, listener)| {
                    let secure = index + tls_per_thread >= per_thread;
                    (listener, secure, self.tracker.token())
                })
                .collect();
            let acceptor = Arc::clone(&self.acceptor);
            let clock = Arc::clone(&self.clock);
            let gates = (Arc::clone(&have_loops), Arc::clone(&may_accept));
            let record = self.record;
            std::thread::Builder::new()
                .name(format!("gateway-{number}"))
                .spawn(move || {
                    record.take_seat(number);
                    serve_on_this_thread(&acceptor, clock, listeners, &gates.0, &gates.1);
                })
                .map_err(WorkerError::Thread)?;
            number += 1;
        }
        have_loops.wait();
        let mut in_force = self.in_force;
        confine::filter_worker(start.orders, &mut in_force)?;
        say_what_is_missing(start, in_force);
        may_accept.wait();
        Ok(in_force)
    }
}

/// Owns some sockets, their connections and the guests that these reach, until the process ends.
///
/// With each socket comes whether it is for TLS, and what tells those who wait for the worker's end that it is accepted on.
/// Waits at `have_loops` with its event loop made, and at `may_accept` before it accepts.
fn serve_on_this_thread(
    acceptor: &Arc<Acceptor>,
    clock: Arc<VirtualClock>,
    listeners: Vec<(TcpListener, bool, TaskTrackerToken)>,
    have_loops: &Barrier,
    may_accept: &Barrier,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build();
    have_loops.wait();
    may_accept.wait();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a gateway thread has no runtime"),
    };
    let queue = RunQueue::new(clock, Instant::now());
    runtime.block_on(async {
        tokio::spawn(Arc::clone(&queue).dispatch());
        for (listener, secure, accepting) in listeners {
            let acceptor = Arc::clone(acceptor);
            let queue = Arc::clone(&queue);
            tokio::spawn(async move {
                if let Err(error) = acceptor.accept(listener, secure, queue).await {
                    tracing::error!(%error, "a listening socket cannot be used");
                }
                drop(accepting);
            });
        }
        // Connections finish on this thread while the worker drains; the process ends it.
        std::future::pending::<()>().await;
    });
}

/// Sends what the worker has to say, needs before log lines.
async fn send_all(
    mut writer: LinkWriter,
    mut queue: mpsc::Receiver<ToControl>,
    mut needs: mpsc::UnboundedReceiver<crate::link::ArtifactName>,
    mut lines: mpsc::Receiver<GuestLine>,
) {
    loop {
        let message = tokio::select! {
            biased;
            Some(name) = needs.recv() => ToControl::NeedArtifact { name },
            message = queue.recv() => match message {
                Some(message) => message,
                None => return,
            },
            Some(first) = lines.recv() => lines_in_one_frame(first, &mut lines),
        };
        match writer.send(&message, &[]).await {
            Ok(()) => {}
            // Control would end the link over it, and every tenant would pay: this message alone is lost.
            Err(error @ FrameError::TooLarge { .. }) => {
                tracing::error!(%error, "a message to control is dropped");
            }
            Err(_) => return,
        }
    }
}

fn settings(start: &WorkerStart) -> Settings {
    let to_usize = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Settings {
        connections_max: to_usize(start.connections_max.into()),
        header_read_timeout: Duration::from_millis(start.header_read_timeout_ms),
        header_bytes_max: to_usize(start.header_bytes_max),
        header_count_max: to_usize(start.header_count_max.into()),
        client_connections_max: start.client_connections_max,
        streams_max: start.streams_max,
    }
}

/// An operator who runs with fewer barriers should know, each time.
fn say_what_is_missing(start: &WorkerStart, in_force: InForce) {
    match (start.orders.strictness, in_force.filter) {
        (Strictness::Off, _) => tracing::warn!(
            "worker.confinement is \"off\": neither system calls nor files are closed to the code of tenants"
        ),
        (Strictness::Log, FilterState::Logged) => tracing::warn!(
            "worker.confinement is \"log\": system calls that are not expected are logged and go through"
        ),
        (_, FilterState::Absent) => {
            tracing::warn!(
                "this kernel has no seccomp: every system call is open to the code of tenants"
            );
        }
        _ => {}
    }
    if in_force.landlock_abi == 0 && start.orders.strictness != Strictness::Off {
        tracing::warn!(
            "this kernel has no landlock: only the worker's user decides which files it may open"
        );
    }
    if in_force.user == 0 {
        tracing::warn!("the worker runs as root, without capabilities: see worker.user_id");
    }
}

/// Connections are descriptors: take as many as the operator allows this process at all.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the descriptor limit stays as it is");
    }
}
