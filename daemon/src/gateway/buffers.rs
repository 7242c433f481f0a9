//! What connections and requests hold in buffers, on the node's account.
//!
//! Every connection and every request is charged beforehand with what it may come to hold; a head that outgrows a
//! connection's part is charged with the most that a head may have. Where the budget has no more, connections wait
//! unaccepted, requests are refused, and heads that went on growing lose their connection.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::quota::{Budget, Charge};

/// An idle connection: its part of hyper, its task, and the first buffer that a head is read into.
const CONNECTION_BYTES: u64 = 16 << 10;
/// What TLS adds: a record each way, of 16 KiB and what is around it, and the session.
const TLS_BYTES: u64 = 36 << 10;
/// The part of that which a head may fill.
const HEAD_BYTES_FREE: u64 = 8 << 10;
/// A request under way: one chunk of each body on either side of the guest (64 KiB is the most that a guest hands over
/// at once), on its way in or out.
const REQUEST_BYTES: u64 = 128 << 10;
/// What HTTP/2 adds to a connection, beside a head in pieces: a frame each way, and tables of fields.
const HTTP2_BYTES: u64 = 48 << 10;
/// What a client may send on a stream of HTTP/2 before the guest takes it: every stream has so much more.
pub(super) const STREAM_WINDOW_BYTES: u32 = 64 << 10;

/// The node's budget for buffers.
#[derive(Debug, Clone)]
pub struct Buffers {
    budget: Arc<Budget>,
    head_bytes_max: u64,
}

impl Buffers {
    /// At most `bytes_max` bytes, of which one head may take `head_bytes_max`.
    #[must_use]
    pub fn new(bytes_max: u64, head_bytes_max: u64) -> Self {
        Self {
            budget: Arc::new(Budget::new(bytes_max)),
            head_bytes_max,
        }
    }

    /// Bytes charged now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.budget.used_bytes()
    }

    /// `secure`: over TLS.
    pub(super) fn connection(&self, secure: bool) -> Option<Charge> {
        let more = if secure { TLS_BYTES } else { 0 };
        self.budget.charge(CONNECTION_BYTES + more)
    }

    /// A connection on which HTTP/2 is spoken has this on top; heads come between other frames there, so that the most
    /// that one may have is charged beforehand.
    pub(super) fn http2(&self) -> Option<Charge> {
        self.budget.charge(HTTP2_BYTES + self.head_bytes_max)
    }

    /// `stream`: on HTTP/2.
    pub(super) fn request(&self, stream: bool) -> Option<Charge> {
        let more = if stream {
            u64::from(STREAM_WINDOW_BYTES)
        } else {
            0
        };
        self.budget.charge(REQUEST_BYTES + more)
    }

    pub(super) fn heads(&self) -> Arc<HeadMeter> {
        Arc::new(HeadMeter {
            buffers: self.clone(),
            state: Mutex::default(),
        })
    }
}

/// What one connection has read of a head that is not whole yet.
#[derive(Debug)]
pub(super) struct HeadMeter {
    buffers: Buffers,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: u32,
    begun: u64,
    read_bytes: u64,
    charge: Option<Charge>,
}

/// A request on the connection: what is read meanwhile is its body. Over on drop.
#[derive(Debug)]
pub(super) struct InRequest(Arc<HeadMeter>);

impl HeadMeter {
    /// Bytes came.
    ///
    /// # Errors
    /// If they are of a head for which there is no room.
    pub(super) fn read(&self, bytes: usize) -> io::Result<()> {
        let mut state = self.state();
        if state.requests > 0 {
            return Ok(());
        }
        state.read_bytes = state.read_bytes.saturating_add(bytes as u64);
        if state.read_bytes > HEAD_BYTES_FREE && state.charge.is_none() {
            state.charge = self.buffers.budget.charge(self.buffers.head_bytes_max);
            if state.charge.is_none() {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
        }
        Ok(())
    }

    /// How many requests there were, where none is under way and nothing of the next has come.
    pub(super) fn rests_after(&self) -> Option<u64> {
        let state = self.state();
        (state.requests == 0 && state.read_bytes == 0).then_some(state.begun)
    }

    /// A head is whole.
    pub(super) fn begin(self: &Arc<Self>) -> InRequest {
        let mut state = self.state();
        state.requests += 1;
        state.begun += 1;
        state.read_bytes = 0;
        state.charge = None;
        InRequest(Arc::clone(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InRequest {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.requests = state.requests.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_charged_once_it_outgrows_its_connection_and_a_body_is_not() {
        let buffers = Buffers::new(100_000, 64 << 10);
        let heads = buffers.heads();
        heads.read(8 << 10).unwrap();
        assert_eq!(buffers.used_bytes(), 0);
        heads.read(1).unwrap();
        heads.read(1).unwrap();
        assert_eq!(buffers.used_bytes(), 64 << 10);
        assert!(buffers.heads().read(9 << 10).is_err());
        let request = heads.begin();
        assert_eq!(buffers.used_bytes(), 0);
        heads.read(1 << 20).unwrap();
        assert_eq!(buffers.used_bytes(), 0);
        drop(request);
        heads.read(9 << 10).unwrap();
        assert_eq!(buffers.used_bytes(), 64 << 10);
        drop(heads);
        assert_eq!(buffers.used_bytes(), 0);
    }

    #[test]
    fn a_connection_rests_between_requests_and_not_amid_a_head() {
        let heads = Buffers::new(100_000, 64 << 10).heads();
        assert_eq!(heads.rests_after(), Some(0));
        heads.read(10).unwrap();
        assert_eq!(heads.rests_after(), None);
        let request = heads.begin();
        assert_eq!(heads.rests_after(), None);
        drop(request);
        assert_eq!(heads.rests_after(), Some(1));
    }

    #[test]
    fn connections_and_requests_share_what_there_is() {
        let buffers = Buffers::new(CONNECTION_BYTES + REQUEST_BYTES, 0);
        let connection = buffers.connection(false).unwrap();
        let request = buffers.request(false).unwrap();
        assert!(buffers.connection(false).is_none());
        assert!(buffers.connection(true).is_none());
        drop((connection, request));
        assert_eq!(buffers.used_bytes(), 0);
    }
}
