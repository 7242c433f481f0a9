//! Closing a connection so that its last answer arrives.
//!
//! Closing with unread bytes makes the kernel reset the connection, and a client that is still sending a body would
//! lose the answer that says why nobody reads it. So after the last answer the rest is read and dropped for a while.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::buffers::HeadMeter;

/// How long, and how much, is still read from a client after the last answer on its connection.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: u64 = 64 << 20;

/// Looks at how much is read from a socket.
pub(super) trait Meter {
    /// Bytes came.
    ///
    /// # Errors
    /// If they are too many.
    fn read(&self, bytes: usize) -> io::Result<()>;
}

impl Meter for Arc<HeadMeter> {
    fn read(&self, bytes: usize) -> io::Result<()> {
        HeadMeter::read(self, bytes)
    }
}

/// A socket that comes back when whoever used it drops it.
pub(super) struct Borrowed<I, M> {
    /// There until the drop.
    stream: Option<I>,
    /// What was read of it before.
    begun: Bytes,
    back: Arc<Mutex<Option<I>>>,
    meter: M,
}

/// Where a [`Borrowed`] socket comes back to.
pub(super) struct Lender<I>(Arc<Mutex<Option<I>>>);

/// Lends a socket out, of which `begun` was read already. What is read from it counts with `meter`.
pub(super) fn lend<I, M: Meter>(stream: I, begun: Bytes, meter: M) -> (Borrowed<I, M>, Lender<I>) {
    let back = Arc::new(Mutex::new(None));
    (
        Borrowed {
            stream: Some(stream),
            begun,
            back: Arc::clone(&back),
            meter,
        },
        Lender(back),
    )
}

impl<I: AsyncRead + Unpin> Lender<I> {
    /// Reads and drops what the client still sends, for a while; the socket was shut down for writing by then.
    pub(super) async fn linger(self) {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(stream) = stream else { return };
        let mut rest = stream.take(LINGER_BYTES_MAX);
        let read_all = async {
            let mut scratch = [0_u8; 4096];
            while matches!(rest.read(&mut scratch).await, Ok(count) if count > 0) {}
        };
        // Whichever ends it, the socket is closed next.
        let _ = tokio::time::timeout(LINGER, read_all).await;
    }
}

impl<I, M> Drop for Borrowed<I, M> {
    fn drop(&mut self) {
        *self.back.lock().unwrap_or_else(PoisonError::into_inner) = self.stream.take();
    }
}

impl<I: Unpin, M> Borrowed<I, M> {
    fn stream(&mut self) -> io::Result<Pin<&mut I>> {
        self.stream
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<I: AsyncRead + Unpin, M: Meter + Unpin> AsyncRead for Borrowed<I, M> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        if self.begun.has_remaining() {
            let count = self.begun.len().min(into.remaining());
            into.put_slice(&self.begun.split_to(count));
        } else {
            ready!(self.stream()?.poll_read(cx, into))?;
        }
        let read = into.filled().len() - before;
        Poll::Ready(self.meter.read(read))
    }
}

impl<I: AsyncWrite + Unpin, M: Unpin> AsyncWrite for Borrowed<I, M> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, slices)
    }
}
