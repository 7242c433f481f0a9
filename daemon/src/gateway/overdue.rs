//! Responses that their clients do not take.
//!
//! hyper asks a body for bytes only while the client takes them: a deadline that the body alone looked at would never
//! come for a client that stopped reading, and its guest would be kept for as long as it likes. So each connection,
//! or stream of HTTP/2, looks at it too.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How much later than the body the connection ends a response: while the client reads, the body does it, and better.
const GRACE: Duration = Duration::from_millis(50);

/// When the response on a connection must be out: HTTP/1.1 has one at a time, and so has a stream of HTTP/2.
#[derive(Debug, Default)]
pub(super) struct ResponseDeadline {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Of the response that is on its way.
    at: Option<Instant>,
    /// When whoever waits looks again by itself.
    looks_at: Option<Instant>,
}

impl ResponseDeadline {
    /// A response has begun.
    pub(super) fn begin(&self, at: Instant) {
        let mut state = self.lock();
        state.at = Some(at);
        // Responses follow each other faster than their deadlines come: one look serves thousands of them.
        if state.looks_at.is_none_or(|looks_at| looks_at > at + GRACE) {
            drop(state);
            self.changed.notify_one();
        }
    }

    /// It is out, or given up.
    pub(super) fn end(&self) {
        self.lock().at = None;
    }

    /// Ready once a response is overdue.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub(super) async fn passed(&self) {
        loop {
            let looks_at = {
                let mut state = self.lock();
                state.looks_at = state.at.map(|at| at + GRACE);
                state.looks_at
            };
            match looks_at {
                None => self.changed.notified().await,
                Some(looks_at) if looks_at <= Instant::now() => return,
                Some(looks_at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(looks_at.into()) => {}
                        () = self.changed.notified() => {}
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
