//! Connections that a module's guests have used and may use again.
//!
//! Of one module alone: what one may reach, another may not, and nothing that one sent or was answered is ever on the
//! other's wire. Changing a module's grants or removing it closes what is kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{Connection as Driven, SendRequest};
use hyper::rt::{Read, Write};
use tokio::runtime::{self, Handle};
use tokio::task::AbortHandle;

use super::body::SentBody;
use super::origin::Origin;

/// Most connections of one module that are kept, whatever they lead to.
const KEPT_MAX: usize = 32;
/// How long one is kept unused. Less than the five seconds after which many servers close theirs: a request that crosses
/// with that would be lost.
const KEPT_FOR: Duration = Duration::from_secs(4);

/// The connections of one module.
#[derive(Default)]
pub(super) struct Pool {
    kept: Mutex<Vec<Kept>>,
    next_id: AtomicU64,
}

struct Kept {
    connection: Connection,
    since: Instant,
}

/// A connection; closed when it is dropped, whatever is under way on it.
pub(super) struct Connection {
    id: u64,
    origin: Arc<Origin>,
    /// The thread whose event loop drives it: only requests from there go on it.
    home: runtime::Id,
    pub(super) sender: SendRequest<SentBody>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Pool {
    /// Takes a connection to this origin that can send at once, the one that was used last.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        let home = Handle::current().id();
        let mut kept = self.kept();
        kept.retain(|kept| !kept.connection.sender.is_closed());
        let at = kept.iter().rposition(|kept| {
            let connection = &kept.connection;
            connection.home == home && *connection.origin == *origin && connection.sender.is_ready()
        })?;
        Some(kept.remove(at).connection)
    }

    /// Keeps a connection on which a request has ended well; the one unused longest gives way where there are too many.
    pub(super) fn put(&self, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut kept = self.kept();
        let oldest = (kept.len() >= KEPT_MAX).then(|| kept.remove(0));
        kept.push(Kept {
            connection,
            since: Instant::now(),
        });
        drop(kept);
        drop(oldest);
    }

    /// Drives a new connection until it ends, is dropped, or has been kept unused for too long. Must be called within
    /// the runtime of a connection's thread.
    pub(super) fn drive<S>(
        self: &Arc<Self>,
        origin: Arc<Origin>,
        sender: SendRequest<SentBody>,
        driven: Driven<S, SentBody>,
    ) -> Connection
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let task = tokio::spawn(drive(Arc::downgrade(self), id, driven));
        Connection {
            id,
            origin,
            home: Handle::current().id(),
            sender,
            driver: task.abort_handle(),
        }
    }

    /// When to look again whether a connection was kept for too long; `None` where it was, and is no longer.
    fn look(&self, id: u64, now: Instant) -> Option<Instant> {
        let mut kept = self.kept();
        let Some(at) = kept.iter().position(|kept| kept.connection.id == id) else {
            return Some(now + KEPT_FOR);
        };
        let until = kept.get(at)?.since + KEPT_FOR;
        if until > now {
            return Some(until);
        }
        let unused = kept.remove(at);
        drop(kept);
        drop(unused);
        None
    }

    /// A connection has ended: nobody should find it here.
    fn forget(&self, id: u64) {
        let mut kept = self.kept();
        let at = kept.iter().position(|kept| kept.connection.id == id);
        let ended = at.map(|at| kept.remove(at));
        drop(kept);
        drop(ended);
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn drive<S>(pool: Weak<Pool>, id: u64, driven: Driven<S, SentBody>)
where
    S: Read + Write + Unpin + Send + 'static,
{
    let mut driven = std::pin::pin!(driven);
    let mut look_at = Instant::now() + KEPT_FOR;
    loop {
        tokio::select! {
            ended = &mut driven => {
                // Whoever has a request on it is told there.
                if let Err(error) = ended {
                    tracing::trace!(%error, "a guest's connection ended");
                }
                break;
            }
            () = tokio::time::sleep_until(look_at.into()) => {
                // The pool is gone with its module: what is still under way on this ends with its request.
                let now = Instant::now();
                let next = pool.upgrade().map_or(Some(now + KEPT_FOR), |pool| pool.look(id, now));
                match next {
                    Some(next) => look_at = next,
                    None => return,
                }
            }
        }
    }
    if let Some(pool) = pool.upgrade() {
        pool.forget(id);
    }
}
