//! HTTP/2 with a client (RFC 9113).
//!
//! A connection is one task here as with HTTP/1: its streams are polled by it, one after the other, and each stream's
//! guest by the stream, so that nothing is handed to another task or thread and all of it ends with the connection. A
//! stream's body is asked for more only while its client takes more, and a client gets to send more only as its guest
//! takes what came: the two windows of a stream are what holds either side back.
//!
//! hyper and h2 bound what a frame, a head and a stream may be. What is bounded here besides: how long a connection may
//! be without a stream, how long a stream may wait for its client, how much may be read that moves no request on, and
//! how many requests may be given up before their answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, Stream as _};
use http::header::CONNECTION;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::accept::Settings;
use super::body::GatewayBody;
use super::buffers::STREAM_WINDOW_BYTES;
use super::exchange::Timer;
use super::frames::Frames;
use super::leave::Leave;
use super::overdue::ResponseDeadline;
use super::request_id::RequestIds;
use super::serve::{Gateway, Peer};

/// The largest frame that is taken (RFC 9113 §4.2: no peer may ask for a smaller limit).
const FRAME_BYTES_MAX: u32 = 16 << 10;
/// What a stream may have ready for its client, beside the chunk that comes on top.
const SEND_BUFFER_BYTES_MAX: usize = 32 << 10;
/// Streams that their client reset before they were looked at.
const PENDING_RESETS_MAX: usize = 20;
/// Streams that were reset here for an error of their client's.
const ERROR_RESETS_MAX: usize = 100;
/// Requests given up before their answers, beyond those that were answered.
const GIVEN_UP_MAX: u32 = 100;
/// How long a connection that is to end may go on without a stream: its client may still have one on its way.
const LEAVE_MAX: Duration = Duration::from_secs(2);

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the connection and its streams tell each other.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// New, and not polled yet.
    new: Vec<Running>,
    /// The deadline of the one that is being made.
    deadline: Option<Arc<ResponseDeadline>>,
    /// See [`GIVEN_UP_MAX`].
    given_up: u32,
    /// No more streams are wanted.
    leave: bool,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// hyper hands each stream over right after it has asked the service for its answer.
impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let mut state = self.lock();
        let deadline = state.deadline.take().unwrap_or_default();
        state.new.push(Box::pin(async move {
            // hyper asks a body for nothing while its client takes nothing: the deadline is looked at beside it. The
            // stream is reset as it is dropped.
            tokio::select! {
                () = stream => {}
                () = deadline.passed() => tracing::trace!("a response was not taken in time"),
            }
        }));
    }
}

/// Counts a request that is dropped before it has its answer.
struct Answering(Option<Streams>);

