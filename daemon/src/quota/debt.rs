//! A bucket that is charged after the fact: for what can be measured only once it has been used.

use std::time::{Duration, Instant};

const NANOS_A_SECOND: u128 = 1_000_000_000;

/// Credit that refills at a rate up to a burst, and goes below zero when more is used than there was.
///
/// Exact: what is less than one unit is kept as a remainder, so that however time is cut up, what was granted over a
/// span is rate times span plus the burst. Time comes as an argument; a clock that goes back counts as standing still.
#[derive(Debug, Clone)]
pub struct DebtBucket {
    credit: i128,
    /// Billionths of a unit earned beyond `credit`.
    remainder: u128,
    counted_to: Instant,
}

impl DebtBucket {
    /// A full bucket.
    #[must_use]
    pub fn full(burst: u64, now: Instant) -> Self {
        Self {
            credit: i128::from(burst),
            remainder: 0,
            counted_to: now,
        }
    }

    /// Takes what was used, credit or not.
    pub fn charge(&mut self, used: u64, rate_per_s: u64, burst: u64, now: Instant) {
        self.refill(rate_per_s, burst, now);
        self.credit = self.credit.saturating_sub(i128::from(used));
    }

    /// How long until there is credit again; `None` if there is some now.
    ///
    /// With a rate of zero there never is: the longest duration.
    pub fn wait(&mut self, rate_per_s: u64, burst: u64, now: Instant) -> Option<Duration> {
        self.refill(rate_per_s, burst, now);
        // An empty bucket that holds nothing (burst 0) would never let anything through.
        if self.credit > 0 || (self.credit == 0 && burst == 0) {
            return None;
        }
        let owed = self.credit.unsigned_abs() + u128::from(burst > 0);
        let needed = owed
            .saturating_mul(NANOS_A_SECOND)
            .saturating_sub(self.remainder);
        let nanos = needed.checked_div(u128::from(rate_per_s)).map(|nanos| {
            // Rounded up: a wait that ends too early would only be begun again.
            nanos + u128::from(!needed.is_multiple_of(u128::from(rate_per_s)))
        });
        Some(
            nanos
                .and_then(|nanos| u64::try_from(nanos).ok())
                .map_or(Duration::MAX, Duration::from_nanos),
        )
    }

    fn refill(&mut self, rate_per_s: u64, burst: u64, now: Instant) {
        let elapsed = now.saturating_duration_since(self.counted_to);
        self.counted_to = self.counted_to.max(now);
        let earned = elapsed.as_nanos() * u128::from(rate_per_s) + self.remainder;
        let whole = i128::try_from(earned / NANOS_A_SECOND).unwrap_or(i128::MAX);
        self.credit = self.credit.saturating_add(whole);
        self.remainder = earned % NANOS_A_SECOND;
        if self.credit >= i128::from(burst) {
            self.credit = i128::from(burst);
            self.remainder = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_debt_is_waited_for() {
        let now = Instant::now();
        let mut bucket = DebtBucket::full(10, now);
        bucket.charge(9, 5, 10, now);
        assert_eq!(bucket.wait(5, 10, now), None);
        bucket.charge(6, 5, 10, now);
        // Five owed and one to go on with, at five a second.
        assert_eq!(bucket.wait(5, 10, now), Some(Duration::from_millis(1200)));
        let later = now + Duration::from_millis(1199);
        assert_eq!(bucket.wait(5, 10, later), Some(Duration::from_millis(1)));
        assert_eq!(bucket.wait(5, 10, now + Duration::from_millis(1200)), None);
    }

    #[test]
    fn nothing_a_second_is_for_ever() {
        let now = Instant::now();
        let mut bucket = DebtBucket::full(1, now);
        bucket.charge(1, 0, 1, now);
        assert_eq!(bucket.wait(0, 1, now), Some(Duration::MAX));
    }

    /// 250 ms of CPU a second, used in slices of every odd length, for two hours of a clock that only the test turns.
    #[test]
    fn two_hours_of_cpu_show_no_drift() {
        let (rate, burst) = (250_000_000, 100_000_000);
        let start = Instant::now();
        let mut now = start;
        let mut bucket = DebtBucket::full(burst, now);
        let mut used = 0_u128;
        let mut slice = 1_u64;
        while now - start < Duration::from_secs(7200) {
            if let Some(wait) = bucket.wait(rate, burst, now) {
                now += wait;
                continue;
            }
            // Lengths from 1 ns to some 2 ms.
            slice = slice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let ran = 1 + (slice >> 43);
            now += Duration::from_nanos(ran);
            bucket.charge(ran, rate, burst, now);
            used += u128::from(ran);
        }
        let granted = (now - start).as_nanos() / 4 + u128::from(burst);
        // No more than the last slice apart, after millions of them.
        assert!(used.abs_diff(granted) <= 1 << 21, "{used} of {granted}");
    }

    proptest! {
        /// Whoever waits as told and then uses one unit never gets more than burst plus rate times time, and never
        /// less than that by more than the unit under way.
        #[test]
        fn what_is_granted_is_rate_times_time(
            rate in 1u64..2_000_000_000,
            burst in 1u64..1_000_000,
            steps in prop::collection::vec((0u64..50_000_000, 1u64..1_000_000), 1..200),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = DebtBucket::full(burst, now);
            let (mut used, mut last) = (0u128, 0u128);
            let mut idle = false;
            for (pause, units) in steps {
                match bucket.wait(rate, burst, now) {
                    Some(wait) => now += wait,
                    None => {
                        now += Duration::from_nanos(pause);
                        idle = true;
                    }
                }
                prop_assert_eq!(bucket.wait(rate, burst, now), None);
                bucket.charge(units, rate, burst, now);
                used += u128::from(units);
                last = u128::from(units);
            }
            let earned = (now - start).as_nanos() * u128::from(rate) / NANOS_A_SECOND + u128::from(burst);
            prop_assert!(used <= earned + last, "{used} of {earned}");
            prop_assert!(idle || used + 1 >= earned, "{used} of {earned}");
        }
    }
}
