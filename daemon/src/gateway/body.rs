//! Bodies in both directions.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use wasmtime_wasi_http::{Error as WasiError, WasiBody};

use super::buffers::InRequest;
use super::exchange::{Exchange, Timer};
use super::guest::Guest;
use super::overdue::ResponseDeadline;
use crate::quota::{Admission, Direction, Refusal, Tenant};

/// A response on its way out.
pub(super) struct GatewayBody {
    content: Content,
    /// While it is on its way, what comes on the connection is no head.
    request: Option<InRequest>,
}

enum Content {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// A guest is still making it.
    Guest(Box<GuestBody>),
}

impl GatewayBody {
    /// A body that is all there, or none.
    pub(super) fn whole(bytes: Option<Bytes>) -> Self {
        Self {
            content: Content::Whole(bytes),
            request: None,
        }
    }

    /// A body that a guest makes.
    pub(super) fn of_guest(body: GuestBody) -> Self {
        Self {
            content: Content::Guest(Box::new(body)),
            request: None,
        }
    }

    /// Whether a guest makes it.
    pub(super) fn is_of_guest(&self) -> bool {
        matches!(self.content, Content::Guest(_))
    }

    /// Keeps the request going until the body is out.
    pub(super) fn holding(mut self, request: InRequest) -> Self {
        self.request = Some(request);
        self
    }
}

/// The body broke off: the connection is closed, so that the client cannot take it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the response body broke off: {}", .0.reason())]
pub(super) struct BrokenOff(pub(super) Refusal);

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.get_mut().content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Guest(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Guest(body) => body.inner.is_none() && body.breaking.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Guest(body) => body.size_hint(),
        }
    }
}

type Found = Option<Result<Frame<Bytes>, WasiError>>;

/// The body of a guest's response: polling it is what lets the guest run on.
pub(super) struct GuestBody {
    guest: Option<Guest>,
    inner: Option<WasiBody>,
    /// What [`GuestBody::look`] found.
    first: Option<Found>,
    /// Broken off once what went before is on its way.
    breaking: Option<Refusal>,
    failed: Option<Refusal>,
    /// What the head said of its length.
    declared_bytes: Option<u64>,
    tracker: tokio_util::task::TaskTracker,
    deadline: Option<Arc<ResponseDeadline>>,
}

impl GuestBody {
    /// `deadline` is where the connection that the body goes out on looks at it.
    pub(super) fn new(
        guest: Guest,
        inner: WasiBody,
        declared_bytes: Option<u64>,
        tracker: tokio_util::task::TaskTracker,
        deadline: Option<Arc<ResponseDeadline>>,
    ) -> Self {
        if let Some(deadline) = &deadline {
            deadline.begin(guest.deadline());
        }
        Self {
            deadline,
            guest: Some(guest),
            inner: Some(inner),
            first: None,
            breaking: None,
            failed: None,
            declared_bytes,
            tracker,
        }
    }

