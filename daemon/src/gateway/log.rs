//! From a guest's output to the link, within the tenant's byte rate.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use crate::host::{GuestLog, GuestStream};
use crate::link::GuestLine;
use crate::quota::Tenant;

/// Lines that wait to be sent to control, over all tenants; what comes when it is full is dropped and counted.
const WAITING_LINES_MAX: usize = 4096;
/// As many again are kept for the node's own words: a flood of guests' lines does not drown why it was ended.
const WAITING_WORDS_MAX: usize = 1024;

/// Where lines leave the worker.
#[derive(Clone)]
pub struct LineSender(mpsc::Sender<GuestLine>);

impl LineSender {
    /// The sender, and the end that the link reads.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<GuestLine>) {
        let (sender, receiver) = mpsc::channel(WAITING_LINES_MAX + WAITING_WORDS_MAX);
        (Self(sender), receiver)
    }
}

/// Which stream a line of the node's own is of.
const NODE: u8 = 2;

/// The log of one request's guest.
pub(super) struct RequestLog {
    pub(super) tenant: Arc<Tenant>,
    pub(super) module: Arc<str>,
    pub(super) request_id: Box<str>,
    pub(super) lines: LineSender,
}

impl RequestLog {
    /// The node's own word about the guest, for its tenant.
    pub(super) fn node(&self, text: &str) {
        for line in text.lines() {
            let line = line.as_bytes();
            if let Some(kept) = self.tenant.word_allowance(line.len(), Instant::now()) {
                self.write(NODE, line, kept);
            }
        }
    }

    fn write(&self, stream: u8, text: &[u8], kept: usize) {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let line = GuestLine {
            tenant: self.tenant.name().to_string(),
            module: self.module.to_string(),
            request_id: self.request_id.to_string(),
            stream,
            at_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            text: String::from_utf8_lossy(text.get(..kept).unwrap_or(text)).into_owned(),
        };
        if self.lines.0.try_send(line).is_err() {
            self.tenant.log_dropped(kept);
        }
    }
}

impl GuestLog for RequestLog {
    fn line(&self, stream: GuestStream, text: &[u8]) {
        let stream = match stream {
            GuestStream::Stdout => 0,
            GuestStream::Stderr => 1,
        };
        self.at_the_guests_pace(stream, text);
    }

    /// At the guest's own rate, which it decides about by what it asks for: what the node says of its end has another.
    fn word(&self, text: &str) {
        self.at_the_guests_pace(NODE, text.as_bytes());
    }
}

impl RequestLog {
    fn at_the_guests_pace(&self, stream: u8, text: &[u8]) {
        let Some(kept) = self.tenant.log_allowance(text.len(), Instant::now()) else {
            return;
        };
        if self.lines.0.capacity() <= WAITING_WORDS_MAX {
            return self.tenant.log_dropped(kept);
        }
        self.write(stream, text, kept);
    }
}
