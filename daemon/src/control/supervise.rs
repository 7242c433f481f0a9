//! The worker process, from control's side: started, told, listened to, replaced.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use control_api::view::{Confinement, WorkerStatus};
use rustix::process::Signal;
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::service::{Beat, Pulse};
use super::sockets::Listeners;
use crate::confine::InForce;
use crate::link::flight::{FlightRecorder, Seated};
use crate::link::signing::{self, SignRequest};
use crate::link::{
    self, ArtifactName, Counts, FrameBounds, FrameError, GuestLine, LinkReader, LinkWriter,
    TableChange, ToControl, ToWorker, WorkerReport, WorkerStart, split,
};
use crate::logging;

/// Messages that may wait for a worker. One that lets them pile up higher is hung, and replaced.
const WAITING_MESSAGES_MAX: usize = 1024;
/// A worker that does not accept connections this long after its start hangs, and is replaced: the whole table of a
/// large node takes a second or two.
const START_MAX: Duration = Duration::from_secs(30);
/// A worker that lived this long did not fail at its start: its successor is started at once.
const LIVED_WELL: Duration = Duration::from_secs(10);
/// A worker that was told to drain is killed this long after its own drain time is over.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// What the supervisor needs of the rest of control.
pub(super) trait Home: Send + Sync + 'static {
    /// The whole table with its revision. Called while no change can be published.
    fn whole_table(&self) -> (u64, Vec<TableChange>);
    /// A worker needs an artifact: answer through [`Supervisor::artifact`].
    fn artifact_needed(self: Arc<Self>, name: ArtifactName);
    /// Figures from a worker.
    fn reported(&self, report: WorkerReport);
    /// Signs what a worker asks for in a handshake, or does not. Called on threads of their own, which it may block.
    fn sign(&self, request: &SignRequest) -> Option<Vec<u8>>;
    /// Guests' output from a worker.
    fn lines(&self, lines: Vec<GuestLine>);
    /// A worker was started, and does not serve yet.
    fn worker_started(&self, pid: u32);
    /// The worker is there, with what confines it, or gone.
    fn worker_changed(&self, worker: Option<InForce>);
    /// A fault or an abort ended the worker while these threads were running guests.
    fn worker_crashed(&self, signal: Signal, seats: &[Seated]);
    /// A new worker's calls on behalf of guests come in here.
    fn serve_calls(self: Arc<Self>, socket: UnixStream) -> io::Result<()>;
    /// A worker died and is about to be replaced.
    fn worker_restarted(&self);
}

/// Keeps one worker running.
pub(super) struct Supervisor {
    program: PathBuf,
    start: WorkerStart,
    /// The folder of artifacts, which the worker may read.
    artifacts: OwnedFd,
    listeners: Listeners,
    backoff: Backoff,
    start_max: Duration,
    current: Mutex<Option<mpsc::Sender<Outgoing>>>,
    standing: watch::Sender<Standing>,
    pulse: Pulse,
}

/// How long to wait before a worker that died early is replaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

/// How the worker stands.
#[derive(Debug, Clone, Default)]
struct Standing {
    pid: u32,
    ready: bool,
    in_force: InForce,
    restarts: u64,
    table_revision: u64,
    instances: u64,
    resident_modules: u64,
    /// Counts reports, so that one that was asked for can be waited for.
    reports: u64,
}

struct Outgoing {
    message: ToWorker,
    file: Option<OwnedFd>,
}

impl From<ToWorker> for Outgoing {
    fn from(message: ToWorker) -> Self {
        Self {
            message,
            file: None,
        }
    }
}

impl Supervisor {
    pub(super) fn new(
        program: PathBuf,
        start: WorkerStart,
        artifacts: OwnedFd,
        listeners: Listeners,
        backoff: Backoff,
    ) -> Self {
        Self {
            program,
            start,
            artifacts,
            listeners,
            backoff,
            start_max: START_MAX,
            current: Mutex::new(None),
            standing: watch::Sender::default(),
            pulse: Pulse::of("supervision"),
        }
    }

