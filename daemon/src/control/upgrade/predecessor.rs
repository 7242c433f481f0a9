//! The side that was there before.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use control_api::error::PlaneError;
use control_api::plane::Caller;
use control_api::server::Listening;
use control_api::view::Upgraded;
use tokio::process::{Child, Command};

use super::{PROTOCOL, ToPredecessor, ToSuccessor};
use crate::control::Control;
use crate::control::node::open_store;
use crate::link::{FrameBounds, FrameError, LinkReader, LinkWriter, split};
use crate::logging;

/// The new process says within this time that its configuration holds.
const CHECKED_MAX: Duration = Duration::from_secs(30);
/// The new process's worker accepts within this time from when it may open the store: a large one that must be mended, and
/// the worker's own start.
const ACCEPTS_MAX: Duration = Duration::from_secs(90);

/// Uploads and their jobs that are under way are waited for this long.
const UPLOADS_MAX: Duration = Duration::from_secs(50);

/// The admin API's sockets, for a process that follows.
pub(in crate::control) struct Sockets {
    pub(in crate::control) admin: Vec<(Listening, OwnedFd)>,
    pub(in crate::control) admin_passed: bool,
    /// Set when another process listens on them.
    pub(in crate::control) file_stays: Arc<AtomicBool>,
}

/// The new process and the link to it.
struct Successor {
    child: Child,
    reader: LinkReader,
    writer: LinkWriter,
}

