//! The process that has one tenant's databases open: a thread for each connection, and one that hears control.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use rusqlite::Connection;
use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::connection::Open;
use super::message::{Answer, Bounds, Call, Op, Start};
use super::turn::Turn;
use super::watch::Watch;
use crate::confine;
use crate::link::sql::{SqlFault, SqlRows, SqlValue};
use crate::link::{self, FrameBounds, FrameError, LinkReader, LinkWriter};

/// Calls of one connection that wait; its guest makes one after another.
const CALLS_WAITING_MAX: usize = 4;
/// Threads for each connection that there may be: its own, and that of one before it which has not ended yet.
const THREADS_A_CONNECTION: u64 = 2;
/// The stack of a connection's thread, in bytes: SQLite's parser and its triggers recurse, within limits.
const STACK_BYTES: usize = 2 << 20;
/// What the process may write to beside SQLite's memory and stacks, in bytes.
const DATA_MARGIN_BYTES: u64 = 64 << 20;
/// Open files: three for each database, and the link.
const FILES_MAX: u64 = 2200;
/// How far it stands back for what accepts and answers (nice(2)).
const NICENESS: i32 = 5;
/// Least and most of a connection's cache, in KiB.
const CACHE_KIB: (u64, u64) = (64, 2048);

/// The whole life of the process: `littorald databases`, with a link as its standard input and the tenant's folder as its
/// working directory.
///
/// Not for people: without a link it ends at once.
#[must_use]
pub fn child_main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run()),
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("databases: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (mut reader, writer) = link::split(socket, FrameBounds::SERVICES)?;
    let (start, _) = reader.receive::<Start>().await.map_err(io::Error::other)?;
    // A file that would grow too large fails its write, and ends nothing.
    let _too_large = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
    bind(&start)?;
    let folder = File::open(".")?;
    let mut in_force = confine::give_up_privileges(start.orders).map_err(io::Error::other)?;
    confine::close_files_but(start.orders, folder.as_fd(), &mut in_force)
        .map_err(io::Error::other)?;
    drop(folder);
    confine::filter_databases(start.orders, &mut in_force).map_err(io::Error::other)?;
    bound_memory(start.memory_bytes_max).map_err(io::Error::other)?;

    let (answers, outgoing) = unbounded_channel();
    let served = Served::new(&start, answers);
    let talked = tokio::select! {
        talked = hear(reader, served) => talked,
        talked = tell(outgoing, writer) => talked,
    };
    match talked {
        Ok(()) | Err(FrameError::Closed) => Ok(()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Binds this process, for good, before a statement is read.
fn bind(start: &Start) -> io::Result<()> {
    // After the compile child, before control. May be forbidden.
    if let Ok(mut file) = File::options().write(true).open("/proc/self/oom_score_adj") {
        let _ = file.write_all(b"500");
    }
    let _ = nice(NICENESS);
    let threads_max = start.connections_max.saturating_mul(THREADS_A_CONNECTION);
    let stacks = threads_max.saturating_mul(STACK_BYTES as u64);
    let data = start
        .memory_bytes_max
        .saturating_add(stacks)
        .saturating_add(DATA_MARGIN_BYTES);
    for (resource, most) in [
        (Resource::Nofile, FILES_MAX),
        (Resource::Fsize, start.file_bytes_max),
        (Resource::Data, data),
    ] {
        // What is stricter already stays.
        let most = getrlimit(resource)
            .maximum
            .map_or(most, |have| have.min(most));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)?;
    }
    Ok(())
}

/// SQLite's memory, of all connections together: set by one, it holds for the process.
fn bound_memory(bytes_max: u64) -> rusqlite::Result<()> {
    let connection = Connection::open_in_memory()?;
    connection.pragma_update_and_check(None, "hard_heap_limit", bytes_max, |_| Ok(()))
}

async fn hear(mut reader: LinkReader, mut served: Served) -> Result<(), FrameError> {
    loop {
        let (call, _) = reader.receive::<Call>().await?;
        served.take(call);
    }
}

async fn tell(
    mut answers: UnboundedReceiver<Answer>,
    mut writer: LinkWriter,
) -> Result<(), FrameError> {
    while let Some(answer) = answers.recv().await {
        let id = answer.id;
        match writer.send(&answer, &[]).await {
            Err(FrameError::TooLarge { .. }) => {
                let outcome = Err(SqlFault::Io("the rows are too many to be sent".to_owned()));
                writer.send(&Answer { id, outcome }, &[]).await?;
            }
            sent => sent?,
        }
    }
    Ok(())
}

/// Something for a connection's thread.
struct Job {
    id: u64,
    statement: String,
    parameters: Vec<SqlValue>,
}

/// The connections that are open.
struct Served {
    connections: HashMap<u64, (mpsc::SyncSender<Job>, Arc<Watch>)>,
    connections_max: u64,
    /// Threads that are there, those that are about to end included.
    threads: Arc<AtomicU64>,
    cache_kib: u64,
    turn: Arc<Turn>,
    answers: UnboundedSender<Answer>,
}

impl Served {
    fn new(start: &Start, answers: UnboundedSender<Answer>) -> Self {
        // Half of the memory for caches, however many there are.
        let a_connection = (start.memory_bytes_max >> 11) / start.connections_max.max(1);
        Self {
            connections: HashMap::new(),
            connections_max: start.connections_max,
            threads: Arc::default(),
            cache_kib: a_connection.clamp(CACHE_KIB.0, CACHE_KIB.1),
            turn: Arc::default(),
            answers,
        }
    }

    fn take(&mut self, call: Call) {
        let Call { id, connection, op } = call;
        let refused = match op {
            Op::Open { file, bounds } => self.open(id, connection, &file, bounds).err(),
            Op::Execute {
                statement,
                parameters,
            } => {
                let job = Job {
                    id,
                    statement,
                    parameters,
                };
                match self.connections.get(&connection) {
                    None => Some(SqlFault::InvalidConnection),
                    Some((jobs, _)) => jobs.try_send(job).err().map(|error| match error {
                        mpsc::TrySendError::Full(_) => SqlFault::Io(
                            "too many calls of the connection are under way".to_owned(),
                        ),
                        mpsc::TrySendError::Disconnected(_) => SqlFault::InvalidConnection,
                    }),
                }
            }
            Op::Close => {
                if let Some((_, watch)) = self.connections.remove(&connection) {
                    watch.close();
                }
                None
            }
        };
        if let Some(fault) = refused {
            // Nobody is told once the link is gone.
            let _ = self.answers.send(Answer {
                id,
                outcome: Err(fault),
            });
        }
    }

    /// Starts a connection's thread, which answers.
    fn open(
        &mut self,
        id: u64,
        connection: u64,
        file: &str,
        bounds: Bounds,
    ) -> Result<(), SqlFault> {
        // Those that were closed may take a moment to end, and are not the tenant's any more.
        let threads_max = self.connections_max.saturating_mul(THREADS_A_CONNECTION);
        if self.connections.len() as u64 >= self.connections_max
            || self.threads.load(Ordering::Acquire) >= threads_max
        {
            return Err(SqlFault::Io(format!(
                "the tenant has {} connections to its databases open; allowed: as many",
                self.connections_max
            )));
        }
        make(Path::new(file), bounds.databases_max)?;
        let (jobs, queue) = mpsc::sync_channel(CALLS_WAITING_MAX);
        let watch = Arc::new(Watch::new(Arc::clone(&self.turn), Instant::now()));
        let serve = Connected {
            file: PathBuf::from(file),
            bounds,
            cache_kib: self.cache_kib,
            watch: Arc::clone(&watch),
            answers: self.answers.clone(),
        };
        self.threads.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(&self.threads));
        std::thread::Builder::new()
            .name("connection".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                serve.run(id, &queue);
                drop(place);
            })
            .map_err(|error| SqlFault::Io(format!("no thread for the connection: {error}")))?;
        self.connections.insert(connection, (jobs, watch));
        Ok(())
    }
}

