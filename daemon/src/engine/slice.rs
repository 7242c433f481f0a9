//! What a guest and the task that polls it tell each other about interruptions.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Whether a guest's last poll ended because its time was over, and how to go on with it.
#[derive(Debug, Default)]
pub struct Slice {
    interrupted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Slice {
    /// Whether the guest was interrupted since the last call: it wants to run on.
    #[must_use]
    pub fn take_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) && self.interrupted.swap(false, Ordering::Relaxed)
    }

    /// Before the next poll of an interrupted guest: wakes the future inside it that was interrupted, which need not be
    /// the outermost. `outer` is who polls.
    pub fn go_on(&self, outer: &Waker) {
        let waker = self
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = waker
            && !waker.will_wake(outer)
        {
            waker.wake();
        }
    }

    /// What an interrupted guest awaits: pending until whoever polls it does so again.
    pub(super) fn interrupt(self: &Arc<Self>) -> Interrupted {
        Interrupted {
            slice: Arc::clone(self),
            done: false,
        }
    }
}

/// Pending once. Does not wake anybody: the guest goes on when its turn comes.
pub(super) struct Interrupted {
    slice: Arc<Slice>,
    done: bool,
}

impl Future for Interrupted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.done {
            return Poll::Ready(());
        }
        self.done = true;
        *self
            .slice
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        self.slice.interrupted.store(true, Ordering::Relaxed);
        Poll::Pending
    }
}
