//! What ends a statement: its time, and that nobody wants it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::turn::Turn;

/// The longest wait between two looks at a lock that another connection has, in milliseconds.
const LOCK_WAIT_MS_MAX: u64 = 10;

/// Of one connection; shared with what SQLite calls back.
#[derive(Debug)]
pub(super) struct Watch {
    since: Instant,
    /// After `since`, in milliseconds.
    deadline_ms: AtomicU64,
    /// Nobody waits for anything of this connection any more.
    closing: AtomicBool,
    turn: Arc<Turn>,
}

impl Watch {
    pub(super) fn new(turn: Arc<Turn>, now: Instant) -> Self {
        Self {
            since: now,
            deadline_ms: AtomicU64::new(u64::MAX),
            closing: AtomicBool::new(false),
            turn,
        }
    }

    /// From now on, what goes on after this is ended.
    pub(super) fn until(&self, deadline: Instant) {
        let after = deadline.saturating_duration_since(self.since).as_millis();
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        self.deadline_ms.store(after, Ordering::Relaxed);
    }

    /// What goes on is ended, and what comes after it.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Whether what goes on is to end.
    pub(super) fn is_over(&self) -> bool {
        let after = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.is_closing() || after > self.deadline_ms.load(Ordering::Relaxed)
    }

    /// Called every so many steps, with the turn to compute: whether to stop.
    pub(super) fn step(&self) -> bool {
        self.turn.offer();
        self.is_over()
    }

    /// Called when another connection has the lock that is needed, for the `times`th time: whether to go on trying. Who has
    /// the lock may need the turn to give it up.
    pub(super) fn wait_for_lock(&self, times: i32) -> bool {
        if self.is_over() {
            return false;
        }
        self.turn.give_up();
        let wait_ms = u64::try_from(times).unwrap_or(0) + 1;
        std::thread::sleep(Duration::from_millis(wait_ms.min(LOCK_WAIT_MS_MAX)));
        self.turn.take();
        true
    }

    /// Carries out something with the turn to compute.
    pub(super) fn compute<T>(&self, work: impl FnOnce() -> T) -> T {
        self.turn.take();
        let gave = work();
        self.turn.give_up();
        gave
    }
}
