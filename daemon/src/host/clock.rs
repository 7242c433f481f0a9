//! Guests' clocks, rounded down.
//!
//! What a guest can time finely it can use to watch what happens beside it: caches, neighbours, the host. Timers do not
//! suffer: wasmtime waits for the difference between the moment asked for and what the rounded clock shows, which is
//! never less than what is left.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// One for all guests of a process, so that none can choose where in a step its clock begins.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What guests' clocks are rounded down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockResolution(Duration);

impl ClockResolution {
    /// In microseconds; 0 is as good as 1.
    #[must_use]
    pub fn from_us(us: u32) -> Self {
        Self(Duration::from_micros(us.max(1).into()))
    }

    fn round(self, time: Duration) -> Duration {
        let step = self.0.as_nanos();
        let steps = time.as_nanos().checked_div(step).unwrap_or_default();
        // Not more than `time`, which was one.
        Duration::from_nanos_u128(steps.saturating_mul(step))
    }
}

/// Since the guest's state was made.
pub(super) struct GuestMonotonicClock {
    resolution: ClockResolution,
    began: Duration,
}

impl GuestMonotonicClock {
    pub(super) fn new(resolution: ClockResolution) -> Self {
        Self {
            resolution,
            began: resolution.round(ORIGIN.elapsed()),
        }
    }
}

impl HostMonotonicClock for GuestMonotonicClock {
    fn resolution(&self) -> u64 {
        nanoseconds(self.resolution.0)
    }

    fn now(&self) -> u64 {
        nanoseconds(
            self.resolution
                .round(ORIGIN.elapsed())
                .saturating_sub(self.began),
        )
    }
}

/// Since 1970.
pub(super) struct GuestWallClock(pub(super) ClockResolution);

impl HostWallClock for GuestWallClock {
    fn resolution(&self) -> Duration {
        self.0.0
    }

    fn now(&self) -> Duration {
        // A box whose clock is before 1970 has none.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.0.round(now.unwrap_or_default())
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_move_in_steps_of_their_resolution_and_do_not_stand_still() {
        for us in [1000, 20_000] {
            let resolution = ClockResolution::from_us(us);
            let step = u64::from(us) * 1000;
            let clock = GuestMonotonicClock::new(resolution);
            assert_eq!(HostMonotonicClock::resolution(&clock), step);
            let first = clock.now();
            assert_eq!(first % step, 0);
            let began = Instant::now();
            while clock.now() == first {
                assert!(began.elapsed() < Duration::from_secs(5));
                std::hint::spin_loop();
            }
            assert_eq!(clock.now() % step, 0);
            let wall = GuestWallClock(resolution);
            assert_eq!(u64::try_from(wall.now().as_nanos()).unwrap() % step, 0);
            assert_eq!(HostWallClock::resolution(&wall), Duration::from_nanos(step));
        }
    }

    #[test]
    fn zero_is_exact_and_not_a_division() {
        let exact = ClockResolution::from_us(0);
        assert_eq!(exact, ClockResolution::from_us(1));
        let time = Duration::from_nanos(12_345_678);
        assert_eq!(exact.round(time), Duration::from_nanos(12_345_000));
        assert_eq!(
            ClockResolution::from_us(1000).round(time),
            Duration::from_millis(12)
        );
    }
}
