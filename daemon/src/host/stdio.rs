//! A guest's standard output and error, cut into lines.
//!
//! Writing never blocks a guest: what the tenant's byte rate does not allow is dropped and counted by the sink.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// A guest may hand over this much at once, in bytes.
const WRITE_BYTES_MAX: usize = 16 << 10;
/// A line is handed on in pieces of at most this many bytes; the sink may cut further.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where lines of one request's guest go.
pub trait GuestLog: Send + Sync {
    /// Takes one line without its end. Must not block.
    fn line(&self, stream: GuestStream, text: &[u8]);
}

/// One of a guest's two output streams; all clones share one unfinished line.
#[derive(Clone)]
pub(super) struct Stdio {
    stream: GuestStream,
    shared: Arc<Shared>,
}

struct Shared {
    log: Arc<dyn GuestLog>,
    stream: GuestStream,
    unfinished: Mutex<Vec<u8>>,
}

impl Stdio {
    pub(super) fn new(log: Arc<dyn GuestLog>, stream: GuestStream) -> Self {
        Self {
            stream,
            shared: Arc::new(Shared {
                log,
                stream,
                unfinished: Mutex::new(Vec::new()),
            }),
        }
    }

    fn take(&self, bytes: &[u8]) {
        let mut unfinished = self
            .shared
            .unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            if unfinished.is_empty() {
                self.shared.log.line(self.stream, line);
            } else {
                unfinished.extend_from_slice(line);
                self.shared.log.line(self.stream, &unfinished);
                unfinished.clear();
            }
            rest = after.get(1..).unwrap_or_default();
        }
        unfinished.extend_from_slice(rest);
        if unfinished.len() >= LINE_BYTES_MAX {
            self.shared.log.line(self.stream, &unfinished);
            unfinished.clear();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let unfinished = self
            .unfinished
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if !unfinished.is_empty() {
            self.log.line(self.stream, unfinished);
        }
    }
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stdio {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[async_trait]
impl Pollable for Stdio {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Stdio {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let taken = bytes.get(..WRITE_BYTES_MAX).unwrap_or(bytes);
        self.take(taken);
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl GuestLog for Lines {
        fn line(&self, _: GuestStream, text: &[u8]) {
            self.0
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(text).into_owned());
        }
    }

    #[test]
    fn lines_are_joined_cut_and_finished_on_drop() {
        let lines = Arc::new(Lines::default());
        let stdio = Stdio::new(Arc::clone(&lines) as Arc<dyn GuestLog>, GuestStream::Stdout);
        stdio.take(b"one\ntw");
        stdio.clone().take(b"o\n\nthree");
        drop(stdio);
        assert_eq!(*lines.0.lock().unwrap(), ["one", "two", "", "three"]);
    }

    #[test]
    fn a_line_without_end_is_handed_on_in_pieces() {
        let lines = Arc::new(Lines::default());
        let stdio = Stdio::new(Arc::clone(&lines) as Arc<dyn GuestLog>, GuestStream::Stderr);
        for _ in 0..4 {
            stdio.take(&[b'x'; LINE_BYTES_MAX / 2]);
        }
        assert_eq!(
            lines
                .0
                .lock()
                .unwrap()
                .iter()
                .map(String::len)
                .collect::<Vec<_>>(),
            [LINE_BYTES_MAX; 2]
        );
    }
}