    /// Of the loop that supervises.
    pub(super) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Where guests are served.
    pub(super) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// The user that the worker runs as.
    pub(super) fn worker_user(&self) -> u32 {
        self.standing.borrow().in_force.user
    }

    /// As the API shows it.
    pub(super) fn status(&self) -> WorkerStatus {
        let standing = self.standing.borrow();
        WorkerStatus {
            ready: standing.ready,
            pid: standing.pid,
            restarts: standing.restarts,
            table_revision: standing.table_revision,
            instances: standing.instances,
            resident_modules: standing.resident_modules,
            confinement: Confinement {
                filter: standing.in_force.filter.word().to_owned(),
                landlock_abi: standing.in_force.landlock_abi,
                user_id: standing.in_force.user,
                without_capabilities: standing.in_force.without_capabilities,
            },
        }
    }

    /// Sends changes to the routing table. Called in the order of revisions, while no other change can be published.
    pub(super) fn publish(&self, revision: u64, changes: Vec<TableChange>) {
        self.send_each(link::table(revision, false, changes).map(Outgoing::from));
    }

    /// Tells the worker, if there is one.
    pub(super) fn tell(&self, message: ToWorker) {
        self.send_each(std::iter::once(message.into()));
    }

    /// Answers a worker's need.
    pub(super) fn artifact(&self, name: ArtifactName, file: Result<OwnedFd, String>) {
        let (file, refused) = match file {
            Ok(file) => (Some(file), None),
            Err(why) => (None, Some(why)),
        };
        let message = ToWorker::Artifact { name, refused };
        self.send_each(std::iter::once(Outgoing { message, file }));
    }

    /// Waits until the worker serves the table of `revision` or a later one; not longer than `patience`, and not at
    /// all where there is no worker, whose successor will start from the whole table.
    pub(super) async fn applied(&self, revision: u64, patience: Duration) {
        let mut standing = self.standing.subscribe();
        let there =
            standing.wait_for(|standing| !standing.ready || standing.table_revision >= revision);
        if tokio::time::timeout(patience, there).await.is_err() {
            tracing::warn!(revision, "the worker has not taken the routing table yet");
        }
    }

    /// Waits until the worker is ready.
    pub(super) async fn ready(&self) {
        // The sender lives as long as `self`.
        let _ = self
            .standing
            .subscribe()
            .wait_for(|standing| standing.ready)
            .await;
    }

    /// Asks the worker for its figures and waits for them, not longer than `patience`.
    pub(super) async fn fresh_figures(&self, patience: Duration) {
        let mut standing = self.standing.subscribe();
        let (seen, ready) = {
            let standing = standing.borrow_and_update();
            (standing.reports, standing.ready)
        };
        if ready {
            self.send_each(std::iter::once(ToWorker::Report.into()));
            let _ = tokio::time::timeout(
                patience,
                standing.wait_for(|standing| standing.reports > seen),
            )
            .await;
        }
    }

    /// Sends messages without another one in between.
    fn send_each(&self, messages: impl Iterator<Item = Outgoing>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        for message in messages {
            if let Some(sender) = current.as_ref()
                && let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(message)
            {
                tracing::error!(
                    WAITING_MESSAGES_MAX,
                    "the worker takes no messages; replacing it"
                );
                // Dropping the sender ends the link, and with it the worker.
                *current = None;
            }
        }
    }

