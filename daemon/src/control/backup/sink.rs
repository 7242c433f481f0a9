//! From a thread that writes to a stream that is read, with little between the two.

use std::io::{self, Write};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use control_api::plane::BackupStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Bytes of one piece of the stream.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for the reader.
const PIECES_WAITING_MAX: usize = 4;
/// A reader that takes nothing for so long has gone, or might as well have: a backup keeps what guests write from being
/// folded into their database.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Where a thread writes to. Blocks while the reader has not taken what was written before.
pub(super) struct Sink {
    sender: mpsc::Sender<Bytes>,
    runtime: Handle,
    buffer: BytesMut,
    stall_max: Duration,
}

impl Sink {
    /// A sink, and the stream that comes out of it; on the runtime that is to drive the stream.
    pub(super) fn new() -> (Self, BackupStream) {
        let (sender, receiver) = mpsc::channel(PIECES_WAITING_MAX);
        let sink = Self {
            sender,
            runtime: Handle::current(),
            buffer: BytesMut::with_capacity(PIECE_BYTES),
            stall_max: STALL_MAX,
        };
        let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
            let piece = receiver.recv().await?;
            Some((Ok(piece), receiver))
        });
        (sink, Box::pin(stream))
    }

    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        let sender = &self.sender;
        // The timer is made inside, where there is a runtime.
        let sent = self
            .runtime
            .block_on(async { tokio::time::timeout(self.stall_max, sender.send(piece)).await });
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::other("its reader went away")),
            Err(_) => Err(io::Error::other(format!(
                "its reader took nothing for {} ms",
                self.stall_max.as_millis()
            ))),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES - self.buffer.len();
        let taken = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        self.buffer.extend_from_slice(taken);
        if self.buffer.len() >= PIECE_BYTES {
            self.send()?;
            self.buffer.reserve(PIECE_BYTES);
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn all_that_is_written_comes_out_in_order() {
        let (mut sink, mut stream) = Sink::new();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 253) as u8).collect();
        let bytes = sent.clone();
        let writing = tokio::task::spawn_blocking(move || {
            for part in bytes.chunks(7777) {
                sink.write_all(part).unwrap();
            }
            sink.flush().unwrap();
        });
        let mut came = Vec::new();
        while let Some(Ok(piece)) = stream.next().await {
            assert!(piece.len() <= PIECE_BYTES);
            came.extend_from_slice(&piece);
        }
        writing.await.unwrap();
        assert!(came == sent);
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_or_goes_ends_the_writing() {
        for stays in [true, false] {
            let (mut sink, stream) = Sink::new();
            sink.stall_max = Duration::from_millis(20);
            let held = stays.then_some(stream);
            let writing = tokio::task::spawn_blocking(move || {
                let mut written = 0_usize;
                loop {
                    match sink.write(&[0; PIECE_BYTES]) {
                        Ok(bytes) => written += bytes,
                        Err(error) => return (written, error.to_string()),
                    }
                }
            });
            let (written, said) = writing.await.unwrap();
            drop(held);
            assert!(
                written <= (PIECES_WAITING_MAX + 1) * PIECE_BYTES,
                "{written}"
            );
            let expected = if stays {
                "took nothing for 20 ms"
            } else {
                "went away"
            };
            assert!(said.contains(expected), "{said}");
        }
    }
}
