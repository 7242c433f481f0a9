//! A token bucket that takes its clock as an argument.

use std::time::{Duration, Instant};

/// Tokens that refill at a rate up to a burst. Whole tokens only; what is less than one is kept as time, so that
/// rounding makes none and costs less than a nanosecond a refill.
#[derive(Debug)]
pub struct TokenBucket {
    tokens: u64,
    refilled_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub fn full(burst: u64, now: Instant) -> Self {
        Self {
            tokens: burst,
            refilled_at: now,
        }
    }

    /// Takes `wanted` tokens if they are there; `rate_per_s` and `burst` are what holds now.
    pub fn take(&mut self, wanted: u64, rate_per_s: u64, burst: u64, now: Instant) -> bool {
        self.refill(rate_per_s, burst, now);
        if self.tokens < wanted {
            return false;
        }
        self.tokens -= wanted;
        true
    }

    /// Whole tokens that are there.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// How long until `wanted` tokens are there, as of the last call of [`TokenBucket::take`].
    #[must_use]
    pub fn wait(&self, wanted: u64, rate_per_s: u64, now: Instant) -> Duration {
        let missing = u128::from(wanted.saturating_sub(self.tokens));
        let nanos = (missing * 1_000_000_000)
            .checked_div(u128::from(rate_per_s))
            .and_then(|nanos| u64::try_from(nanos).ok())
            .map_or(Duration::MAX, Duration::from_nanos);
        nanos.saturating_sub(now.saturating_duration_since(self.refilled_at))
    }

    fn refill(&mut self, rate_per_s: u64, burst: u64, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled_at);
        let earned = u64::try_from(
            elapsed.as_nanos().saturating_mul(u128::from(rate_per_s)) / 1_000_000_000,
        )
        .unwrap_or(u64::MAX);
        self.tokens = self.tokens.saturating_add(earned);
        if self.tokens >= burst {
            self.tokens = burst;
            self.refilled_at = now;
        } else if earned > 0 {
            // Advance by the time that the whole tokens took, rounded up to the nanosecond so that none is ever made of
            // rounding; the rest goes on counting.
            let nanos = (u128::from(earned) * 1_000_000_000).div_ceil(u128::from(rate_per_s));
            self.refilled_at += Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_bucket_gives_its_burst_and_no_more() {
        let now = Instant::now();
        let mut bucket = TokenBucket::full(10, now);
        assert!(bucket.take(10, 5, 10, now));
        assert!(!bucket.take(1, 5, 10, now));
        assert_eq!(bucket.wait(2, 5, now), Duration::from_millis(400));
        assert!(bucket.take(1, 5, 10, now + Duration::from_millis(200)));
        assert!(!bucket.take(1, 5, 10, now + Duration::from_millis(399)));
        assert!(bucket.take(1, 5, 10, now + Duration::from_millis(400)));
    }

    proptest! {
        /// However the time is cut up, no more than burst plus rate times time is ever given, and a greedy taker of
        /// single tokens gets all of it but one.
        #[test]
        fn no_token_is_lost_or_made(rate in 1u64..10_000, burst in 1u64..1000, steps in prop::collection::vec(0u64..3_000_000_000, 1..50)) {
            let start = Instant::now();
            let mut bucket = TokenBucket::full(burst, start);
            let mut now = start;
            let mut given = 0u128;
            let mut capped = false;
            // Emptied first: what a full bucket would have earned is not owed.
            for nanos in std::iter::once(0).chain(steps) {
                now += Duration::from_nanos(nanos);
                // With what was left of the step before, one more may come.
                capped |= u128::from(nanos) * u128::from(rate) / 1_000_000_000 + 1 >= u128::from(burst);
                while bucket.take(1, rate, burst, now) {
                    given += 1;
                }
            }
            let earned = (now - start).as_nanos() * u128::from(rate) / 1_000_000_000 + u128::from(burst);
            prop_assert!(given <= earned);
            prop_assert!(capped || given + 1 >= earned, "{given} of {earned}");
        }
    }
}