    /// Starts workers until `shutdown`, then drains the last one.
    ///
    /// # Cancel safety
    /// Dropped, it kills the worker.
    pub(super) async fn run(&self, home: Arc<impl Home>, shutdown: CancellationToken) {
        let mut wait = Duration::ZERO;
        let mut beat = self.pulse.beat();
        loop {
            let mut rested = std::pin::pin!(tokio::time::sleep(wait));
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = &mut rested => break,
                    () = beat.when_asked() => {}
                }
            }
            let started = Instant::now();
            let outcome = self.one_worker(&home, &shutdown, &mut beat).await;
            home.worker_changed(None);
            if shutdown.is_cancelled() {
                return;
            }
            match outcome {
                Ok(status) if status.signal() == Some(Signal::SYS.as_raw()) => tracing::error!(
                    %status,
                    "the worker asked the kernel for something that is not on its list; replacing it. The kernel's \
                     audit log has the number of the system call (type=1326); worker.confinement = \"log\" lets it through"
                ),
                Ok(status) => tracing::error!(%status, "the worker died; replacing it"),
                Err(error) => tracing::error!(
                    error = logging::chain(&error),
                    "the worker failed; replacing it"
                ),
            }
            home.worker_restarted();
            self.standing.send_modify(|standing| {
                *standing = Standing {
                    restarts: standing.restarts + 1,
                    reports: standing.reports,
                    ..Standing::default()
                };
            });
            wait = if started.elapsed() >= LIVED_WELL {
                Duration::ZERO
            } else {
                (wait * 2).clamp(self.backoff.min, self.backoff.max)
            };
        }
    }

    async fn one_worker(
        &self,
        home: &Arc<impl Home>,
        shutdown: &CancellationToken,
        beat: &mut Beat<'_>,
    ) -> Result<std::process::ExitStatus, WorkerFailure> {
        let (ours, theirs) = UnixStream::pair().map_err(WorkerFailure::Start)?;
        let record = FlightRecorder::new().map_err(WorkerFailure::Start)?;
        let mut child = Command::new(&self.program)
            .arg0("littorald: worker")
            .arg("worker")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(WorkerFailure::Start)?;
        let pid = child.id().unwrap_or(0);
        self.standing.send_modify(|standing| standing.pid = pid);
        home.worker_started(pid);
        let (reader, mut writer) =
            split(ours, FrameBounds::CONTROL).map_err(WorkerFailure::Start)?;
        let signing = sign_for(home, self.start.signing_sockets).map_err(WorkerFailure::Start)?;
        let (calls, callers) = UnixStream::pair().map_err(WorkerFailure::Start)?;
        Arc::clone(home)
            .serve_calls(calls)
            .map_err(WorkerFailure::Start)?;
        let mut files: Vec<BorrowedFd<'_>> =
            vec![self.artifacts.as_fd(), record.as_fd(), callers.as_fd()];
        files.extend(self.listeners.sockets().iter().map(AsFd::as_fd));
        files.extend(signing.iter().map(AsFd::as_fd));
        writer
            .send(&ToWorker::Start(self.start.clone()), &files)
            .await?;
        // The worker has its own: with their end, those who answer see theirs.
        drop(files);
        drop(callers);
        drop(signing);
        let queue = self.enter(home);
        let mut sending = std::pin::pin!(send_all(writer, queue));
        let mut receiving = std::pin::pin!(self.receive_all(reader, home));
        let mut drain_until = None;
        let start_until = tokio::time::Instant::now() + self.start_max;
        let mut standing = self.standing.subscribe();
        let outcome = loop {
            let not_ready = async {
                let ready = standing.wait_for(|standing| standing.ready);
                if tokio::time::timeout_at(start_until, ready).await.is_ok() {
                    std::future::pending::<()>().await;
                }
            };
            let too_long = async {
                match drain_until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                status = child.wait() => break status.map_err(WorkerFailure::Start),
                error = &mut sending => break Err(error),
                error = &mut receiving => break Err(error),
                () = shutdown.cancelled(), if drain_until.is_none() => {
                    self.send_each(std::iter::once(ToWorker::Drain.into()));
                    let patience = Duration::from_millis(self.start.drain_ms_max) + DRAIN_GRACE;
                    drain_until = Some(tokio::time::Instant::now() + patience);
                }
                () = not_ready, if drain_until.is_none() => break Err(WorkerFailure::NotReady),
                () = beat.when_asked() => {}
                () = too_long => {
                    tracing::warn!("the worker did not end in its drain time; killing it");
                    break Err(WorkerFailure::GivenUp);
                }
            }
        };
        self.leave();
        let outcome = match outcome {
            Ok(status) => Ok(status),
            // The link ends a moment before the process is seen to: its status says more, if it is there soon.
            Err(error) => {
                match tokio::time::timeout(Duration::from_millis(200), child.wait()).await {
                    Ok(Ok(status)) => Ok(status),
                    _ => {
                        drop(child.kill().await);
                        Err(error)
                    }
                }
            }
        };
        if let Ok(status) = &outcome
            && let Some(signal) = crash(*status)
        {
            match record.read() {
                Ok(seats) => home.worker_crashed(signal, &seats),
                Err(error) => tracing::warn!(%error, "the flight record cannot be read"),
            }
        }
        outcome
    }

    /// From here on the worker gets every change; the whole table as of now comes first.
    fn enter(&self, home: &Arc<impl Home>) -> mpsc::Receiver<Outgoing> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Publishing takes the same lock, and does so before the change lock is given back: what is in this table is
        // not published again, and what is not is published after it.
        let (revision, changes) = home.whole_table();
        let table: Vec<_> = link::table(revision, true, changes).collect();
        let (sender, queue) = mpsc::channel(WAITING_MESSAGES_MAX + table.len());
        for message in table {
            // There is room: the queue was made above, and is empty.
            drop(sender.try_send(message.into()));
        }
        *current = Some(sender);
        queue
    }

    fn leave(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.standing.send_modify(|standing| standing.ready = false);
    }

    async fn receive_all(&self, mut reader: LinkReader, home: &Arc<impl Home>) -> WorkerFailure {
        let mut counts = Counts::default();
        loop {
            let message = match reader.receive::<ToControl>().await {
                Ok((message, _)) => message,
                Err(error) => return error.into(),
            };
            match message {
                ToControl::Ready(in_force) => {
                    let pid = self.standing.borrow().pid;
                    tracing::info!(
                        pid,
                        filter = in_force.filter.word(),
                        landlock_abi = in_force.landlock_abi,
                        user = in_force.user,
                        "the worker is ready"
                    );
                    home.worker_changed(Some(in_force));
                    self.standing.send_modify(|standing| {
                        standing.ready = true;
                        standing.in_force = in_force;
                    });
                }
                ToControl::TableApplied { revision } => {
                    self.standing
                        .send_modify(|standing| standing.table_revision = revision);
                }
                ToControl::NeedArtifact { name } => Arc::clone(home).artifact_needed(name),
                ToControl::Counts(piece) => counts.keep(piece),
                ToControl::Report(report) => {
                    let report = counts.complete(report);
                    let (instances, resident_modules) = (report.instances, report.resident_modules);
                    home.reported(report);
                    self.standing.send_modify(|standing| {
                        standing.instances = instances;
                        standing.resident_modules = resident_modules;
                        standing.reports += 1;
                    });
                }
                ToControl::Lines(lines) => home.lines(lines),
            }
        }
    }
}