/// A thread that is there.
struct Place(Arc<AtomicU64>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Makes an empty database where there is none, if the tenant may have one more. Called from one thread: none comes
/// between counting and making.
fn make(file: &Path, databases_max: u64) -> Result<(), SqlFault> {
    if file.exists() {
        return Ok(());
    }
    let failed = |error: io::Error| SqlFault::Io(format!("the database cannot be made: {error}"));
    let is_database = |entry: &io::Result<std::fs::DirEntry>| {
        let path = entry.as_ref().map(std::fs::DirEntry::path);
        path.is_ok_and(|path| {
            path.extension()
                .is_some_and(|extension| extension == super::registry::EXTENSION)
        })
    };
    let there = std::fs::read_dir(".")
        .map_err(failed)?
        .filter(is_database)
        .count() as u64;
    if there >= databases_max {
        return Err(SqlFault::Io(format!(
            "the tenant has {there} databases; allowed: {databases_max}"
        )));
    }
    File::create_new(file).map(drop).map_err(failed)
}

/// What a connection's thread has.
struct Connected {
    file: PathBuf,
    bounds: Bounds,
    cache_kib: u64,
    watch: Arc<Watch>,
    answers: UnboundedSender<Answer>,
}

impl Connected {
    /// Until nobody can ask for anything any more; the transaction that is open then is rolled back.
    fn run(self, id: u64, queue: &mpsc::Receiver<Job>) {
        let opened = Open::new(
            &self.file,
            self.bounds,
            self.cache_kib,
            Arc::clone(&self.watch),
        );
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(fault) => return self.answer(id, Err(fault)),
        };
        self.answer(id, Ok(SqlRows::default()));
        loop {
            let job = match connection.transaction_until() {
                None => queue.recv().map_err(mpsc::RecvTimeoutError::from),
                Some(until) => queue.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match job {
                Ok(job) if self.watch.is_closing() => {
                    self.answer(job.id, Err(SqlFault::InvalidConnection));
                }
                Ok(Job {
                    id,
                    statement,
                    parameters,
                }) => self.answer(id, connection.execute(&statement, &parameters)),
                Err(mpsc::RecvTimeoutError::Timeout) => connection.roll_back(),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        // What SQLite does at the end may wait for a lock or for the disk: in its turn, as all else.
        self.watch.compute(|| drop(connection));
    }

    fn answer(&self, id: u64, outcome: Result<SqlRows, SqlFault>) {
        let _ = self.answers.send(Answer { id, outcome });
    }
}
