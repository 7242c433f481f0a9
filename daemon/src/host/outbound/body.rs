//! The two bodies of an outgoing request: counted, bounded, and the second one's connection given back at its end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;
use wasmtime_wasi_http::{Error, WasiBody};

use super::failure::Failure;
use super::pool::{Connection, Pool};
use super::{Call, HEADER_BYTES_MAX};
use crate::quota::{Direction, OutboundAccount};

/// What a guest sends.
pub(super) struct SentBody {
    body: WasiBody,
    account: Arc<OutboundAccount>,
    left: u64,
    is_over: Arc<AtomicBool>,
}

impl SentBody {
    /// At most `bytes_max` of it; whether there was more is told by the flag.
    pub(super) fn new(
        body: WasiBody,
        account: Arc<OutboundAccount>,
        bytes_max: u64,
    ) -> (Self, Arc<AtomicBool>) {
        let is_over = Arc::<AtomicBool>::default();
        let sent = Self {
            body,
            account,
            left: bytes_max,
            is_over: Arc::clone(&is_over),
        };
        (sent, is_over)
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            end => return Poll::Ready(end),
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let Some(left) = self.left.checked_sub(bytes as u64) else {
            self.is_over.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
        };
        self.left = left;
        self.account.moved(Direction::Request, bytes);
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What it is answered. Dropped before its end, the connection is closed.
pub(super) struct ReceivedBody {
    body: Incoming,
    connection: Option<(Connection, Arc<Pool>)>,
    /// Also the place among the tenant's requests.
    call: Call,
    left: u64,
    ends: Pin<Box<Sleep>>,
    /// The guest's own limit on how long nothing may come.
    still: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl ReceivedBody {
    pub(super) fn new(
        body: Incoming,
        connection: Connection,
        pool: Arc<Pool>,
        call: Call,
        still_max: Option<Duration>,
    ) -> Self {
        let mut received = Self {
            body,
            connection: Some((connection, pool)),
            left: call.limits.outbound_received_bytes_max,
            ends: Box::pin(tokio::time::sleep_until(call.until.into())),
            still: still_max.map(|time| (time, Box::pin(tokio::time::sleep(time)))),
            call,
        };
        received.rest_at_end();
        received
    }

    /// The last byte has come: the connection is there for the next request.
    fn rest_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.rest();
        }
    }

    fn rest(&mut self) {
        if let Some((connection, pool)) = self.connection.take() {
            pool.put(connection);
        }
    }

    fn fail(&mut self, failure: &Failure) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.connection = None;
        self.call.failed(failure);
        Poll::Ready(Some(Err(failure.code())))
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if this.connection.is_none() && !this.body.is_end_stream() {
            // It has failed.
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(None) => {
                this.rest();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let Some(left) = this.left.checked_sub(bytes as u64) else {
                    let most = this.call.limits.outbound_received_bytes_max;
                    return this.fail(&Failure::ReceivedTooLarge(most));
                };
                this.left = left;
                this.call.account.moved(Direction::Response, bytes);
                if let Some((time, still)) = &mut this.still {
                    still.as_mut().reset((Instant::now() + *time).into());
                }
                this.rest_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.fail(&Failure::on_wire(&error, HEADER_BYTES_MAX)),
            Poll::Pending => {
                if this.ends.as_mut().poll(cx).is_ready() {
                    let most = this.call.limits.outbound_ms_max;
                    return this.fail(&Failure::NoEnd(most));
                }
                if let Some((time, still)) = &mut this.still
                    && still.as_mut().poll(cx).is_ready()
                {
                    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                    return this.fail(&Failure::StoodStill(ms));
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