impl Answering {
    fn done(mut self) {
        if let Some(streams) = self.0.take() {
            let mut state = streams.lock();
            state.given_up = state.given_up.saturating_sub(1);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(streams) = &self.0 {
            streams.lock().given_up += 1;
        }
    }
}

/// Serves a connection to its end. Once the worker leaves, it finishes the streams that it has.
///
/// # Errors
/// What the client did wrong, or what became of the socket.
///
/// # Cancel safety
/// Dropped, it closes the connection and ends the guests of all its streams.
pub(super) async fn serve<I>(
    stream: I,
    gateway: Arc<Gateway>,
    peer: Arc<Peer>,
    settings: &Settings,
    ids: RequestIds,
    leave: &Leave,
) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let streams = Streams::default();
    let idle_max = settings.header_read_timeout;
    let service = {
        let (streams, leave) = (streams.clone(), leave.clone());
        service_fn(move |request: Request<Incoming>| {
            let deadline = Arc::<ResponseDeadline>::default();
            streams.lock().deadline = Some(Arc::clone(&deadline));
            let (gateway, peer) = (Arc::clone(&gateway), Arc::clone(&peer));
            let id = ids.next();
            if let Some(frames) = &peer.frames {
                frames.moved();
            }
            let (streams, leave) = (streams.clone(), leave.clone());
            let answering = Answering(Some(streams.clone()));
            async move {
                let serving = Arc::clone(&gateway).serve(&peer, &deadline, request, id.clone());
                let mut response = leave.in_time(&gateway, &id, serving).await;
                answering.done();
                // A field of HTTP/1; here it is the connection that says so.
                if response.headers_mut().remove(CONNECTION).is_some() {
                    streams.lock().leave = true;
                }
                if !response.body().is_of_guest() {
                    deadline.begin(Instant::now() + idle_max);
                }
                Ok::<Response<GatewayBody>, std::convert::Infallible>(response)
            }
        })
    };
    let mut connection = std::pin::pin!(
        builder(settings, streams.clone()).serve_connection(TokioIo::new(stream), service)
    );
    let mut running = FuturesUnordered::new();
    let mut leave_begun = std::pin::pin!(leave.begun());
    let mut leave_over = std::pin::pin!(leave.over());
    let mut quiet = Quiet::default();
    let (mut leaving, mut over) = (false, false);
    std::future::poll_fn(|cx| {
        loop {
            if !leaving && (streams.lock().leave || leave_begun.as_mut().poll(cx).is_ready()) {
                connection.as_mut().graceful_shutdown();
                leaving = true;
                quiet = Quiet::default();
            }
            if leaving && !over && leave_over.as_mut().poll(cx).is_ready() {
                over = true;
                // Each is polled again, so that those without an answer get their refusal.
                running = std::mem::take(&mut running).into_iter().collect();
            }
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            running.extend(std::mem::take(&mut streams.lock().new));
            poll_all(&mut running, cx);
            let state = streams.lock();
            if state.given_up > GIVEN_UP_MAX {
                tracing::debug!("a client gave up too many requests before their answers");
                return Poll::Ready(Ok(()));
            }
            if state.leave && !leaving {
                continue;
            }
            drop(state);
            let most = if leaving { LEAVE_MAX } else { idle_max };
            match quiet.poll(running.is_empty(), most, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if leaving => return Poll::Ready(Ok(())),
                Poll::Ready(()) => streams.lock().leave = true,
            }
        }
    })
    .await
}

fn builder(settings: &Settings, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    // What a head takes here is counted with 32 bytes a field (RFC 9113 §6.5.2), and once more, as with HTTP/1, when it
    // is whole.
    let head_bytes_max = settings.header_bytes_max + 32 * settings.header_count_max;
    builder
        .max_concurrent_streams(settings.streams_max)
        .max_header_list_size(u32::try_from(head_bytes_max).unwrap_or(u32::MAX))
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        // All streams' windows: a guest that does not read holds up no other stream.
        .initial_connection_window_size(connection_window_bytes(settings))
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(ERROR_RESETS_MAX);
    builder
}

/// What clients may send on a connection before any guest takes it.
pub(super) fn connection_window_bytes(settings: &Settings) -> u32 {
    // (The protocol's own least is 65,535, its most 2^31 - 1.)
    let bytes = STREAM_WINDOW_BYTES.saturating_mul(settings.streams_max);
    bytes.clamp((1 << 16) - 1, (1 << 31) - 1)
}

/// The meter of a connection: all windows may be read ahead.
pub(super) fn frames(settings: &Settings) -> Arc<Frames> {
    Frames::new(u64::from(connection_window_bytes(settings)))
}

fn poll_all(running: &mut FuturesUnordered<Running>, cx: &mut Context<'_>) {
    while let Poll::Ready(Some(())) = Pin::new(&mut *running).poll_next(cx) {}
}

/// How long a connection has had no stream.
#[derive(Default)]
struct Quiet {
    since: Option<Instant>,
    timer: Timer,
}

impl Quiet {
    /// Ready once it had none for `most`.
    fn poll(&mut self, now_quiet: bool, most: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if !now_quiet {
            self.since = None;
            return Poll::Pending;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        self.timer.poll_at(since + most, cx)
    }
}
