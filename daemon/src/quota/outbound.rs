//! What one tenant's guests ask of others: how much of it at once, and how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Direction;

/// How an outgoing request or connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The other side answered, or the connection was made.
    Answered,
    /// No grant covers it.
    Denied,
    /// The tenant's limits on their number.
    Limit,
    /// The name is not known.
    Dns,
    /// The name leads only to addresses that are refused.
    Prohibited,
    /// Nobody there took the connection.
    Unreachable,
    /// The other side closed it before it had answered.
    BrokenOff,
    /// Not in time.
    Timeout,
    /// No TLS, or not with whom it should be.
    Tls,
    /// What came is not HTTP.
    Protocol,
    /// One of the bodies, or the answer's header, is larger than it may be.
    TooLarge,
    /// What the guest asked for is no request.
    Invalid,
    /// The node could not.
    Unavailable,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Answered,
        Self::Denied,
        Self::Limit,
        Self::Dns,
        Self::Prohibited,
        Self::Unreachable,
        Self::BrokenOff,
        Self::Timeout,
        Self::Tls,
        Self::Protocol,
        Self::TooLarge,
        Self::Invalid,
        Self::Unavailable,
    ];

    /// As in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Denied => "denied",
            Self::Limit => "limit",
            Self::Dns => "dns",
            Self::Prohibited => "prohibited",
            Self::Unreachable => "unreachable",
            Self::BrokenOff => "broken-off",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::TooLarge => "too-large",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
        }
    }
}

/// One tenant's account.
#[derive(Debug, Default)]
pub struct OutboundAccount {
    at_once: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    connections: AtomicU64,
    bytes: [AtomicU64; 2],
}

/// A place among a tenant's outgoing requests and connections; given back on drop.
#[derive(Debug)]
pub struct OutboundPlace(Arc<OutboundAccount>);

impl Drop for OutboundPlace {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What happened since the last report.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OutboundReport {
    /// By outcome, without those that did not occur.
    pub outcomes: Vec<(String, u64)>,
    /// Connections made.
    pub connections: u64,
    /// Body bytes sent and received.
    pub bytes: [u64; 2],
}

impl OutboundAccount {
    /// A place, where fewer than `most` are taken.
    #[must_use]
    pub fn place(self: &Arc<Self>, most: u64) -> Option<OutboundPlace> {
        let place = OutboundPlace(Arc::clone(self));
        // Counted first, so that two that come at once do not both find the last place free.
        (self.at_once.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }

    /// One ended so.
    pub fn ended(&self, outcome: Outcome) {
        if let Some(count) = self.outcomes.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection was made.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Body bytes moved: those of requests go out, those of responses come in.
    pub fn moved(&self, direction: Direction, bytes: usize) {
        let [sent, received] = &self.bytes;
        let count = match direction {
            Direction::Request => sent,
            Direction::Response => received,
        };
        count.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Takes what is to be reported.
    #[must_use]
    pub fn take(&self) -> OutboundReport {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let outcomes = Outcome::ALL.iter().zip(&self.outcomes);
        OutboundReport {
            outcomes: outcomes
                .map(|(outcome, count)| (outcome.name().to_owned(), take(count)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            connections: take(&self.connections),
            bytes: [take(&self.bytes[0]), take(&self.bytes[1])],
        }
    }

    /// Whether there is nothing to report.
    #[must_use]
    pub fn stands_still(&self) -> bool {
        let alone = [&self.connections, &self.at_once];
        let counts = alone.into_iter().chain(&self.outcomes).chain(&self.bytes);
        counts
            .into_iter()
            .all(|count| count.load(Ordering::Relaxed) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let account = Arc::<OutboundAccount>::default();
        let first = account.place(2).unwrap();
        let _second = account.place(2).unwrap();
        assert!(account.place(2).is_none());
        assert!(account.place(2).is_none());
        drop(first);
        assert!(account.place(2).is_some());
        assert!(account.place(0).is_none());
    }

    #[test]
    fn what_happened_is_told_once() {
        let account = OutboundAccount::default();
        assert!(account.stands_still());
        for (number, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, number);
        }
        account.ended(Outcome::Denied);
        account.ended(Outcome::Denied);
        account.connected();
        account.moved(Direction::Request, 3);
        account.moved(Direction::Response, 4);
        assert!(!account.stands_still());
        let report = OutboundReport {
            outcomes: vec![("denied".to_owned(), 2)],
            connections: 1,
            bytes: [3, 4],
        };
        assert_eq!(account.take(), report);
        assert_eq!(account.take(), OutboundReport::default());
        assert!(account.stands_still());
    }
}
