//! Responses that their clients do not take.
//!
//! hyper asks a body for bytes only while the client takes them: a deadline that the body alone looked at would never
//! come for a client that stopped reading, and its guest would be kept for as long as it likes. So each connection
//! looks at it too.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How much later than the body the connection ends a response: while the client reads, the body does it, and better.
const GRACE: Duration = Duration::from_millis(50);

/// When the response on a connection must be out. HTTP/1.1 has one at a time.
#[derive(Debug, Default)]
pub(super) struct ResponseDeadline {
    at: Mutex<Option<Instant>>,
    changed: Notify,
}

impl ResponseDeadline {
    /// A response has begun.
    pub(super) fn begin(&self, at: Instant) {
        *self.lock() = Some(at);
        self.changed.notify_one();
    }

    /// It is out, or given up.
    pub(super) fn end(&self) {
        *self.lock() = None;
    }

    /// Ready once a response is overdue.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub(super) async fn passed(&self) {
        loop {
            let at = *self.lock();
            let Some(at) = at else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until((at + GRACE).into()) => {
                    if *self.lock() == Some(at) {
                        return;
                    }
                }
                () = self.changed.notified() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
