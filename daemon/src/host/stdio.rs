//! A guest's standard output and error, cut into lines.
//!
//! Writing never blocks a guest: what the tenant's byte rate does not allow is dropped and counted by the sink.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

    /// Takes the node's own word on the guest. Must not block.
    fn word(&self, text: &str);
}

/// The output of one instance, for the request that it is at.
pub(super) struct Output {
    log: Mutex<Arc<dyn GuestLog>>,
    stdout: Mutex<Vec<u8>>,
    stderr: Mutex<Vec<u8>>,
}

impl Output {
    /// Of an instance whose first request has this log.
    pub(super) fn new(log: Arc<dyn GuestLog>) -> Arc<Self> {
        Arc::new(Self {
            log: Mutex::new(log),
            stdout: Mutex::default(),
            stderr: Mutex::default(),
        })
    }

    /// What comes from now on is of another request.
    pub(super) fn turn_to(&self, log: Arc<dyn GuestLog>) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// Ends the lines that have no end yet.
    pub(super) fn finish(&self) {
        for stream in [GuestStream::Stdout, GuestStream::Stderr] {
            let mut unfinished = self.unfinished(stream);
            if !unfinished.is_empty() {
                self.log().line(stream, &unfinished);
                unfinished.clear();
            }
        }
    }

    fn log(&self) -> Arc<dyn GuestLog> {
        Arc::clone(&self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn unfinished(&self, stream: GuestStream) -> MutexGuard<'_, Vec<u8>> {
        let unfinished = match stream {
            GuestStream::Stdout => &self.stdout,
            GuestStream::Stderr => &self.stderr,
        };
        unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, stream: GuestStream, bytes: &[u8]) {
        let log = self.log();
        let mut unfinished = self.unfinished(stream);
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            if unfinished.is_empty() {
                log.line(stream, line);
            } else {
                unfinished.extend_from_slice(line);
                log.line(stream, &unfinished);
                unfinished.clear();
            }
            rest = after.get(1..).unwrap_or_default();
        }
        unfinished.extend_from_slice(rest);
        if unfinished.len() >= LINE_BYTES_MAX {
            log.line(stream, &unfinished);
            unfinished.clear();
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.finish();
    }
}

/// One of an instance's two output streams; all clones share one unfinished line.
#[derive(Clone)]
pub(super) struct Stdio {
    stream: GuestStream,
    output: Arc<Output>,
}

impl Stdio {
    pub(super) fn new(output: &Arc<Output>, stream: GuestStream) -> Self {
        Self {
            stream,
            output: Arc::clone(output),
        }
    }

    fn take(&self, bytes: &[u8]) {
        self.output.take(self.stream, bytes);
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
        fn word(&self, _text: &str) {}

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
        let output = Output::new(Arc::clone(&lines) as Arc<dyn GuestLog>);
        let stdio = Stdio::new(&output, GuestStream::Stdout);
        drop(output);
        stdio.take(b"one\ntw");
        stdio.clone().take(b"o\n\nthree");
        drop(stdio);
        assert_eq!(*lines.0.lock().unwrap(), ["one", "two", "", "three"]);
    }

    #[test]
    fn what_one_request_left_unfinished_is_not_the_next_ones() {
        let (first, second) = (Arc::new(Lines::default()), Arc::new(Lines::default()));
        let output = Output::new(Arc::clone(&first) as Arc<dyn GuestLog>);
        let stdio = Stdio::new(&output, GuestStream::Stdout);
        stdio.take(b"one");
        output.finish();
        output.turn_to(Arc::clone(&second) as Arc<dyn GuestLog>);
        stdio.take(b"two\n");
        assert_eq!(*first.0.lock().unwrap(), ["one"]);
        assert_eq!(*second.0.lock().unwrap(), ["two"]);
    }

    #[test]
    fn a_line_without_end_is_handed_on_in_pieces() {
        let lines = Arc::new(Lines::default());
        let output = Output::new(Arc::clone(&lines) as Arc<dyn GuestLog>);
        let stdio = Stdio::new(&output, GuestStream::Stderr);
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
