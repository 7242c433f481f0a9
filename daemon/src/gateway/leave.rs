//! How a worker leaves, as its connections see it: when that began, and when its time is over.
//!
//! A connection that closes between two requests may cross the next one on its way, which is lost then. So nothing is
//! closed at once: what was accepted is read from, an answer that begins now says that it is the last on its connection,
//! and a connection that stays silent is closed when it has had a fair chance to speak.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::Response;
use tokio_util::sync::CancellationToken;

use super::body::GatewayBody;
use super::respond::refuse;
use super::serve::Gateway;
use crate::quota::Refusal;

/// How long a connection that says nothing stays open once the worker leaves: many times what a request is on its way.
pub(super) const FAIR_CHANCE: Duration = Duration::from_secs(1);
/// How long a handshake that is under way may take then.
pub(super) const LAST_HANDSHAKES: Duration = Duration::from_secs(2);

/// Shared by all threads of a worker. The flags are what requests look at, without a lock.
#[derive(Debug, Clone, Default)]
pub struct Leave(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    has_begun: AtomicBool,
    is_over: AtomicBool,
    empties_backlogs: AtomicBool,
    begin: CancellationToken,
    end: CancellationToken,
}

impl Leave {
    /// No more is accepted from here on. `last`: nobody accepts on the same sockets hereafter, so that what waits in their
    /// backlogs is taken first.
    pub fn begin(&self, last: bool) {
        self.0.empties_backlogs.store(last, Ordering::Relaxed);
        self.0.has_begun.store(true, Ordering::Relaxed);
        self.0.begin.cancel();
    }

    /// The time is over: requests that have no answer yet are refused.
    pub fn end(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
        self.0.end.cancel();
    }

    pub(super) fn has_begun(&self) -> bool {
        self.0.has_begun.load(Ordering::Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Relaxed)
    }

    pub(super) fn empties_backlogs(&self) -> bool {
        self.0.empties_backlogs.load(Ordering::Relaxed)
    }

    /// The answer to a request, or its refusal if it has none once the time is over: looked at when this is polled.
    ///
    /// # Cancel safety
    /// That of `serving`.
    pub(super) async fn in_time(
        &self,
        gateway: &Gateway,
        id: &str,
        serving: impl Future<Output = Response<GatewayBody>>,
    ) -> Response<GatewayBody> {
        let mut serving = std::pin::pin!(serving);
        std::future::poll_fn(|cx| match self.is_over() {
            true => {
                gateway.refused_unrouted(Refusal::Draining);
                Poll::Ready(refuse(Refusal::Draining, id))
            }
            false => serving.as_mut().poll(cx),
        })
        .await
    }

    /// Ready once it has begun.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(super) async fn begun(&self) {
        self.0.begin.cancelled().await;
    }

    /// Ready once its time is over.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(super) async fn over(&self) {
        self.0.end.cancelled().await;
    }
}
