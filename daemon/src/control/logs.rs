//! What guests wrote: a ring of lines per tenant, and those who read it.
//!
//! Takes lines from workers, as they come and untrusted. Promises that each tenant's lines are numbered upwards by one
//! (see [`LogRings::new`]), that a ring stays within its bytes, that a reader holds no line but the one it is sending,
//! and that no text can steer a terminal or end a line: see [`shown`]. Never writes to disk, never waits for a reader:
//! one that is slow misses what fell out of the ring, and the gap in the numbers says so.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use control_api::error::PlaneError;
use control_api::plane::{LogLines, LogQuery};
use control_api::view::{LogLine, LogStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::link::GuestLine;

/// Most readers of one tenant that follow at once.
pub const FOLLOWERS_MAX: usize = 16;

/// The rings of all tenants.
pub struct LogRings {
    rings: Mutex<Rings>,
    shutdown: CancellationToken,
}

struct Rings {
    /// One for each tenant that wrote or is followed; bounded by the tenants that are there.
    by_tenant: HashMap<String, Arc<Ring>>,
    /// The first number of the next new ring: above all that a forgotten ring has given.
    first_seq: u64,
}

/// One tenant's lines.
struct Ring {
    lines: Mutex<Lines>,
    /// Wakes followers when lines came.
    news: Notify,
    /// The tenant was forgotten, or the node ends.
    gone: CancellationToken,
}

struct Lines {
    /// Rising in `seq`, not always by one: a line that is larger than the whole ring leaves its number out.
    kept: VecDeque<LogLine>,
    /// Of `kept`, as [`cost_bytes`] counts.
    bytes: usize,
    next_seq: u64,
    followers: usize,
}

impl LogRings {
    /// No rings yet; every reader's stream ends when `shutdown` fires.
    ///
    /// Numbers begin at `started_at` in microseconds since 1970: those of a node that starts again are above the old
    /// ones, unless a tenant wrote more than a million lines a second all the while or the clock was set back. A reader
    /// whose number is from the future is given what comes from now on.
    #[must_use]
    pub fn new(started_at: SystemTime, shutdown: CancellationToken) -> Self {
        let since = started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let first_seq = u64::try_from(since.as_micros()).unwrap_or(0);
        Self {
            rings: Mutex::new(Rings {
                by_tenant: HashMap::new(),
                first_seq,
            }),
            shutdown,
        }
    }

    /// Keeps lines that a worker sent.
    ///
    /// `ring_bytes_max` gives the size of a tenant's ring in bytes, `None` for a tenant that is not there; it is asked
    /// under the lock that [`LogRings::forget`] takes, so that a tenant which is first removed and then forgotten leaves
    /// no ring behind, and must not call back. Returns how many lines were dropped for want of a tenant, or because they
    /// name a stream that there is not.
    #[must_use = "dropped lines are counted in the metrics"]
    pub fn take(
        &self,
        lines: Vec<GuestLine>,
        ring_bytes_max: impl Fn(&str) -> Option<usize>,
    ) -> u64 {
        let mut dropped = 0_u64;
        let mut written = HashMap::new();
        for line in lines {
            let mut rings = self.lock();
            let most = ring_bytes_max(&line.tenant);
            let (Some(bytes_max), Some(stream)) = (most, stream(line.stream)) else {
                dropped = dropped.saturating_add(1);
                continue;
            };
            let ring = rings.ring(&line.tenant, &self.shutdown);
            drop(rings);
            ring.lock().push(
                LogLine {
                    seq: 0,
                    at_ms: line.at_ms,
                    module: shown(line.module),
                    request_id: shown(line.request_id),
                    stream,
                    text: shown(line.text),
                },
                bytes_max,
            );
            written.insert(line.tenant, ring);
        }
        for ring in written.values() {
            ring.news.notify_waiters();
        }
        dropped
    }

    /// What a tenant's ring holds, oldest first, and what comes if the query follows; the caller has made sure that the
    /// tenant is there.
    ///
    /// A stream that follows ends when the tenant is forgotten or the node shuts down; any other ends with the last line
    /// that was there at this call.
    ///
    /// # Errors
    /// [`PlaneError::LimitReached`] where [`FOLLOWERS_MAX`] readers already follow this tenant.
    ///
    /// # Cancel safety
    /// The stream may be dropped at any point; its place among the followers is free then.
    pub fn read(&self, tenant: &str, query: &LogQuery) -> Result<LogLines, PlaneError> {
        let mut rings = self.lock();
        let ring = if query.follow {
            rings.ring(tenant, &self.shutdown)
        } else {
            match rings.by_tenant.get(tenant) {
                Some(ring) => Arc::clone(ring),
                None => return Ok(Box::pin(futures_util::stream::empty())),
            }
        };
        drop(rings);
        let mut lines = ring.lock();
        let follower = if query.follow {
            Some(lines.admit(&ring)?)
        } else {
            None
        };
        let reader = Reader {
            next_seq: lines.start(query),
            end_seq: lines.next_seq,
            _place: follower,
            follow: query.follow,
            ring: Arc::clone(&ring),
        };
        drop(lines);
        Ok(Box::pin(futures_util::stream::unfold(reader, Reader::next)))
    }

    /// Drops a tenant's lines and ends the streams of its readers.
    pub fn forget(&self, tenant: &str) {
        let mut rings = self.lock();
        if let Some(ring) = rings.by_tenant.remove(tenant) {
            let mut lines = ring.lock();
            // A tenant of the same name that comes later goes on above, so that nobody takes its lines for seen.
            rings.first_seq = rings.first_seq.max(lines.next_seq);
            lines.clear();
            drop(lines);
            ring.gone.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rings {
    /// A tenant's ring, made where there is none.
    fn ring(&mut self, tenant: &str, shutdown: &CancellationToken) -> Arc<Ring> {
        if let Some(ring) = self.by_tenant.get(tenant) {
            return Arc::clone(ring);
        }
        let ring = Arc::new(Ring {
            lines: Mutex::new(Lines {
                kept: VecDeque::new(),
                bytes: 0,
                next_seq: self.first_seq,
                followers: 0,
            }),
            news: Notify::new(),
            gone: shutdown.child_token(),
        });
        self.by_tenant.insert(tenant.to_owned(), Arc::clone(&ring));
        ring
    }
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Numbers a line and keeps it, letting the oldest go; one that is larger than the ring clears it and is not kept.
    fn push(&mut self, mut line: LogLine, bytes_max: usize) {
        line.seq = self.next_seq;
        self.next_seq = self.next_seq.saturating_add(1);
        self.bytes = self.bytes.saturating_add(cost_bytes(&line));
        self.kept.push_back(line);
        while self.bytes > bytes_max {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(cost_bytes(&oldest));
        }
    }

    /// The number to begin with.
    fn start(&self, query: &LogQuery) -> u64 {
        let after = query.after_seq.map_or(0, |seq| seq.saturating_add(1));
        let newest = query
            .lines_max
            .map_or(0, |most| match self.kept.len().checked_sub(most) {
                Some(at) => self.kept.get(at).map_or(self.next_seq, |line| line.seq),
                None => 0,
            });
        after.max(newest).min(self.next_seq)
    }

    /// The first kept line from this number on.
    fn from(&self, seq: u64) -> Option<&LogLine> {
        self.kept
            .get(self.kept.partition_point(|line| line.seq < seq))
    }

    fn admit(&mut self, ring: &Arc<Ring>) -> Result<FollowerPlace, PlaneError> {
        if self.followers >= FOLLOWERS_MAX {
            return Err(PlaneError::LimitReached {
                limit: "log_followers",
                most: FOLLOWERS_MAX as u64,
            });
        }
        self.followers = self.followers.saturating_add(1);
        Ok(FollowerPlace(Arc::clone(ring)))
    }

    fn clear(&mut self) {
        self.kept = VecDeque::new();
        self.bytes = 0;
    }
}

/// A follower's place; dropping it frees the place.
struct FollowerPlace(Arc<Ring>);

impl Drop for FollowerPlace {
    fn drop(&mut self) {
        let mut lines = self.0.lock();
        lines.followers = lines.followers.saturating_sub(1);
    }
}

/// One stream: where it is, and no line.
struct Reader {
    ring: Arc<Ring>,
    next_seq: u64,
    /// Where a stream that does not follow ends.
    end_seq: u64,
    follow: bool,
    _place: Option<FollowerPlace>,
}

impl Reader {
    async fn next(mut self) -> Option<(LogLine, Self)> {
        loop {
            if self.ring.gone.is_cancelled() {
                return None;
            }
            // Made before the look at the ring: from here on no wake-up is missed.
            let news = self.ring.news.notified();
            let line = self.ring.lock().from(self.next_seq).cloned();
            match line {
                Some(line) if self.follow || line.seq < self.end_seq => {
                    self.next_seq = line.seq.saturating_add(1);
                    drop(news);
                    return Some((line, self));
                }
                _ if !self.follow => return None,
                _ => {}
            }
            tokio::select! {
                () = news => {}
                () = self.ring.gone.cancelled() => return None,
            }
        }
    }
}

/// What a line takes: its texts and itself.
fn cost_bytes(line: &LogLine) -> usize {
    size_of::<LogLine>()
        .saturating_add(line.module.len())
        .saturating_add(line.request_id.len())
        .saturating_add(line.text.len())
}

fn stream(number: u8) -> Option<LogStream> {
    match number {
        0 => Some(LogStream::Stdout),
        1 => Some(LogStream::Stderr),
        2 => Some(LogStream::Node),
        _ => None,
    }
}

/// A guest's text as it may be shown: every character that can steer a terminal, end a line or turn the order of what
/// stands beside it is written as `\u{1b}`, its number in hexadecimal.
///
/// Those are the control characters (Unicode `Cc`) except tab, the line and paragraph separators, and the explicit
/// bidirectional embeddings, overrides and isolates (UAX #9 §2). A backslash stays as it is: what a guest wrote as
/// `\u{1b}` looks the same.
fn shown(text: String) -> String {
    if !text.chars().any(must_be_escaped) {
        return text;
    }
    let mut shown = String::with_capacity(text.len().saturating_add(16));
    for character in text.chars() {
        if must_be_escaped(character) {
            write!(shown, "{}", character.escape_unicode())
                .expect("writing to a string does not fail");
        } else {
            shown.push(character);
        }
    }
    shown
}

fn must_be_escaped(character: char) -> bool {
    match character {
        '\t' => false,
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => character.is_control(),
    }
}

#[cfg(test)]
mod tests;
