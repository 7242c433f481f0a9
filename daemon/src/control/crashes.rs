//! Which tenants' guests ended a worker, and who rests for it.
//!
//! Takes what the flight record said; gives the tenant to blame, if there is one, and for how long it is not served.
//! Promises that a tenant is blamed only where it can be: the crashed thread is known, or one tenant alone was running.
//! Kept in memory: what a tenant did before control was started is forgotten.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use edge_config::TenantName;

use crate::link::flight::{Seated, TenantMark};

/// Crashes within this time count together.
const WITHIN: Duration = Duration::from_secs(600);
/// So many of them end in a rest.
const CRASHES_MAX: usize = 2;
/// The first rest; each next one is twice as long.
const REST_MIN: Duration = Duration::from_secs(60);
/// The longest.
const REST_MAX: Duration = Duration::from_secs(3600);
/// After this long without a crash nothing is held against a tenant.
const FORGIVEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Crashes by tenant. Bounded by the tenants that are there: those that go are forgotten.
#[derive(Debug, Default)]
pub(super) struct Crashes(HashMap<TenantName, Record>);

#[derive(Debug, Default)]
struct Record {
    total: u64,
    /// The last [`CRASHES_MAX`] since the last rest began.
    recent: Vec<Instant>,
    last: Option<Instant>,
    rests: u32,
    until: Option<Instant>,
}

impl Crashes {
    /// A tenant's guest ended a worker. Gives the rest that begins with it, if one does: at the second crash within
    /// [`WITHIN`], and after a rest at the first.
    pub(super) fn blame(&mut self, tenant: &TenantName, now: Instant) -> Option<Duration> {
        let record = self.0.entry(tenant.clone()).or_default();
        record.total = record.total.saturating_add(1);
        if record
            .last
            .is_some_and(|last| now.duration_since(last) > FORGIVEN_AFTER)
        {
            record.rests = 0;
        }
        record.last = Some(now);
        record.recent.retain(|at| now.duration_since(*at) <= WITHIN);
        record.recent.push(now);
        if record.recent.len() < CRASHES_MAX && record.rests == 0 {
            return None;
        }
        let rest = REST_MIN
            .saturating_mul(1_u32.checked_shl(record.rests).unwrap_or(u32::MAX))
            .min(REST_MAX);
        record.rests = record.rests.saturating_add(1);
        record.recent.clear();
        record.until = Some(now + rest);
        Some(rest)
    }

    /// Who rests, and how long yet.
    pub(super) fn resting(&self, now: Instant) -> impl Iterator<Item = (&TenantName, Duration)> {
        self.0.iter().filter_map(move |(tenant, record)| {
            let left = record.until?.checked_duration_since(now)?;
            (!left.is_zero()).then_some((tenant, left))
        })
    }

    /// How many workers a tenant's guests ended.
    pub(super) fn total(&self, tenant: &TenantName) -> u64 {
        self.0.get(tenant).map_or(0, |record| record.total)
    }

    /// A tenant is gone.
    pub(super) fn forget(&mut self, tenant: &TenantName) {
        self.0.remove(tenant);
    }
}

/// Whose guest ended the worker, as far as the record says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Culprit {
    /// This one's.
    Known(TenantMark),
    /// One of these's.
    OneOf(Vec<TenantMark>),
    /// No guest was running: the fault is the worker's own, or outside.
    Nobody,
}

impl Culprit {
    /// Of what the seats said. Of several threads that say they crashed, none is believed.
    pub(super) fn of(seats: &[Seated]) -> Self {
        let distinct = |seats: &mut dyn Iterator<Item = &Seated>| {
            let mut tenants: Vec<TenantMark> = Vec::new();
            for seat in seats {
                if !tenants.contains(&seat.tenant) {
                    tenants.push(seat.tenant);
                }
            }
            tenants
        };
        let crashed = distinct(&mut seats.iter().filter(|seat| seat.crashed));
        if let [tenant] = crashed.as_slice() {
            return Self::Known(*tenant);
        }
        let running = distinct(&mut seats.iter());
        match running.as_slice() {
            [] => Self::Nobody,
            [tenant] => Self::Known(*tenant),
            _ => Self::OneOf(running),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    #[test]
    fn the_second_crash_in_ten_minutes_ends_in_a_rest_and_rests_grow() {
        let (acme, bolt) = (name("acme"), name("bolt"));
        let mut now = Instant::now();
        let mut crashes = Crashes::default();
        assert_eq!(crashes.blame(&acme, now), None);
        assert_eq!(crashes.blame(&bolt, now), None);
        now += WITHIN + Duration::from_secs(1);
        assert_eq!(crashes.blame(&acme, now), None);
        now += WITHIN;
        assert_eq!(crashes.blame(&acme, now), Some(REST_MIN));
        let resting: Vec<_> = crashes.resting(now).collect();
        assert_eq!(resting, [(&acme, REST_MIN)]);
        now += REST_MIN;
        assert_eq!(crashes.resting(now).count(), 0);
        for minutes in [2, 4, 8, 16, 32, 60, 60] {
            let rest = Duration::from_secs(minutes * 60);
            assert_eq!(crashes.blame(&acme, now), Some(rest));
            now += rest;
        }
        now += FORGIVEN_AFTER;
        assert_eq!(crashes.blame(&acme, now), None);
        assert_eq!((crashes.total(&acme), crashes.total(&bolt)), (11, 1));
        crashes.forget(&acme);
        assert_eq!(crashes.total(&acme), 0);
    }

    #[test]
    fn a_tenant_is_blamed_only_where_it_can_be() {
        let (acme, bolt) = (TenantMark::of("acme"), TenantMark::of("bolt"));
        let seat = |tenant, crashed| Seated { tenant, crashed };
        assert_eq!(Culprit::of(&[]), Culprit::Nobody);
        assert_eq!(Culprit::of(&[seat(acme, false)]), Culprit::Known(acme));
        let twice = [seat(acme, false), seat(acme, false)];
        assert_eq!(Culprit::of(&twice), Culprit::Known(acme));
        let both = [seat(acme, false), seat(bolt, false)];
        assert_eq!(Culprit::of(&both), Culprit::OneOf(vec![acme, bolt]));
        let known = [seat(acme, false), seat(bolt, true)];
        assert_eq!(Culprit::of(&known), Culprit::Known(bolt));
        let forged = [seat(acme, true), seat(bolt, true)];
        assert_eq!(Culprit::of(&forged), Culprit::OneOf(vec![acme, bolt]));
    }
}
