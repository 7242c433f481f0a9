//! One connection, from accept to its last byte.
//!
//! Takes a socket; promises that a client that sends nothing is let go, that headers are bounded, and that an answer
//! given before the request was read to its end still reaches the client.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::auth::Principal;

/// Bytes of unfinished headers after which a request is refused, the statement's 8 KiB and the token's 8 KiB among them.
/// hyper looks after each read, and a read may double the buffer: what ends within twice as much can still pass.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Most header fields of a request.
const HEADERS_MAX: usize = 64;
/// After an answer that ended the connection: how long, and how much, is still read and dropped.
const LINGER_MS_MAX: u64 = 2_000;
const LINGER_BYTES_MAX: u64 = 256 * 1024 * 1024;

type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Serves one connection; ends with it, or after the request under way once `shutdown` is cancelled.
///
/// `client` is who it is, where its certificate says so. `header_timeout` bounds the wait for a request's headers, and with it the silence between two requests.
pub(super) async fn serve<I>(
    io: I,
    client: Option<Arc<Principal>>,
    router: Router,
    header_timeout: Duration,
    shutdown: CancellationToken,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| -> ResponseFuture {
        let unread = Arc::new(AtomicBool::new(!request.body().is_end_stream()));
        let mut request = request;
        if let Some(client) = &client {
            request.extensions_mut().insert(Arc::clone(client));
        }
        let watched = request.map(|inner| Watched {
            inner,
            unread: Arc::clone(&unread),
        });
        let answer = service.call(watched.map(Body::new));
        Box::pin(async move {
            let mut response = answer.await?;
            if unread.load(Ordering::Relaxed) {
                // The connection ends here: nobody reads on to where the next request would begin. Said, so that a
                // client does not send one there (RFC 9112 §9.6).
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok(response)
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(io), service);

    let mut stopping = pin!(shutdown.cancelled());
    let mut asked = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
            () = &mut stopping, if !asked => {
                asked = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
        return;
    }
    linger(connection.into_parts().io.into_inner()).await;
}

/// Says that nothing more comes, then reads what the client still sends until it has closed as well.
///
/// Closing at once with unread bytes would make the kernel reset the connection, and the client lose the answer that
/// says why its body was not read.
async fn linger<I>(mut io: I)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    if io.shutdown().await.is_err() {
        return;
    }
    let mut rest = io.take(LINGER_BYTES_MAX);
    let drop_all = async {
        let mut scratch = [0_u8; 16 * 1024];
        while matches!(rest.read(&mut scratch).await, Ok(count) if count > 0) {}
    };
    // Whichever ends it, the socket is closed next.
    let _ = tokio::time::timeout(Duration::from_millis(LINGER_MS_MAX), drop_all).await;
}

/// A request body that says whether all of it was read.
struct Watched {
    inner: Incoming,
    unread: Arc<AtomicBool>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if frame.is_none() || self.inner.is_end_stream() {
            self.unread.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
