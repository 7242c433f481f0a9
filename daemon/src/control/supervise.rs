//! The worker process, from control's side: started, told, listened to, replaced.
//!
//! One worker serves. Another one is started beside it when its settings change: once that one accepts on the same
//! sockets, the first accepts no more and finishes what it has. Where the new one does not come up, the first goes on.

mod linked;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control_api::view::{Confinement, WorkerStatus};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use linked::{Linked, Outgoing, send_to};
use rustix::process::Signal;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::service::Pulse;
use super::sockets::Listeners;
use crate::confine::InForce;
use crate::link::flight::{FlightRecorder, Seated};
use crate::link::signing::{self, SignRequest};
use crate::link::{
    self, ArtifactName, Counts, FrameBounds, FrameError, GuestLine, LinkReader, LinkWriter,
    Supplied, TableChange, ToControl, ToWorker, WorkerReport, WorkerStart, split,
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

/// Workers at once, those that drain included. One more waits until one has ended.
const WORKERS_MAX: usize = 4;
/// Orders for a new worker that may wait.
const ORDERS_MAX: usize = 4;

/// What the supervisor needs of the rest of control.
pub(super) trait Home: Send + Sync + 'static {
    /// The whole table with its revision. Called while no change can be published.
    fn whole_table(&self) -> (u64, Vec<TableChange>);
    /// A worker needs an artifact: answer through [`Supervisor::artifact`].
    fn artifact_needed(self: Arc<Self>, name: ArtifactName);
    /// Figures from a worker: the one that `serves`, or one beside it.
    fn reported(&self, report: WorkerReport, serves: bool);
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
    /// What the next worker is started with.
    start: Mutex<WorkerStart>,
    /// The folder of artifacts, which the worker may read.
    artifacts: OwnedFd,
    listeners: Listeners,
    backoff: Mutex<Backoff>,
    start_max: Duration,
    workers: Mutex<Vec<Linked>>,
    /// The number of the worker that serves, or that is started to.
    serving: AtomicU64,
    /// Whether the sockets were passed on to another node, which accepts on them.
    passed_on: AtomicBool,
    standing: watch::Sender<Standing>,
    orders: mpsc::Sender<Order>,
    /// Until it runs.
    coming: Mutex<Option<mpsc::Receiver<Order>>>,
    pulse: Pulse,
}

/// A worker with other settings is wanted.
struct Order {
    start: WorkerStart,
    done: oneshot::Sender<Result<(), String>>,
}

/// A worker, as the one who runs them all knows it.
struct Post {
    number: u64,
    began: Instant,
    relieve: CancellationToken,
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
    user: Option<u32>,
    ready: bool,
    in_force: InForce,
    restarts: u64,
    table_revision: u64,
    instances: u64,
    resident_modules: u64,
    /// Counts reports, so that one that was asked for can be waited for.
    reports: u64,
}