/// Starts a thread for each of so many pairs of sockets, which signs what is asked for over it until the other end is
/// closed; gives those ends.
fn sign_for(home: &Arc<impl Home>, pairs: u32) -> io::Result<Vec<OwnedFd>> {
    let mut theirs = Vec::new();
    for number in 0..pairs {
        let (ours, other) = signing::pair()?;
        theirs.push(other);
        let home = Arc::clone(home);
        std::thread::Builder::new()
            .name(format!("signs-{number}"))
            .spawn(move || {
                if let Err(error) = signing::answer(&ours, |request| home.sign(request)) {
                    let error = logging::chain(&error);
                    tracing::warn!(error, "no more signatures over one of the worker's sockets");
                }
            })?;
    }
    Ok(theirs)
}

/// The signal of a death that native code can bring about by itself. Not SIGKILL, which comes from outside: the
/// kernel's when memory runs out, an operator's, or this process's own.
fn crash(status: std::process::ExitStatus) -> Option<Signal> {
    let signal = Signal::from_named_raw(status.signal()?)?;
    [
        Signal::SEGV,
        Signal::BUS,
        Signal::ILL,
        Signal::FPE,
        Signal::ABORT,
        Signal::SYS,
        Signal::TRAP,
    ]
    .contains(&signal)
    .then_some(signal)
}

