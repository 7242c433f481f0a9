//! How handshakes end, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::link::HandshakeCounts;

/// Upper bounds of the histogram of handshake durations, in seconds; one more bucket is above them all.
pub const HANDSHAKE_BUCKETS_S: [f64; 10] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// How a handshake ended: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeOutcome {
    /// With a new session.
    Full,
    /// With a session that goes on from an earlier one.
    Resumed,
    /// The client named no server.
    NoName,
    /// No certificate is for the name.
    UnknownName,
    /// What client and node speak does not meet, the client broke the rules, or it did not like the certificate.
    Failed,
    /// The client went away.
    Gone,
    /// It took too long.
    TimedOut,
    /// As many were under way as may be.
    Busy,
    /// Control gave no signature.
    Unsigned,
}

impl HandshakeOutcome {
    /// Each of them.
    pub const ALL: [Self; 9] = [
        Self::Full,
        Self::Resumed,
        Self::NoName,
        Self::UnknownName,
        Self::Failed,
        Self::Gone,
        Self::TimedOut,
        Self::Busy,
        Self::Unsigned,
    ];

    /// The word in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::NoName => "no-name",
            Self::UnknownName => "unknown-name",
            Self::Failed => "failed",
            Self::Gone => "gone",
            Self::TimedOut => "timeout",
            Self::Busy => "busy",
            Self::Unsigned => "unsigned",
        }
    }
}

/// What the handshakes of a worker came to since the last report.
#[derive(Debug, Default)]
pub(super) struct Counts {
    outcomes: [AtomicU64; HandshakeOutcome::ALL.len()],
    buckets: [AtomicU64; HANDSHAKE_BUCKETS_S.len() + 1],
    sum_us: AtomicU64,
}

impl Counts {
    pub(super) fn ended(&self, outcome: HandshakeOutcome, took: Duration) {
        if let Some(count) = self.outcomes.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if !matches!(outcome, HandshakeOutcome::Full | HandshakeOutcome::Resumed) {
            return;
        }
        let at = HANDSHAKE_BUCKETS_S.partition_point(|bound| *bound < took.as_secs_f64());
        if let Some(count) = self.buckets.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// All of it, which begins anew; nothing where nothing ended.
    pub(super) fn take(&self, under_way: u64) -> HandshakeCounts {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        HandshakeCounts {
            outcomes: HandshakeOutcome::ALL
                .iter()
                .zip(&self.outcomes)
                .map(|(outcome, count)| (outcome.word().to_owned(), take(count)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            duration_buckets: self.buckets.iter().map(take).collect(),
            duration_sum_us: take(&self.sum_us),
            under_way,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_reported_once() {
        let counts = Counts::default();
        counts.ended(HandshakeOutcome::Full, Duration::from_millis(3));
        counts.ended(HandshakeOutcome::Full, Duration::from_secs(9));
        counts.ended(HandshakeOutcome::UnknownName, Duration::from_millis(1));
        let taken = counts.take(4);
        let outcomes = [("full".to_owned(), 2), ("unknown-name".to_owned(), 1)];
        assert_eq!(taken.outcomes, outcomes);
        assert_eq!(taken.duration_buckets, [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((taken.duration_sum_us, taken.under_way), (9_003_000, 4));
        assert!(counts.take(0).outcomes.is_empty());
        for (index, outcome) in HandshakeOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
    }
}