impl Supervisor {
    pub(super) fn new(
        program: PathBuf,
        start: WorkerStart,
        artifacts: OwnedFd,
        listeners: Listeners,
        backoff: Backoff,
    ) -> Self {
        let (orders, coming) = mpsc::channel(ORDERS_MAX);
        Self {
            program,
            start: Mutex::new(start),
            artifacts,
            listeners,
            backoff: Mutex::new(backoff),
            start_max: START_MAX,
            workers: Mutex::default(),
            serving: AtomicU64::new(0),
            passed_on: AtomicBool::new(false),
            standing: watch::Sender::default(),
            orders,
            coming: Mutex::new(Some(coming)),
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

    /// The user that the worker runs as, once it does.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(super) async fn worker_user(&self) -> u32 {
        let mut standing = self.standing.subscribe();
        let there = standing.wait_for(|standing| standing.user.is_some()).await;
        // The sender lives as long as `self`.
        there.ok().and_then(|standing| standing.user).unwrap_or(0)
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
    pub(super) fn artifact(&self, name: ArtifactName, supplied: Result<Supplied, String>) {
        let (files, refused) = match supplied {
            Ok(Supplied { artifact, upload }) => {
                (std::iter::once(artifact).chain(upload).collect(), None)
            }
            Err(why) => (Vec::new(), Some(why)),
        };
        let message = ToWorker::Artifact { name, refused };
        self.send_each(std::iter::once(Outgoing { message, files }));
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
        let mut workers = self.workers();
        for message in messages {
            send_to(&mut workers, message);
        }
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Linked>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serves(&self, number: u64) -> bool {
        self.serving.load(Ordering::Relaxed) == number
    }

    /// Notes what is known of a worker, and shows it where that is the one that serves.
    fn note(&self, number: u64, note: impl FnOnce(&mut Linked)) {
        let mut workers = self.workers();
        if let Some(worker) = workers.iter_mut().find(|worker| worker.number == number) {
            note(worker);
        }
        self.show(&workers);
    }

    fn show(&self, workers: &[Linked]) {
        let serving = workers.iter().find(|worker| self.serves(worker.number));
        self.standing.send_modify(|standing| match serving {
            Some(worker) => worker.show(standing),
            None => {
                *standing = Standing {
                    restarts: standing.restarts,
                    reports: standing.reports,
                    ..Standing::default()
                };
            }
        });
    }

    /// What workers are started with.
    pub(super) fn start(&self) -> WorkerStart {
        self.start
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How long one waits that died early, from the next on.
    pub(super) fn set_backoff(&self, backoff: Backoff) {
        *self.backoff.lock().unwrap_or_else(PoisonError::into_inner) = backoff;
    }

    /// Others accept on the same sockets from here on: what waits there is left to them.
    pub(super) fn pass_on(&self) {
        self.passed_on.store(true, Ordering::Relaxed);
    }

    /// Has a worker with these settings take the place of the one that serves, which finishes what it has. Returns when
    /// the new one accepts.
    ///
    /// # Errors
    /// Why there is no new one: the old one goes on.
    ///
    /// # Cancel safety
    /// Dropped, the new worker takes the place all the same, or does not.
    pub(super) async fn replace(&self, start: WorkerStart) -> Result<(), String> {
        let (done, outcome) = oneshot::channel();
        let order = Order { start, done };
        let ends = || "the node is ending".to_owned();
        self.orders.send(order).await.map_err(|_| ends())?;
        outcome.await.unwrap_or_else(|_| Err(ends()))
    }

    /// Keeps a worker running until `shutdown`, then drains all that there are. `follows`: those of another process accept
    /// while the first comes up.
    ///
    /// # Cancel safety
    /// Dropped, it kills them.
    pub(super) async fn run(
        &self,
        home: Arc<impl Home>,
        mut follows: bool,
        shutdown: CancellationToken,
    ) {
        let coming = self
            .coming
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut orders) = coming else { return };
        let (readied, mut ready) = mpsc::channel(WORKERS_MAX);
        let mut living = FuturesUnordered::new();
        let mut last_number = 0;
        let mut post = || {
            last_number += 1;
            Post {
                number: last_number,
                began: Instant::now(),
                relieve: CancellationToken::new(),
            }
        };
        let begin = |post: &Post, start| {
            self.one_worker(
                &home,
                post.number,
                start,
                post.relieve.clone(),
                readied.clone(),
            )
        };
        let mut serving: Option<Post> = None;
        let mut following: Option<(Post, Order)> = None;
        let mut wait = Duration::ZERO;
        let mut begin_at = Some(tokio::time::Instant::now());
        let mut is_ending = false;
        let mut beat = self.pulse.beat();
        loop {
            if is_ending && living.is_empty() {
                return;
            }
            let rested = async {
                match begin_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let may_follow = following.is_none() && !is_ending && living.len() < WORKERS_MAX;
            tokio::select! {
                () = shutdown.cancelled(), if !is_ending => {
                    (is_ending, begin_at) = (true, None);
                    self.listeners.close();
                    let posts = serving.iter().chain(following.iter().map(|(post, _)| post));
                    posts.for_each(|post| post.relieve.cancel());
                }
                () = rested => {
                    begin_at = None;
                    let post = post();
                    self.serving.store(post.number, Ordering::Relaxed);
                    let start = WorkerStart {
                        follows: std::mem::take(&mut follows),
                        ..self.start()
                    };
                    living.push(begin(&post, start));
                    serving = Some(post);
                }
                Some(order) = orders.recv(), if may_follow && self.standing.borrow().ready => {
                    let post = post();
                    let start = WorkerStart {
                        follows: true,
                        ..order.start.clone()
                    };
                    living.push(begin(&post, start));
                    following = Some((post, order));
                }
                Some((number, in_force)) = ready.recv() => {
                    if following.as_ref().is_some_and(|(post, _)| post.number == number)
                        && let Some((post, order)) = following.take()
                    {
                        *self.start.lock().unwrap_or_else(PoisonError::into_inner) = order.start;
                        self.serving.store(number, Ordering::Relaxed);
                        self.note(number, |_| {});
                        if let Some(relieved) = serving.replace(post) {
                            relieved.relieve.cancel();
                        }
                        let _ = order.done.send(Ok(()));
                    }
                    if self.serves(number) {
                        home.worker_changed(Some(in_force));
                    }
                }
                Some((number, outcome)) = living.next(), if !living.is_empty() => {
                    let failed_to_follow = following.take_if(|(post, _)| post.number == number);
                    if let Some(post) = serving.take_if(|post| post.number == number) {
                        home.worker_changed(None);
                        if is_ending {
                            continue;
                        }
                        say_why(&outcome);
                        home.worker_restarted();
                        self.standing.send_modify(|standing| standing.restarts += 1);
                        let backoff = *self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
                        wait = if post.began.elapsed() >= LIVED_WELL {
                            Duration::ZERO
                        } else {
                            (wait * 2).clamp(backoff.min, backoff.max)
                        };
                    } else if let Some((_, order)) = failed_to_follow {
                        let why = match &outcome {
                            Ok(status) => format!("it ended with {status}"),
                            Err(error) => logging::chain(error),
                        };
                        tracing::error!(why, "a new worker does not come up; the old one goes on");
                        let _ = order.done.send(Err(why));
                    } else if let Err(error) = &outcome {
                        let error = logging::chain(error);
                        tracing::warn!(error, "a worker that was relieved did not end well");
                    }
                    // One that is to follow takes the place when it is ready.
                    let nobody = serving.is_none() && following.is_none() && !is_ending;
                    if nobody && begin_at.is_none() {
                        begin_at = Some(tokio::time::Instant::now() + wait);
                    }
                }
                () = beat.when_asked() => {}
            }
        }
    }

    /// One worker's life, from its start to its end.
    async fn one_worker(
        &self,
        home: &Arc<impl Home>,
        number: u64,
        start: WorkerStart,
        relieve: CancellationToken,
        readied: mpsc::Sender<(u64, InForce)>,
    ) -> (u64, Result<std::process::ExitStatus, WorkerFailure>) {
        let outcome = self.life(home, number, start, relieve, readied).await;
        let mut workers = self.workers();
        workers.retain(|worker| worker.number != number);
        self.show(&workers);
        (number, outcome)
    }

    async fn life(
        &self,
        home: &Arc<impl Home>,
        number: u64,
        start: WorkerStart,
        relieve: CancellationToken,
        readied: mpsc::Sender<(u64, InForce)>,
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
        home.worker_started(pid);
        let (reader, mut writer) =
            split(ours, FrameBounds::CONTROL).map_err(WorkerFailure::Start)?;
        let signing = sign_for(home, start.signing_sockets).map_err(WorkerFailure::Start)?;
        let (calls, callers) = UnixStream::pair().map_err(WorkerFailure::Start)?;
        Arc::clone(home)
            .serve_calls(calls)
            .map_err(WorkerFailure::Start)?;
        let drain_max = Duration::from_millis(start.drain_ms_max) + DRAIN_GRACE;
        let listeners = self.listeners.sockets();
        let mut files: Vec<BorrowedFd<'_>> =
            vec![self.artifacts.as_fd(), record.as_fd(), callers.as_fd()];
        files.extend(listeners.iter().map(AsFd::as_fd));
        files.extend(signing.iter().map(AsFd::as_fd));
        writer.send(&ToWorker::Start(start), &files).await?;
        // The worker has its own: with their end, those who answer see theirs.
        drop(files);
        drop(listeners);
        drop(callers);
        drop(signing);
        let queue = self.enter(home, number, pid);
        let (ready, mut is_ready) = watch::channel(false);
        let mut sending = std::pin::pin!(send_all(writer, queue));
        let receiving = self.receive_all(reader, home, number, &ready, readied);
        let mut receiving = std::pin::pin!(receiving);
        let mut drain_until = None;
        let start_until = tokio::time::Instant::now() + self.start_max;
        let outcome = loop {
            let not_ready = async {
                let ready = is_ready.wait_for(|ready| *ready);
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
                () = relieve.cancelled(), if drain_until.is_none() => {
                    // Ours are closed by then where nobody follows, so that no more connections come.
                    let last = self.listeners.are_closed()
                        && !self.listeners.are_others()
                        && !self.passed_on.load(Ordering::Relaxed);
                    self.tell_one(number, ToWorker::Drain { last });
                    drain_until = Some(tokio::time::Instant::now() + drain_max);
                }
                () = not_ready, if drain_until.is_none() => break Err(WorkerFailure::NotReady),
                () = too_long => {
                    tracing::warn!(pid, "the worker did not end in its drain time; killing it");
                    break Err(WorkerFailure::GivenUp);
                }
            }
        };
        self.note(number, |worker| {
            (worker.queue, worker.in_force) = (None, None)
        });
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

    fn tell_one(&self, number: u64, message: ToWorker) {
        let mut workers = self.workers();
        let at = workers.iter().position(|worker| worker.number == number);
        if let Some(worker) = at.and_then(|at| workers.get_mut(at..=at)) {
            send_to(worker, message.into());
        }
    }

    /// From here on the worker gets every change; the whole table as of now comes first.
    fn enter(&self, home: &Arc<impl Home>, number: u64, pid: u32) -> mpsc::Receiver<Outgoing> {
        let mut workers = self.workers();
        // Publishing takes the same lock, and does so before the change lock is given back: what is in this table is
        // not published again, and what is not is published after it.
        let (revision, changes) = home.whole_table();
        let table: Vec<_> = link::table(revision, true, changes).collect();
        let (sender, queue) = mpsc::channel(WAITING_MESSAGES_MAX + table.len());
        for message in table {
            // There is room: the queue was made above, and is empty.
            drop(sender.try_send(message.into()));
        }
        workers.push(Linked::new(number, pid, sender));
        self.show(&workers);
        queue
    }

    async fn receive_all(
        &self,
        mut reader: LinkReader,
        home: &Arc<impl Home>,
        number: u64,
        ready: &watch::Sender<bool>,
        readied: mpsc::Sender<(u64, InForce)>,
    ) -> WorkerFailure {
        let mut counts = Counts::default();
        loop {
            let message = match reader.receive::<ToControl>().await {
                Ok((message, _)) => message,
                Err(error) => return error.into(),
            };
            match message {
                ToControl::Became { user } => {
                    self.note(number, |worker| worker.user = Some(user));
                }
                ToControl::Ready(in_force) => {
                    self.note(number, |worker| worker.in_force = Some(in_force));
                    tracing::info!(
                        number,
                        filter = in_force.filter.word(),
                        landlock_abi = in_force.landlock_abi,
                        user = in_force.user,
                        "the worker is ready"
                    );
                    ready.send_replace(true);
                    // One says so once: there is room for all there are.
                    let _ = readied.try_send((number, in_force));
                }
                ToControl::TableApplied { revision } => {
                    self.note(number, |worker| worker.table_revision = revision);
                }
                ToControl::NeedArtifact { name } => Arc::clone(home).artifact_needed(name),
                ToControl::Counts(piece) => counts.keep(piece),
                ToControl::Report(report) => {
                    let report = counts.complete(report);
                    let (instances, resident_modules) = (report.instances, report.resident_modules);
                    let serves = self.serves(number);
                    home.reported(report, serves);
                    self.note(number, |worker| {
                        (worker.instances, worker.resident_modules) = (instances, resident_modules);
                    });
                    if serves {
                        self.standing.send_modify(|standing| standing.reports += 1);
                    }
                }
                ToControl::Lines(lines) => home.lines(lines),
            }
        }
    }
}

/// Why the worker that served is no more.
fn say_why(outcome: &Result<std::process::ExitStatus, WorkerFailure>) {
    match outcome {
        Ok(status) if status.signal() == Some(Signal::SYS.as_raw()) => tracing::error!(
            %status,
            "the worker asked the kernel for something that is not on its list; replacing it. The kernel's \
             audit log has the number of the system call (type=1326); worker.confinement = \"log\" lets it through"
        ),
        Ok(status) => tracing::error!(%status, "the worker died; replacing it"),
        Err(error) => tracing::error!(
            error = logging::chain(error),
            "the worker failed; replacing it"
        ),
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
    while let Some(Outgoing { message, files }) = queue.recv().await {
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
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
        fn reported(&self, _report: WorkerReport, _serves: bool) {}
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
            follows: false,
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
        let running = supervisor.run(Arc::new(Nobody), false, stop.clone());
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