/// Why there is no worker at the moment.
#[derive(Debug, thiserror::Error)]
enum WorkerFailure {
    #[error("the worker process cannot be started or waited for")]
    Start(#[source] io::Error),
    #[error("the link to the worker broke")]
    Link(#[from] FrameError),
    #[error("the worker did not begin to serve in time")]
    NotReady,
    #[error("the worker was given up")]
    GivenUp,
}

async fn send_all(mut writer: LinkWriter, mut queue: mpsc::Receiver<Outgoing>) -> WorkerFailure {
    while let Some(Outgoing { message, file }) = queue.recv().await {
        let files: Vec<_> = file.iter().map(AsFd::as_fd).collect();
        if let Err(error) = writer.send(&message, &files).await {
            return error.into();
        }
    }
    WorkerFailure::GivenUp
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::confine::{Orders, Strictness};
    use crate::engine::EngineShape;

    struct Nobody;

    impl Home for Nobody {
        fn whole_table(&self) -> (u64, Vec<TableChange>) {
            (1, Vec::new())
        }
        fn artifact_needed(self: Arc<Self>, _name: ArtifactName) {}
        fn reported(&self, _report: WorkerReport) {}
        fn sign(&self, _request: &SignRequest) -> Option<Vec<u8>> {
            None
        }
        fn lines(&self, _lines: Vec<GuestLine>) {}
        fn worker_started(&self, _pid: u32) {}
        fn worker_changed(&self, _worker: Option<InForce>) {}
        fn worker_crashed(&self, _signal: Signal, _seats: &[Seated]) {}
        fn serve_calls(self: Arc<Self>, _socket: UnixStream) -> io::Result<()> {
            Ok(())
        }
        fn worker_restarted(&self) {}
    }

    fn start() -> WorkerStart {
        WorkerStart {
            shape: EngineShape::fit(1, 64 << 20, 1 << 47, false).unwrap(),
            threads: 1,
            listeners_per_thread: 1,
            connections_max: 1,
            header_read_timeout_ms: 1,
            header_bytes_max: 1,
            header_count_max: 1,
            trusted_proxies: Vec::new(),
            drain_ms_max: 1,
            resident_max: 1,
            guest_memory_bytes_max: 1,
            code_bytes_max: 1,
            buffer_bytes_max: 1,
            client_connections_max: 1,
            orders: Orders {
                strictness: Strictness::Off,
                user: None,
            },
            guest_clock_resolution_us: 1,
            authorities: Vec::new(),
            log_level: "error".to_owned(),
            log_json: false,
            tls_listeners_per_thread: 0,
            signing_sockets: 1,
            tls12: true,
            handshakes_max: 1,
            handshake_timeout_ms: 1,
            streams_max: 1,
        }
    }

    #[tokio::test]
    async fn a_worker_that_hangs_before_it_is_ready_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let hangs = folder.path().join("hangs");
        std::fs::write(&hangs, "#!/bin/sh\nexec sleep 60\n").unwrap();
        std::fs::set_permissions(&hangs, std::fs::Permissions::from_mode(0o700)).unwrap();
        let listeners = Listeners::bind(&[([127, 0, 0, 1], 0).into()], &[], 1).unwrap();
        let backoff = Backoff {
            min: Duration::from_millis(1),
            max: Duration::from_millis(1),
        };
        let artifacts = OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
        let mut supervisor = Supervisor::new(hangs, start(), artifacts, listeners, backoff);
        supervisor.start_max = Duration::from_millis(50);
        let mut standing = supervisor.standing.subscribe();
        let stop = CancellationToken::new();
        let running = supervisor.run(Arc::new(Nobody), stop.clone());
        let replaced = async {
            let twice = standing.wait_for(|standing| standing.restarts == 2);
            let in_time = tokio::time::timeout(Duration::from_secs(20), twice).await;
            assert!(in_time.is_ok_and(|seen| seen.is_ok()));
        };
        tokio::select! {
            () = running => panic!("supervision ended"),
            () = replaced => {}
        }
    }
}