    /// Looks at what there is of the body before its head goes out: one that is broken already can still be refused.
    ///
    /// # Errors
    /// The refusal; the guest has been ended with it.
    pub(super) fn look(&mut self, cx: &mut Context<'_>) -> Result<(), Refusal> {
        let (Some(guest), Some(inner)) = (&mut self.guest, &mut self.inner) else {
            return Ok(());
        };
        match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => {
                let refusal = Refusal::GuestError;
                guest.fail(refusal, &format!("the response body is not whole: {error}"));
                self.guest = None;
                Err(refusal)
            }
            Poll::Ready(Some(Ok(frame))) if is_beyond(self.declared_bytes, bytes_of(&frame)) => {
                Err(too_long(guest))
            }
            Poll::Ready(found) => {
                self.first = Some(found);
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(refusal) = self.breaking.take() {
            return Poll::Ready(Some(Err(BrokenOff(refusal))));
        }
        if let Some(refusal) = self.failed {
            return self.break_off(cx, refusal);
        }
        let (Some(guest), Some(inner)) = (&mut self.guest, &mut self.inner) else {
            return Poll::Ready(None);
        };
        // The guest waits too: what it would write meanwhile had to be kept.
        ready!(guest.poll_pace(cx));
        let mut trapped = false;
        if let Poll::Ready(end) = guest.poll_end(cx)
            && end.result.is_err()
        {
            let (refusal, why) = end.refusal();
            guest.fail(refusal, &why);
            self.failed = Some(refusal);
            trapped = true;
        }
        let frame = match self.first.take() {
            Some(first) => Poll::Ready(first),
            None => Pin::new(inner).poll_frame(cx),
        };
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                // Also when the guest has just trapped: what it wrote before goes out before the break.
                if frame.is_data() {
                    let sent = guest.sends(bytes_of(&frame));
                    let sent = sent.and_then(|()| {
                        // hyper would send what was declared, and nobody would know of the rest.
                        if is_beyond(self.declared_bytes, guest.sent_bytes()) {
                            return Err(too_long(guest));
                        }
                        Ok(())
                    });
                    if let Err(refusal) = sent {
                        return self.break_off(cx, refusal);
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let refusal = self.failed.unwrap_or(Refusal::GuestError);
                if !trapped {
                    guest.fail(refusal, &format!("the response body is not whole: {error}"));
                }
                self.break_off(cx, refusal)
            }
            Poll::Ready(None) => {
                match self.failed {
                    Some(refusal) => return self.break_off(cx, refusal),
                    None => self.end(),
                }
                Poll::Ready(None)
            }
            Poll::Pending => {
                if let Some(refusal) = self.failed {
                    return self.break_off(cx, refusal);
                }
                let (refusal, why) = ready!(guest.poll_stream_timeout(cx));
                guest.fail(refusal, why);
                self.break_off(cx, refusal)
            }
        }
    }

    /// Ends the body at the next poll. hyper drops what it has not written yet when a body fails, the head included; it
    /// writes when a body has nothing for it at the moment.
    fn size_hint(&self) -> SizeHint {
        let Some(inner) = &self.inner else {
            return SizeHint::with_exact(0);
        };
        let rest = inner.size_hint();
        let Some(Some(Ok(frame))) = &self.first else {
            return rest;
        };
        // What was looked at is still to come.
        let first = frame.data_ref().map_or(0, |data| data.len() as u64);
        let mut whole = SizeHint::new();
        whole.set_lower(rest.lower() + first);
        if let Some(upper) = rest.upper() {
            whole.set_upper(upper + first);
        }
        whole
    }

    fn break_off(
        &mut self,
        cx: &Context<'_>,
        refusal: Refusal,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.guest = None;
        self.inner = None;
        self.failed = None;
        self.breaking = Some(refusal);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The body is out. What the guest still does, it does within its deadline and its admission.
    fn end(&mut self) {
        self.inner = None;
        let Some(guest) = self.guest.take() else {
            return;
        };
        if guest.has_ended() {
            guest.went_well();
        } else {
            self.tracker.spawn(guest.run_on());
        }
    }

    /// Lets the guest write a body that nobody reads, as after `HEAD`.
    pub(super) async fn discard(mut self) {
        while let Some(Ok(_)) = std::future::poll_fn(|cx| self.poll_frame(cx)).await {}
    }
}

fn bytes_of(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}

fn is_beyond(declared_bytes: Option<u64>, bytes: u64) -> bool {
    declared_bytes.is_some_and(|declared_bytes| bytes > declared_bytes)
}

fn too_long(guest: &mut Guest) -> Refusal {
    let refusal = Refusal::GuestError;
    guest.fail(
        refusal,
        "the response body has more bytes than its Content-Length says",
    );
    refusal
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        if let Some(deadline) = &self.deadline {
            deadline.end();
        }
        // hyper asks for no more than was declared: a body that is out by then has ended as well as any.
        let sent_bytes = self.guest.as_ref().map(Guest::sent_bytes);
        if sent_bytes.is_some()
            && sent_bytes == self.declared_bytes
            && self.breaking.is_none()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            return self.end();
        }
        // Still there: the connection gave up, on its own account or for a client that hung up.
        if let Some(guest) = &mut self.guest
            && guest.is_overdue()
        {
            guest.fail(
                Refusal::Deadline,
                "the client had not taken the response in time",
            );
        }
    }
}

/// A request body, counted and paced.
pub(super) struct RequestBody {
    inner: Incoming,
    tenant: Arc<Tenant>,
    taken: u64,
    bytes_max: u64,
    exchange: Arc<Exchange>,
    pace: Timer,
}

impl RequestBody {
    /// `exchange` is told when the client sends more than `bytes_max`.
    pub(super) fn new(
        inner: Incoming,
        tenant: Arc<Tenant>,
        bytes_max: u64,
        exchange: Arc<Exchange>,
    ) -> Self {
        Self {
            inner,
            tenant,
            taken: 0,
            bytes_max,
            exchange,
            pace: Timer::default(),
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
        let now = Instant::now();
        if let Some(wait) = this.tenant.body_wait(Direction::Request, now) {
            ready!(this.pace.poll_after(wait, now, cx));
        }
        let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(WasiError::Hyper(error)))),
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref() {
            let bytes = data.len() as u64;
            let taken = Admission::took(&this.tenant, &mut this.taken, bytes, this.bytes_max);
            if taken.is_err() {
                this.exchange.request_is_over();
                return Poll::Ready(Some(Err(WasiError::HttpRequestBodySize(Some(
                    this.bytes_max,
                )))));
            }
            this.tenant.moved(Direction::Request, bytes, now);
            this.exchange.moved(now);
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
