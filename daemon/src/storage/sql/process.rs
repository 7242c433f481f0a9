//! Control's end of one tenant's process: starts it, carries calls and answers, kills it when it does not answer.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::message::{Answer, Bounds, Call, Op, Start};
use super::registry::Place;
use crate::durable::create_private_dir;
use crate::link::sql::{SqlFault, SqlRows, SqlValue};
use crate::link::{self, FrameBounds, FrameError, LinkReader, LinkWriter};

/// How long after its own bound a statement's answer may come, before the process is killed: one step of a statement can
/// be long, and a disk slow.
const GRACE: Duration = Duration::from_secs(2);
/// How long a process stays with no connection open.
const IDLE: Duration = Duration::from_secs(10);
/// How often both are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// What its log and its standard libraries are given of allocator arenas: each takes memory of its own.
const ARENAS: &str = "2";

/// A call on its way, and who waits.
pub(super) struct Wanted {
    connection: u64,
    op: Op,
    /// When it is overdue.
    until: Instant,
    /// `None` where nobody is answered.
    reply: Option<oneshot::Sender<Result<SqlRows, SqlFault>>>,
}

/// One tenant's process.
pub(super) struct Process {
    calls: mpsc::UnboundedSender<Wanted>,
    next_connection: AtomicU64,
    /// Connections that are open or about to be.
    pub(super) open: AtomicU64,
    /// One of them has closed.
    pub(super) room: Notify,
    /// What it was told first.
    pub(super) start: Start,
    /// Tells it to end.
    pub(super) end: CancellationToken,
    /// It has ended.
    pub(super) ended: CancellationToken,
}

/// A connection of a guest's, or of an operator's. Closes when it is dropped.
pub struct SqlConnection {
    process: Arc<Process>,
    id: u64,
    bounds: Bounds,
    /// A statement is under way.
    busy: AtomicBool,
    closed: AtomicBool,
}

impl Process {
    /// One that is about to start, and what [`run`] takes.
    pub(super) fn new(start: Start) -> (Arc<Self>, mpsc::UnboundedReceiver<Wanted>) {
        let (calls, wanted) = mpsc::unbounded_channel();
        let process = Self {
            calls,
            next_connection: AtomicU64::new(0),
            open: AtomicU64::new(0),
            room: Notify::new(),
            start,
            end: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        (Arc::new(process), wanted)
    }

    async fn call(&self, connection: u64, op: Op, ms_max: u64) -> Result<SqlRows, SqlFault> {
        let (reply, answer) = oneshot::channel();
        let wanted = Wanted {
            connection,
            op,
            until: Instant::now() + Duration::from_millis(ms_max) + GRACE,
            reply: Some(reply),
        };
        let sent = self.calls.send(wanted);
        sent.map_err(|_| SqlFault::InvalidConnection)?;
        answer.await.unwrap_or(Err(SqlFault::InvalidConnection))
    }
}

impl SqlConnection {
    /// A connection to a file in the process's folder. `process.open` counts it already.
    ///
    /// # Errors
    /// [`SqlFault`]
    ///
    /// # Cancel safety
    /// Dropped, the connection is closed should it still be opened.
    pub(super) async fn open(
        process: Arc<Process>,
        file: String,
        bounds: Bounds,
    ) -> Result<Self, SqlFault> {
        let connection = Self {
            id: process.next_connection.fetch_add(1, Ordering::Relaxed),
            process,
            bounds,
            busy: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        let op = Op::Open { file, bounds };
        let opening = connection
            .process
            .call(connection.id, op, bounds.statement_ms_max);
        opening.await?;
        Ok(connection)
    }

    /// Carries out one statement.
    ///
    /// # Errors
    /// [`SqlFault`]; [`SqlFault::InvalidConnection`] once it is closed, or its process ended.
    ///
    /// # Cancel safety
    /// Dropped, the statement may be carried out or not.
    pub async fn execute(
        &self,
        statement: String,
        parameters: Vec<SqlValue>,
    ) -> Result<SqlRows, SqlFault> {
        if self.closed.load(Ordering::Acquire) {
            return Err(SqlFault::InvalidConnection);
        }
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err(SqlFault::Io(
                "another statement of the connection is under way".to_owned(),
            ));
        }
        let op = Op::Execute {
            statement,
            parameters,
        };
        let called = self.process.call(self.id, op, self.bounds.statement_ms_max);
        let outcome = called.await;
        self.busy.store(false, Ordering::Release);
        outcome
    }

    /// Closes it: ends what is under way, and rolls back what is not committed.
    pub fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // One that has ended has nothing open.
        let _ = self.process.calls.send(Wanted {
            connection: self.id,
            op: Op::Close,
            until: Instant::now(),
            reply: None,
        });
        self.process.open.fetch_sub(1, Ordering::AcqRel);
        // Kept for the next who waits, if nobody does.
        self.process.room.notify_one();
    }
}

