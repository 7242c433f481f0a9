//! One tenant's CPU time: its share of what is contended, its most, and what it has used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::debt::DebtBucket;

/// The share at which virtual time runs as fast as real time.
const SHARE_UNIT: u64 = 100;
const NANOS_A_MILLI: u64 = 1_000_000;

/// What holds for a tenant's CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuBounds {
    /// Its weight among tenants that want to run at the same time; at least 1.
    pub share: u64,
    /// CPU time a second, in milliseconds; 1000 is one core.
    pub ms_per_s_max: u64,
    /// CPU time at once before the average counts, in milliseconds.
    pub burst_ms_max: u64,
}

/// How far virtual time has come in this worker: that of the tenants that had turns, the furthest of them.
///
/// All threads share it; it is written only when it moves by more than a part of a slice.
#[derive(Debug, Default)]
pub struct VirtualClock(AtomicU64);

/// Steps in which it moves, in nanoseconds.
const CLOCK_STEP_NS: u64 = 100_000;

impl VirtualClock {
    /// A tenant at this virtual time has a turn.
    pub fn advance(&self, virtual_ns: u64) {
        if virtual_ns > self.now_ns().saturating_add(CLOCK_STEP_NS) {
            self.0.fetch_max(virtual_ns, Ordering::Relaxed);
        }
    }

    /// In nanoseconds.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// CPU time of one tenant over all threads.
///
/// Its virtual time runs the slower the larger its share is: among tenants that want to run, the one whose virtual
/// time is least goes next, which gives each its share (start-time fair queueing: Goyal, Vin, Cheng 1996).
#[derive(Debug)]
pub struct CpuAccount {
    used_ns: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bounds: CpuBounds,
    virtual_ns: u64,
    /// Guests that run or wait for their turn, on any thread.
    runnable: u64,
    bucket: DebtBucket,
}

impl CpuAccount {
    /// An account with nothing used and a full burst.
    #[must_use]
    pub fn new(bounds: CpuBounds, now: Instant) -> Self {
        let burst = bounds.burst_ms_max.saturating_mul(NANOS_A_MILLI);
        Self {
            used_ns: AtomicU64::new(0),
            state: Mutex::new(State {
                bounds,
                virtual_ns: 0,
                runnable: 0,
                bucket: DebtBucket::full(burst, now),
            }),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the bounds, for guests that run already too.
    pub fn set_bounds(&self, bounds: CpuBounds) {
        self.state().bounds = bounds;
    }

    /// Charges time that a guest ran.
    pub fn charge(&self, ran: Duration, now: Instant) {
        let ran_ns = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
        self.used_ns.fetch_add(ran_ns, Ordering::Relaxed);
        let mut state = self.state();
        let State { bounds, bucket, .. } = &mut *state;
        bucket.charge(
            ran_ns,
            bounds.ms_per_s_max.saturating_mul(NANOS_A_MILLI),
            bounds.burst_ms_max.saturating_mul(NANOS_A_MILLI),
            now,
        );
        let share = u128::from(bounds.share.max(1));
        let virtual_ns = u128::from(ran_ns) * u128::from(SHARE_UNIT) / share;
        let virtual_ns = u64::try_from(virtual_ns).unwrap_or(u64::MAX);
        state.virtual_ns = state.virtual_ns.saturating_add(virtual_ns);
    }

    /// How long the tenant's guests must wait because it used more than its most; `None` if they may run.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let State { bounds, bucket, .. } = &mut *self.state();
        bucket.wait(
            bounds.ms_per_s_max.saturating_mul(NANOS_A_MILLI),
            bounds.burst_ms_max.saturating_mul(NANOS_A_MILLI),
            now,
        )
    }

    /// Whether [`CpuAccount::take_used`] would give any.
    #[must_use]
    pub fn has_used(&self) -> bool {
        self.used_ns.load(Ordering::Relaxed) >= 1000
    }

    /// CPU time used since the last call.
    #[must_use]
    pub fn take_used(&self) -> Duration {
        // What is less than a microsecond stays: reports count in those.
        let used = self.used_ns.load(Ordering::Relaxed) / 1000 * 1000;
        self.used_ns.fetch_sub(used, Ordering::Relaxed);
        Duration::from_nanos(used)
    }

    /// The tenant's virtual time, in nanoseconds.
    #[must_use]
    pub fn virtual_ns(&self) -> u64 {
        self.state().virtual_ns
    }

    /// One guest more wants to run. If it is the tenant's only one, virtual time is moved up to `clock_ns`: having
    /// been idle earns nothing.
    pub(super) fn wants_to_run(&self, clock_ns: u64) {
        let mut state = self.state();
        if state.runnable == 0 {
            state.virtual_ns = state.virtual_ns.max(clock_ns);
        }
        state.runnable += 1;
    }

    /// One guest less wants to run.
    pub(super) fn rests(&self) {
        let mut state = self.state();
        state.runnable = state.runnable.saturating_sub(1);
    }
}

#[cfg(test)]
impl CpuAccount {
    pub(super) fn state_runnable(&self) -> u64 {
        self.state().runnable
    }
}
