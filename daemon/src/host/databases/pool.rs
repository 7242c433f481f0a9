//! Connections to databases that a module's guests have used and may use again.
//!
//! Of one module alone, as those of `wasi:http` are, and for the same reasons; and for one address with its user and
//! password. What is kept is closed when it was not used for a while, when too many are, and with the module's grants.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Handle};

use super::session::Protocol;

/// Most connections of one module to databases of one kind that are kept.
const KEPT_MAX: usize = 16;
/// How long one is kept unused.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// The connections of one module to databases of one kind.
pub(super) struct Pool<P: Protocol>(Mutex<State<P>>);

struct State<P: Protocol> {
    /// In the order of their times, the oldest first.
    kept: Vec<Kept<P>>,
    /// Whether a task closes what is unused for too long.
    is_watched: bool,
}

struct Kept<P: Protocol> {
    client: P,
    address: Arc<P::Address>,
    /// The thread whose event loop tells of it.
    home: runtime::Id,
    since: Instant,
}

impl<P: Protocol> Default for Pool<P> {
    fn default() -> Self {
        Self(Mutex::new(State {
            kept: Vec::new(),
            is_watched: false,
        }))
    }
}

impl<P: Protocol> Pool<P> {
    /// Takes a connection to this address, the one that was used last. Must be called within a runtime.
    pub(super) fn take(&self, address: &P::Address) -> Option<P> {
        let home = Handle::current().id();
        let mut state = self.state();
        state.kept.retain(|kept| kept.client.wire().is_quiet());
        let at = state
            .kept
            .iter()
            .rposition(|kept| kept.home == home && *kept.address == *address)?;
        Some(state.kept.remove(at).client)
    }

    /// Keeps a connection that is as it was when it was made, but for time; the one unused longest gives way where there
    /// are too many. Outside of a runtime, where a guest's remains are dropped, it is closed.
    pub(super) fn put(self: &Arc<Self>, client: P, address: Arc<P::Address>) {
        let Ok(handle) = Handle::try_current() else {
            return;
        };
        let mut state = self.state();
        let oldest = (state.kept.len() >= KEPT_MAX).then(|| state.kept.remove(0));
        state.kept.push(Kept {
            client,
            address,
            home: handle.id(),
            since: Instant::now(),
        });
        let is_watched = std::mem::replace(&mut state.is_watched, true);
        drop(state);
        drop(oldest);
        if !is_watched {
            handle.spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Closes what was unused for too long; gives when to look again, nothing where nothing is kept.
    fn look(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        let fresh = state
            .kept
            .partition_point(|kept| now >= kept.since + KEPT_FOR);
        let unused: Vec<_> = state.kept.drain(..fresh).collect();
        let next = state.kept.first().map(|kept| kept.since + KEPT_FOR);
        state.is_watched = next.is_some();
        drop(state);
        drop(unused);
        next
    }

    fn state(&self) -> MutexGuard<'_, State<P>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch<P: Protocol>(pool: Weak<Pool<P>>) {
    let mut next = Instant::now() + KEPT_FOR;
    loop {
        tokio::time::sleep_until(next.into()).await;
        // With the pool go its connections.
        match pool.upgrade().and_then(|pool| pool.look(Instant::now())) {
            Some(later) => next = later,
            None => return,
        }
    }
}