impl Drop for SqlConnection {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a process is started as.
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) start: Start,
}

/// Who waits for answers, and until when.
#[derive(Default)]
struct Waiting(Mutex<Replies>);

type Replies = HashMap<u64, (Instant, oneshot::Sender<Result<SqlRows, SqlFault>>)>;

impl Waiting {
    fn all(&self) -> MutexGuard<'_, Replies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The life of a process, until it is told to end, has nothing to do, or does not answer. It is gone when this returns;
/// those who still wait are told.
pub(super) async fn run(
    program: Program,
    process: Arc<Process>,
    wanted: mpsc::UnboundedReceiver<Wanted>,
    place: Place,
) {
    let tenant = program.folder.clone();
    match start(program).await {
        Ok((child, link)) => {
            let why = serve(&process, wanted, link).await;
            // Nobody finds it from here on.
            place.leave();
            let status = end(child).await;
            if let Some(why) = why {
                tracing::warn!(folder = %tenant.display(), ?status, why, "a tenant's databases were closed");
            }
        }
        Err(error) => {
            tracing::error!(folder = %tenant.display(), %error, "a tenant's databases cannot be opened");
            place.leave();
        }
    }
    process.ended.cancel();
}

async fn start(program: Program) -> io::Result<(Child, (LinkReader, LinkWriter))> {
    let Program {
        path,
        folder,
        start,
    } = program;
    let made = folder.clone();
    tokio::task::spawn_blocking(move || create_private_dir(&made)).await??;
    let (child, socket) = spawn(&path, &folder)?;
    let (reader, mut writer) = link::split(socket, FrameBounds::SERVICES)?;
    let sent = writer.send(&start, &[]).await;
    sent.map_err(io::Error::other)?;
    Ok((child, (reader, writer)))
}

fn spawn(path: &Path, folder: &Path) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(path);
    command
        .arg("databases")
        .env_clear()
        .env("MALLOC_ARENA_MAX", ARENAS)
        .current_dir(folder)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let child = command.spawn()?;
    // `command` holds the child's end; dropped here, so that the child's death closes the link.
    drop(command);
    Ok((child, ours))
}

/// Carries calls and answers; gives why it stopped where that is worth a line.
async fn serve(
    process: &Process,
    mut wanted: mpsc::UnboundedReceiver<Wanted>,
    (mut reader, mut writer): (LinkReader, LinkWriter),
) -> Option<String> {
    let waiting = Waiting::default();
    let send = async {
        let mut id = 0;
        while let Some(Wanted {
            connection,
            op,
            until,
            reply,
        }) = wanted.recv().await
        {
            id += 1;
            if let Some(reply) = reply {
                waiting.all().insert(id, (until, reply));
            }
            let bytes = op.bytes();
            match writer.send(&Call { id, connection, op }, &[]).await {
                Err(FrameError::TooLarge { .. }) => {
                    if let Some((_, reply)) = waiting.all().remove(&id) {
                        let why = format!("{bytes} bytes in one call are too many");
                        drop(reply.send(Err(SqlFault::Io(why))));
                    }
                }
                sent => sent?,
            }
        }
        Ok::<(), FrameError>(())
    };
    let receive = async {
        loop {
            let (Answer { id, outcome }, _) = reader.receive::<Answer>().await?;
            if let Some((_, reply)) = waiting.all().remove(&id) {
                drop(reply.send(outcome));
            }
        }
        #[expect(unreachable_code, reason = "says what the block gives")]
        Ok::<(), FrameError>(())
    };
    let why = tokio::select! {
        ended = send => ended.err().map(|error| error.to_string()),
        ended = receive => ended.err().map(|error| error.to_string()),
        why = look(process, &waiting) => why.map(str::to_owned),
        () = process.end.cancelled() => None,
    };
    waiting.all().clear();
    why
}

/// Ends when the process should: it was idle for a while, or an answer is overdue.
async fn look(process: &Process, waiting: &Waiting) -> Option<&'static str> {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut used = Instant::now();
    loop {
        ticks.tick().await;
        let now = Instant::now();
        if waiting.all().values().any(|(until, _)| *until < now) {
            return Some("a statement did not end, and the process was killed");
        }
        if process.open.load(Ordering::Acquire) > 0 {
            used = now;
        } else if now.duration_since(used) >= IDLE {
            return None;
        }
    }
}

/// Kills the process if it still lives, and waits until it is gone.
async fn end(mut child: Child) -> io::Result<std::process::ExitStatus> {
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    child.start_kill()?;
    child.wait().await
}
