//! What the two bodies of one request and its guest tell each other, and the timers they share a way of using.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::frames::Frames;

/// One request and its response on their way.
#[derive(Debug)]
pub(super) struct Exchange {
    began: Instant,
    moved_us: AtomicU64,
    request_is_over: AtomicBool,
    /// Of the connection, if that is HTTP/2.
    frames: Option<Arc<Frames>>,
}

impl Exchange {
    pub(super) fn new(now: Instant, frames: Option<Arc<Frames>>) -> Self {
        Self {
            began: now,
            moved_us: AtomicU64::new(0),
            request_is_over: AtomicBool::new(false),
            frames,
        }
    }

    /// The client sent more than it may.
    pub(super) fn request_is_over(&self) {
        self.request_is_over.store(true, Ordering::Relaxed);
    }

    /// Whether it did.
    pub(super) fn is_request_over(&self) -> bool {
        self.request_is_over.load(Ordering::Relaxed)
    }

    /// Something of a body moved.
    pub(super) fn moved(&self, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_micros();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.moved_us.store(since, Ordering::Relaxed);
        if let Some(frames) = &self.frames {
            frames.moved();
        }
    }

    /// When that was last.
    pub(super) fn moved_at(&self) -> Instant {
        self.began + Duration::from_micros(self.moved_us.load(Ordering::Relaxed))
    }
}

/// Far enough for whoever waits "for ever": tokio's own horizon is a little over two years.
const HORIZON: Duration = Duration::from_secs(3600 * 24 * 365);

/// A timer that is made when it is first needed and moved when it is needed for another moment.
#[derive(Default)]
pub(super) struct Timer(Option<(Instant, Pin<Box<Sleep>>)>);

impl Timer {
    /// Ready once `at` is past. Whoever computes for long finds that out without the timer's help.
    pub(super) fn poll_at(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= at {
            return Poll::Ready(());
        }
        match &mut self.0 {
            Some((set, sleep)) => {
                if *set != at {
                    sleep.as_mut().reset(at.into());
                    *set = at;
                }
                sleep.as_mut().poll(cx)
            }
            none => {
                let (_, sleep) = none.insert((at, Box::pin(tokio::time::sleep_until(at.into()))));
                sleep.as_mut().poll(cx)
            }
        }
    }

    /// Ready once `wait` from `now` is past.
    pub(super) fn poll_after(
        &mut self,
        wait: Duration,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        self.poll_at(now + wait.min(HORIZON), cx)
    }
}