#[derive(Debug, thiserror::Error)]
enum HandOverError {
    #[error("only `littorald run` can be taken over from")]
    SetsItselfUp,
    #[error("it cannot be started")]
    Start(#[from] std::io::Error),
    #[error("the link to it")]
    Link(#[from] FrameError),
    #[error("it ended with {0}; what it wrote to standard error says why")]
    Ended(std::process::ExitStatus),
    #[error("it did not answer within {0:?}")]
    Silent(Duration),
    #[error("uploads were still under way after {0:?}: repeat it")]
    Uploads(Duration),
    #[error("it said something else than was expected")]
    Confused,
}

impl Control {
    /// Has the program that is on the disk now take over. Returns when it serves; this process drains then.
    ///
    /// # Errors
    /// [`PlaneError::UpgradeFailed`] with why: this process goes on as it was.
    pub(in crate::control) async fn hand_over(
        &self,
        caller: &Caller,
    ) -> Result<Upgraded, PlaneError> {
        let _one_at_a_time = self.reloads.lock().await;
        if self.is_draining() || self.hands_over() {
            return Err(PlaneError::Draining);
        }
        if std::process::id() == 1 {
            return Err(failed(
                "this process is the first of its container, which ends with it: replace the container",
            ));
        }
        // At most two generations: what the one before left has the time that it was given for it.
        self.predecessor_gone.cancelled().await;
        if let Some(notifier) = &self.notifier {
            notifier.reloading("a new process takes over");
        }
        let outcome = self.try_to_hand_over(caller).await;
        match &outcome {
            Ok(upgraded) => tracing::info!(
                pid = upgraded.pid,
                version = upgraded.version,
                "a new process has taken over; finishing what is under way here"
            ),
            Err(error) => {
                tracing::error!(
                    error = logging::chain(error),
                    "no new process has taken over"
                );
                if let Some(notifier) = &self.notifier {
                    notifier.ready(&self.said_of_service());
                }
            }
        }
        outcome.map_err(|error| failed(logging::chain(&error)))
    }

    async fn try_to_hand_over(&self, caller: &Caller) -> Result<Upgraded, HandOverError> {
        let mut successor = self.start_successor(caller).await?;
        let version = match successor.hears(CHECKED_MAX).await {
            Ok(ToPredecessor::WantsStore { version }) => version,
            other => return Err(successor.end(other).await),
        };
        // No new ones begin meanwhile. It would know nothing of jobs, and takes what is half received for left over.
        let uploads = tokio::time::timeout(UPLOADS_MAX, self.uploading.write()).await;
        let Ok(_no_upload) = uploads else {
            let error = HandOverError::Uploads(UPLOADS_MAX);
            drop(successor.child.kill().await);
            return Err(error);
        };
        // Changes that began are finished; others are told to come again.
        self.handing_over.store(true, Ordering::Relaxed);
        self.write_usage().await;
        let no_change = self.changes().lock().await;
        self.store().as_ref().clone().close().await;
        let taken = match successor.writer.send(&ToSuccessor::StoreIsFree, &[]).await {
            Ok(()) => successor.hears(ACCEPTS_MAX).await,
            Err(error) => Err(error.into()),
        };
        let pid = successor.child.id().unwrap_or(0);
        let served = match taken {
            // One that was told to end meanwhile leaves nobody behind.
            Ok(ToPredecessor::Accepts) if !self.is_draining() => {
                // Before it says anything for itself.
                if let Some(notifier) = &self.notifier {
                    notifier.main_is(pid);
                }
                let told = successor.writer.send(&ToSuccessor::Serve, &[]).await;
                told.map_err(|error| Err(error.into()))
            }
            other => Err(other),
        };
        if let Err(other) = served {
            let error = successor.end(other).await;
            if let Some(notifier) = &self.notifier {
                notifier.main_is(std::process::id());
            }
            self.take_store_back().await;
            drop(no_change);
            self.handing_over.store(false, Ordering::Relaxed);
            return Err(error);
        }
        if let Some(sockets) = self.sockets.get() {
            sockets.file_stays.store(true, Ordering::Relaxed);
        }
        self.supervisor().pass_on();
        self.relieved.cancel();
        Ok(Upgraded {
            version_before: env!("CARGO_PKG_VERSION").to_owned(),
            version,
            pid,
        })
    }

    async fn start_successor(&self, caller: &Caller) -> Result<Successor, HandOverError> {
        let restart = self.restart.get().ok_or(HandOverError::SetsItselfUp)?;
        let admin = self.sockets.get().ok_or(HandOverError::SetsItselfUp)?;
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(&restart.program)
            .args(&restart.arguments)
            .arg(format!("--take-over={PROTOCOL}"))
            // These are about this process.
            .env_remove("WATCHDOG_PID")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        let (reader, writer) = split(ours, FrameBounds::COMPILE)?;
        let mut successor = Successor {
            child,
            reader,
            writer,
        };
        let listeners = self.supervisor().listeners();
        let sockets = listeners.sockets();
        let plain_per_thread = listeners.per_thread() - listeners.secure_per_thread();
        let (mut plain, mut secure) = (Vec::new(), Vec::new());
        for of_thread in sockets.chunks(listeners.per_thread().max(1)) {
            for (index, socket) in of_thread.iter().enumerate() {
                let kind = if index < plain_per_thread {
                    &mut plain
                } else {
                    &mut secure
                };
                kind.push(socket.as_fd());
            }
        }
        let to_u32 = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let message = ToSuccessor::Sockets {
            data_dir: self.config().node.data_dir.clone(),
            http: to_u32(plain.len()),
            http_passed: listeners.are_others(),
            https: to_u32(secure.len()),
            admin_unix: admin
                .admin
                .iter()
                .map(|(listening, _)| matches!(listening, Listening::Unix(_)))
                .collect(),
            admin_passed: admin.admin_passed,
            who: caller.who.clone(),
            request_id: caller.request_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let of_admin = admin.admin.iter().map(|(_, socket)| socket.as_fd());
        let files: Vec<BorrowedFd<'_>> = plain.into_iter().chain(secure).chain(of_admin).collect();
        match successor.writer.send(&message, &files).await {
            Ok(()) => Ok(successor),
            Err(error) => Err(successor.end(Err(error.into())).await),
        }
    }

    /// The new process is gone: nothing was changed by it but the time that the store has seen.
    async fn take_store_back(&self) {
        let config = self.config();
        let dir = config.node.data_dir.join("store");
        match open_store(&config, dir).await {
            Ok(opened) => {
                self.write().seq = opened.snapshot.seq;
                self.store.store(Arc::new(opened.store));
            }
            Err(error) => tracing::error!(
                error = logging::chain(&error),
                "the store does not open again: the node serves, and takes no changes until it is restarted"
            ),
        }
    }
}

impl Successor {
    async fn hears(&mut self, most: Duration) -> Result<ToPredecessor, HandOverError> {
        match tokio::time::timeout(most, self.reader.receive::<ToPredecessor>()).await {
            Ok(message) => Ok(message?.0),
            Err(_) => Err(HandOverError::Silent(most)),
        }
    }

    /// Sees to it that it is gone, and says why there is none.
    async fn end(mut self, heard: Result<ToPredecessor, HandOverError>) -> HandOverError {
        // One that is ending closes its link a moment before it has ended.
        let ended = tokio::time::timeout(Duration::from_millis(500), self.child.wait()).await;
        match (ended, heard) {
            (Ok(Ok(status)), _) => HandOverError::Ended(status),
            (_, heard) => {
                drop(self.child.kill().await);
                heard.err().unwrap_or(HandOverError::Confused)
            }
        }
    }
}

fn failed(why: impl Into<String>) -> PlaneError {
    PlaneError::UpgradeFailed { why: why.into() }
}
