//! The standard streams of a plain program: it reads its request's body and writes its answer.
//!
//! Takes a body, gives what the program wrote, piece by piece; a program that writes faster than its client reads waits.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::WasiBody;

/// A program may write this much at once, in bytes.
const WRITE_BYTES_MAX: usize = 16 << 10;
/// So many pieces wait for the client before the program does.
const PIECES_MAX: usize = 4;

/// What a program is given besides its arguments.
pub(crate) struct Program {
    /// Name and value, in order.
    pub(crate) environment: Vec<(String, String)>,
    /// The first is the program's name.
    pub(crate) arguments: Vec<String>,
    /// Its standard input.
    pub(crate) input: ProgramInput,
    /// Its standard output.
    pub(crate) output: ProgramOutput,
}

/// A program's standard input; all clones read on where another stopped.
#[derive(Clone)]
pub(crate) struct ProgramInput(Arc<Mutex<Unread>>);

struct Unread {
    /// `None` once it ended.
    body: Option<WasiBody>,
    bytes: Bytes,
    /// What the body broke off with.
    broken: Option<String>,
}

impl ProgramInput {
    /// From a request's body.
    pub(crate) fn new(body: WasiBody) -> Self {
        Self(Arc::new(Mutex::new(Unread {
            body: Some(body),
            bytes: Bytes::new(),
            broken: None,
        })))
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unread {
    /// Ready when there are bytes, or there will be none.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.bytes.is_empty()
            && let Some(body) = &mut self.body
        {
            match ready!(Pin::new(body).poll_frame(cx)) {
                // A program has no way to be told of trailers.
                Some(Ok(frame)) => self.bytes = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    self.broken = Some(format!("{error:?}"));
                    self.body = None;
                }
                None => self.body = None,
            }
        }
        Poll::Ready(())
    }
}

impl IsTerminal for ProgramInput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for ProgramInput {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for ProgramInput {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.unread().poll_bytes(cx)).await;
    }
}

impl InputStream for ProgramInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut unread = self.unread();
        if unread.bytes.is_empty() && unread.body.is_none() {
            return Err(match unread.broken.take() {
                Some(why) => StreamError::LastOperationFailed(wasmtime::Error::msg(why)),
                None => StreamError::Closed,
            });
        }
        let taken = size.min(unread.bytes.len());
        Ok(unread.bytes.split_to(taken))
    }
}

impl AsyncRead for ProgramInput {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut unread = self.unread();
        ready!(unread.poll_bytes(cx));
        if let Some(why) = unread.broken.take() {
            return Poll::Ready(Err(std::io::Error::other(why)));
        }
        let taken = buffer.remaining().min(unread.bytes.len());
        buffer.put_slice(&unread.bytes.split_to(taken));
        Poll::Ready(Ok(()))
    }
}

/// A program's standard output; what all clones write is one stream.
#[derive(Clone)]
pub(crate) struct ProgramOutput(PollSender<Bytes>);

/// The other end of a program's standard output.
#[derive(Clone)]
pub(crate) struct Written(Arc<Mutex<mpsc::Receiver<Bytes>>>);

impl ProgramOutput {
    /// Both ends.
    pub(crate) fn new() -> (Self, Written) {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let written = Written(Arc::new(Mutex::new(receiver)));
        (Self(PollSender::new(sender)), written)
    }
}

impl Written {
    /// The next piece; `None` once nothing more comes.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.receiver().poll_recv(cx)
    }

    /// The program has ended: what it wrote is still there, and nothing follows.
    pub(crate) fn end(&self) {
        self.receiver().close();
    }

    fn receiver(&self) -> MutexGuard<'_, mpsc::Receiver<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for ProgramOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for ProgramOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for ProgramOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let Some(sender) = self.0.get_ref() else {
            return Err(StreamError::Closed);
        };
        sender.try_send(bytes).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) => StreamError::Closed,
            mpsc::error::TrySendError::Full(_) => {
                StreamError::trap("more was written than `check-write` had allowed")
            }
        })
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match self.0.get_ref() {
            Some(sender) if sender.is_closed() => Err(StreamError::Closed),
            Some(sender) if sender.capacity() == 0 => Ok(0),
            Some(_) => Ok(WRITE_BYTES_MAX),
            None => Err(StreamError::Closed),
        }
    }
}

#[async_trait]
impl Pollable for ProgramOutput {
    async fn ready(&mut self) {
        // Whether there is room or nobody reads any more, `check_write` says.
        if let Some(sender) = self.0.get_ref() {
            drop(sender.reserve().await);
        }
    }
}

impl AsyncWrite for ProgramOutput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let nobody = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        ready!(self.0.poll_reserve(cx)).map_err(nobody)?;
        let taken = bytes.get(..WRITE_BYTES_MAX).unwrap_or(bytes);
        let piece = Bytes::copy_from_slice(taken);
        self.0.send_item(piece).map_err(nobody)?;
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
