//! Frames that move nothing on: pings, settings, resets, windows, empty data.
//!
//! Each is cheap to send and has to be read, and most to be answered. h2 keeps none of them, so that a flood takes no
//! memory; what it takes of the thread is bounded here: what is read between two moments at which a request began or a
//! byte of a body went to or came from a guest.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lingering::Meter;

/// What may be read beyond bodies that no guest has taken yet.
const IDLE_BYTES_MAX: u64 = 1 << 20;

/// What was read on one connection since a request last moved on.
#[derive(Debug)]
pub(super) struct Frames {
    read_bytes: AtomicU64,
    bytes_max: u64,
}

impl Frames {
    /// `ahead_bytes` may be read of bodies before a guest takes them.
    pub(super) fn new(ahead_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            read_bytes: AtomicU64::new(0),
            bytes_max: ahead_bytes.saturating_add(IDLE_BYTES_MAX),
        })
    }

    /// A request moved on.
    pub(super) fn moved(&self) {
        self.read_bytes.store(0, Ordering::Relaxed);
    }
}

impl Meter for Arc<Frames> {
    fn read(&self, bytes: usize) -> io::Result<()> {
        let read = self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if read > self.bytes_max {
            return Err(io::Error::other("frames that move no request on"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_nothing_is_read_for_a_while_only() {
        let frames = Frames::new(100);
        let most = usize::try_from(IDLE_BYTES_MAX).unwrap() + 100;
        frames.read(most).unwrap();
        frames.moved();
        frames.read(most).unwrap();
        frames.read(1).unwrap_err();
    }
}
