//! The wall clock of a node: never before a time that it has seen.
//!
//! Boxes without a battery start in 1970, or where a file system last stopped, until somebody tells them the time: tokens
//! and statements that expired long ago would be good again. So the highest time that was committed is a floor, from
//! which the node counts by itself for as long as the box's clock is behind.
//!
//! The floor is raised by what has passed since the node started, and not by the box's clock where that jumps meanwhile:
//! one that is a year ahead for a moment does not make every token expire for a year. One that is ahead at the start does;
//! `littorald run --clock-is-right` is for then.

use std::time::Instant;

use control_api::auth::Clock;

/// Whether the time that a node has seen holds against its box's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeFloor {
    /// It does.
    #[default]
    Kept,
    /// The operator says that the box's clock is right, however far back: the floor goes there.
    Reset,
}

/// Counts from the later of the box's clock and the floor, as they were when it was made.
pub(super) struct NodeClock {
    system: Clock,
    start_s: u64,
    started: Instant,
}

impl NodeClock {
    /// `known_good_s` is the floor, in seconds since 1970.
    pub(super) fn new(system: Clock, known_good_s: u64, floor: TimeFloor, now: Instant) -> Self {
        let system_s = system();
        let start_s = match floor {
            TimeFloor::Kept => system_s.max(known_good_s),
            TimeFloor::Reset => system_s,
        };
        if start_s > system_s {
            tracing::warn!(
                clock_s = system_s,
                known_good_s,
                "the box's clock is behind a time that this node has seen; it counts from there until the clock is set. \
                 If the clock is right, start once with --clock-is-right"
            );
        }
        Self {
            system,
            start_s,
            started: now,
        }
    }

    /// The time that has been reached for certain, in seconds since 1970: what the floor may be raised to.
    pub(super) fn reached_s(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.started);
        self.start_s.saturating_add(passed.as_secs())
    }

    /// The time, in seconds since 1970: the box's, unless that is behind what has been reached.
    pub(super) fn now_s(&self, now: Instant) -> u64 {
        (self.system)().max(self.reached_s(now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    const TODAY_S: u64 = 1_790_000_000;
    const YEAR_S: u64 = 365 * 24 * 3600;

    fn clock(
        at_s: u64,
        known_good_s: u64,
        floor: TimeFloor,
    ) -> (NodeClock, Arc<AtomicU64>, Instant) {
        let box_s = Arc::new(AtomicU64::new(at_s));
        let read = Arc::clone(&box_s);
        let system: Clock = Arc::new(move || read.load(Ordering::Relaxed));
        let now = Instant::now();
        (NodeClock::new(system, known_good_s, floor, now), box_s, now)
    }

    #[test]
    fn a_box_that_starts_in_1970_counts_from_the_floor_until_its_clock_is_set() {
        let (clock, box_s, start) = clock(7, TODAY_S, TimeFloor::Kept);
        assert_eq!(clock.now_s(start), TODAY_S);
        let later = start + Duration::from_secs(60);
        box_s.store(67, Ordering::Relaxed);
        assert_eq!(clock.now_s(later), TODAY_S + 60);
        box_s.store(TODAY_S + 3600, Ordering::Relaxed);
        assert_eq!(clock.now_s(later), TODAY_S + 3600, "it was set");
        assert_eq!(clock.reached_s(later), TODAY_S + 60);
    }

    #[test]
    fn a_clock_that_falls_back_while_the_node_runs_changes_nothing() {
        let (clock, box_s, start) = clock(TODAY_S, TODAY_S - YEAR_S, TimeFloor::Kept);
        box_s.store(0, Ordering::Relaxed);
        let later = start + Duration::from_secs(10);
        assert_eq!(clock.now_s(later), TODAY_S + 10);
    }

    #[test]
    fn a_clock_that_jumps_ahead_raises_no_floor() {
        let (clock, box_s, start) = clock(TODAY_S, 0, TimeFloor::Kept);
        box_s.store(TODAY_S + YEAR_S, Ordering::Relaxed);
        assert_eq!(clock.now_s(start), TODAY_S + YEAR_S);
        assert_eq!(clock.reached_s(start), TODAY_S);
        box_s.store(TODAY_S + 1, Ordering::Relaxed);
        assert_eq!(clock.now_s(start), TODAY_S + 1, "it was set back");
    }

    #[test]
    fn an_operator_who_knows_better_is_believed() {
        let (clock, _, start) = clock(TODAY_S, TODAY_S + YEAR_S, TimeFloor::Reset);
        assert_eq!(clock.now_s(start), TODAY_S);
    }
}
