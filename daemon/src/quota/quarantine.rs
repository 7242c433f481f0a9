//! A tenant whose guests fail over and over rests for a while.

use std::time::{Duration, Instant};

/// The first rest; each next one is twice as long.
const REST_MIN: Duration = Duration::from_secs(1);
/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(60);

/// Counts failures in a row, and turns too many of them into rests that grow.
#[derive(Debug, Default)]
pub struct Quarantine {
    in_a_row: u64,
    /// Rests since a request last went well.
    rests: u32,
    until: Option<Instant>,
}

impl Quarantine {
    /// How long the tenant still rests; `None` if it is served.
    #[must_use]
    pub fn rest(&self, now: Instant) -> Option<Duration> {
        let left = self.until?.checked_duration_since(now)?;
        (!left.is_zero()).then_some(left)
    }

    /// A guest trapped, was killed or gave no answer. Gives the length of the rest that begins with it, if one does:
    /// after `in_a_row_max` failures in a row, and after a rest at the first. Zero is never.
    pub fn failed(&mut self, in_a_row_max: u64, now: Instant) -> Option<Duration> {
        if in_a_row_max == 0 || self.rest(now).is_some() {
            return None;
        }
        self.in_a_row += 1;
        if self.in_a_row < in_a_row_max && self.rests == 0 {
            return None;
        }
        Some(self.begin(now))
    }

    /// A guest did something that ends in a rest whatever went before.
    pub fn begin(&mut self, now: Instant) -> Duration {
        let rest = REST_MIN
            .saturating_mul(1_u32.checked_shl(self.rests).unwrap_or(u32::MAX))
            .min(REST_MAX);
        self.rests = self.rests.saturating_add(1);
        self.in_a_row = 0;
        self.until = Some(now + rest);
        rest
    }

    /// Somebody else says how long the tenant rests at least.
    pub fn rest_until(&mut self, until: Instant) {
        self.until = self.until.max(Some(until));
    }

    /// A guest answered and ended well.
    pub fn went_well(&mut self) {
        self.in_a_row = 0;
        self.rests = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_lead_to_rests_that_grow_until_one_goes_well() {
        let mut now = Instant::now();
        let mut quarantine = Quarantine::default();
        assert_eq!(quarantine.failed(3, now), None);
        quarantine.went_well();
        assert_eq!(quarantine.failed(3, now), None);
        assert_eq!(quarantine.failed(3, now), None);
        assert_eq!(quarantine.failed(3, now), Some(REST_MIN));
        assert_eq!(quarantine.rest(now), Some(REST_MIN));
        // What was under way before ends meanwhile.
        assert_eq!(quarantine.failed(3, now), None);
        now += REST_MIN;
        assert_eq!(quarantine.rest(now), None);
        for seconds in [2, 4, 8, 16, 32, 60, 60] {
            let rest = Duration::from_secs(seconds);
            assert_eq!(quarantine.failed(3, now), Some(rest));
            now += rest;
        }
        quarantine.went_well();
        assert_eq!(quarantine.failed(3, now), None);
    }

    #[test]
    fn zero_is_never() {
        let mut quarantine = Quarantine::default();
        let now = Instant::now();
        assert!((0..100).all(|_| quarantine.failed(0, now).is_none()));
    }
}
