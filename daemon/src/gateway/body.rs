//! Bodies in both directions, and the guest that fills them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;
use wasmtime_wasi_http::{Error as WasiError, WasiBody};

use super::log::RequestLog;
use super::overdue::ResponseDeadline;
use crate::engine::{GuestEnd, Running, Serving};
use crate::link::flight::guest_runs;
use crate::quota::{Admission, Refusal, Tenant};

/// A response on its way out.
pub enum GatewayBody {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// A guest is still making it.
    Guest(Box<GuestBody>),
}

/// The body broke off: the connection is closed, so that the client cannot take it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the response body broke off: {}", .0.reason())]
pub struct BrokenOff(pub(super) Refusal);

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Guest(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Guest(body) => body.inner.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Guest(body) => body
                .inner
                .as_ref()
                .map_or_else(|| SizeHint::with_exact(0), Body::size_hint),
        }
    }
}

/// A guest at work on one request, with all that it was admitted with.
pub(super) struct Guest {
    serving: Option<Serving>,
    admission: Admission,
    deadline: Option<Pin<Box<Sleep>>>,
    pub(super) log: Arc<RequestLog>,
    _running: Running,
}

impl Guest {
    pub(super) fn new(
        serving: Serving,
        admission: Admission,
        log: Arc<RequestLog>,
        running: Running,
    ) -> Self {
        Self {
            serving: Some(serving),
            admission,
            deadline: None,
            log,
            _running: running,
        }
    }

    /// Lets the guest run until it waits. Ready once, when it has ended; pending for ever after.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<GuestEnd> {
        let Some(serving) = &mut self.serving else {
            return Poll::Pending;
        };
        let began = Instant::now();
        let runs = guest_runs(self.admission.tenant().mark());
        let end = serving.as_mut().poll(cx);
        drop(runs);
        let now = Instant::now();
        self.admission.tenant().ran(now - began);
        if end.is_ready() {
            self.serving = None;
        }
        end
    }

    /// Ready once the deadline is past.
    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.admission.deadline();
        // A guest that computes is polled again at once: it need not wait for the timer to be noticed.
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        self.deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())))
            .as_mut()
            .poll(cx)
    }

    /// Ends the guest's request in its tenant's books.
    pub(super) fn fail(&mut self, refusal: Refusal, why: &str) {
        self.serving = None;
        self.admission.tenant().refused(refusal);
        self.log.node(&format!("{}: {why}", refusal.reason()));
    }

    /// What it takes to run on after the response is out: until it ends or its deadline comes.
    async fn run_on(mut self) {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(end) = self.poll_end(cx) {
                if end.result.is_err() {
                    let (refusal, why) = end.refusal();
                    self.fail(refusal, &why);
                }
                return Poll::Ready(());
            }
            ready!(self.poll_deadline(cx));
            self.fail(
                Refusal::Deadline,
                "the guest still ran after its response was out",
            );
            Poll::Ready(())
        })
        .await;
    }
}

/// The body of a guest's response: polling it is what lets the guest run on.
pub struct GuestBody {
    guest: Option<Guest>,
    inner: Option<WasiBody>,
    failed: Option<Refusal>,
    tracker: tokio_util::task::TaskTracker,
    deadline: Option<Arc<ResponseDeadline>>,
}

impl GuestBody {
    /// `deadline` is where the connection that the body goes out on looks at it.
    pub(super) fn new(
        guest: Guest,
        inner: WasiBody,
        tracker: tokio_util::task::TaskTracker,
        deadline: Option<Arc<ResponseDeadline>>,
    ) -> Self {
        if let Some(deadline) = &deadline {
            deadline.begin(guest.admission.deadline());
        }
        Self {
            deadline,
            guest: Some(guest),
            inner: Some(inner),
            failed: None,
            tracker,
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(refusal) = self.failed {
            return self.break_off(refusal);
        }
        let (Some(guest), Some(inner)) = (&mut self.guest, &mut self.inner) else {
            return Poll::Ready(None);
        };
        let mut trapped = false;
        if let Poll::Ready(end) = guest.poll_end(cx)
            && end.result.is_err()
        {
            let (refusal, why) = end.refusal();
            guest.fail(refusal, &why);
            self.failed = Some(refusal);
            trapped = true;
        }
        match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                // Also when the guest has just trapped: what it wrote before goes out before the break.
                if let Some(data) = frame.data_ref()
                    && let Err(refusal) = guest.admission.sends(data.len() as u64)
                {
                    let most = guest.admission.limits().response_body_bytes_max;
                    guest.fail(
                        refusal,
                        &format!("the response body is larger than {most} bytes"),
                    );
                    return self.break_off(refusal);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let refusal = self.failed.unwrap_or(Refusal::GuestError);
                if !trapped {
                    guest.fail(refusal, &format!("the response body is not whole: {error}"));
                }
                self.break_off(refusal)
            }
            Poll::Ready(None) => {
                match self.failed {
                    Some(refusal) => return self.break_off(refusal),
                    None => self.end(),
                }
                Poll::Ready(None)
            }
            Poll::Pending => {
                if let Some(refusal) = self.failed {
                    return self.break_off(refusal);
                }
                ready!(guest.poll_deadline(cx));
                guest.fail(Refusal::Deadline, "the response was not out in time");
                self.break_off(Refusal::Deadline)
            }
        }
    }

    fn break_off(&mut self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.guest = None;
        self.inner = None;
        self.failed = None;
        Poll::Ready(Some(Err(BrokenOff(refusal))))
    }

    /// The body is out. What the guest still does, it does within its deadline and its admission.
    fn end(&mut self) {
        self.inner = None;
        if let Some(guest) = self.guest.take()
            && guest.serving.is_some()
        {
            self.tracker.spawn(guest.run_on());
        }
    }

    /// Lets the guest write a body that nobody reads, as after `HEAD`.
    pub(super) async fn discard(mut self) {
        while let Some(Ok(_)) = std::future::poll_fn(|cx| self.poll_frame(cx)).await {}
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        if let Some(deadline) = &self.deadline {
            deadline.end();
        }
        // Still there: the connection gave up, on its own account or for a client that hung up.
        if let Some(guest) = &mut self.guest
            && Instant::now() >= guest.admission.deadline()
        {
            guest.fail(
                Refusal::Deadline,
                "the client had not taken the response in time",
            );
        }
    }
}

/// A request body, counted.
pub(super) struct RequestBody {
    inner: Incoming,
    tenant: Arc<Tenant>,
    taken: u64,
    bytes_max: u64,
    over: Arc<AtomicBool>,
}

impl RequestBody {
    /// `over` becomes true when the client sends more than `bytes_max`.
    pub(super) fn new(
        inner: Incoming,
        tenant: Arc<Tenant>,
        bytes_max: u64,
        over: Arc<AtomicBool>,
    ) -> Self {
        Self {
            inner,
            tenant,
            taken: 0,
            bytes_max,
            over,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = WasiError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WasiError>>> {
        let this = self.get_mut();
        let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(WasiError::Hyper(error)))),
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref()
            && Admission::took(
                &this.tenant,
                &mut this.taken,
                data.len() as u64,
                this.bytes_max,
            )
            .is_err()
        {
            this.over.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(WasiError::HttpRequestBodySize(Some(
                this.bytes_max,
            )))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
