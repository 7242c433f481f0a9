//! What is done when the node runs short of memory: a ladder, step by step.
//!
//! Takes what is available and how long tasks stall for memory; gives a step. First components that stand ready without
//! being used are dropped, then all that no request used lately, then new requests of the lowest priority classes are
//! refused, one class more each second. Going down waits until things have been better for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_config::Config;

use super::Control;
use super::capacity::{BoxMemory, memory_stall_percent};
use crate::link::ToWorker;
use crate::metrics::PressureStep;

/// How often the box is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A step is left once the reading has been better for so long.
const BETTER_FOR: Duration = Duration::from_secs(3);
/// While the last step lasts, one priority class more is shed after each of these.
const NEXT_CLASS_AFTER: Duration = Duration::from_secs(1);
/// The highest priority class is never shed.
const CLASS_MAX: u64 = 3;
/// Components that nobody used for so long are dropped at the first step, in seconds.
const SHRINK_IDLE_S: u32 = 10;
/// And at the second.
const EVICT_IDLE_S: u32 = 1;
/// Stalls count like a lack of memory: some task waits for this share of the time, in percent, per step.
const STALL_PERCENT: [f64; 3] = [10.0, 25.0, 40.0];

/// Below what is available, in percent, each step begins; 0 is never.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thresholds {
    pub(super) shrink: u32,
    pub(super) evict: u32,
    pub(super) shed: u32,
}

impl Thresholds {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            shrink: config.memory.shrink_below_percent,
            evict: config.memory.evict_below_percent,
            shed: config.memory.shed_below_percent,
        }
    }

    fn step(self, reading: Reading) -> PressureStep {
        let steps = [
            (PressureStep::Shed, self.shed, STALL_PERCENT[2]),
            (PressureStep::Evict, self.evict, STALL_PERCENT[1]),
            (PressureStep::Shrink, self.shrink, STALL_PERCENT[0]),
        ];
        steps
            .into_iter()
            .find(|(_, below, stall)| {
                // Stalls alone, with memory left, are a slow disk's.
                let short = reading.available_percent < *below;
                let stalls = reading
                    .stall_percent
                    .is_some_and(|percent| percent > *stall);
                short || (stalls && reading.available_percent < below.saturating_mul(2))
            })
            .map_or(PressureStep::None, |(step, ..)| step)
    }
}

/// One look at the box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) available_percent: u32,
    pub(super) stall_percent: Option<f64>,
}

/// Where on the ladder the node is.
#[derive(Debug)]
pub(super) struct Ladder {
    thresholds: Thresholds,
    step: PressureStep,
    since: Instant,
    /// Since when readings have asked for less.
    better_since: Option<Instant>,
}

impl Ladder {
    pub(super) fn new(thresholds: Thresholds, now: Instant) -> Self {
        Self {
            thresholds,
            step: PressureStep::None,
            since: now,
            better_since: None,
        }
    }

    /// The step that follows from a reading: up at once, down one at a time.
    pub(super) fn read(&mut self, reading: Reading, now: Instant) -> PressureStep {
        let asked = self.thresholds.step(reading);
        if asked >= self.step {
            self.better_since = None;
            if asked > self.step {
                self.go_to(asked, now);
            }
            return self.step;
        }
        let better_since = *self.better_since.get_or_insert(now);
        if now.saturating_duration_since(better_since) >= BETTER_FOR {
            let down = match self.step {
                PressureStep::Shed => PressureStep::Evict,
                PressureStep::Evict => PressureStep::Shrink,
                PressureStep::Shrink | PressureStep::None => PressureStep::None,
            };
            self.go_to(down.max(asked), now);
            self.better_since = None;
        }
        self.step
    }

    fn go_to(&mut self, step: PressureStep, now: Instant) {
        self.step = step;
        self.since = now;
    }

    /// Priority classes below this are shed.
    pub(super) fn shed_below_class(&self, now: Instant) -> u64 {
        if self.step < PressureStep::Shed {
            return 0;
        }
        let lasted = now.saturating_duration_since(self.since);
        let more = u64::try_from(lasted.as_millis() / NEXT_CLASS_AFTER.as_millis());
        more.unwrap_or(CLASS_MAX).saturating_add(1).min(CLASS_MAX)
    }

    /// What a worker is to do.
    pub(super) fn orders(&self, now: Instant) -> ToWorker {
        ToWorker::Pressure {
            drop_idle_s: match self.step {
                PressureStep::None => None,
                PressureStep::Shrink => Some(SHRINK_IDLE_S),
                PressureStep::Evict | PressureStep::Shed => Some(EVICT_IDLE_S),
            },
            shed_below_class: self.shed_below_class(now),
        }
    }
}

impl Control {
    /// Looks at the box for as long as the node lives.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(super) async fn watch_memory(self: Arc<Self>) {
        let mut ladder = Ladder::new(Thresholds::of(&self.config()), Instant::now());
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut before = PressureStep::None;
        let mut beat = self.memory_pulse.beat();
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = beat.when_asked() => continue,
            }
            let reading = tokio::task::spawn_blocking(|| Reading {
                available_percent: BoxMemory::now().available_percent(),
                stall_percent: memory_stall_percent(),
            });
            let Ok(reading) = reading.await else { continue };
            let now = Instant::now();
            // The configuration may have been read anew.
            ladder.thresholds = Thresholds::of(&self.config());
            let step = ladder.read(reading, now);
            self.metrics
                .memory_pressure(step, reading.available_percent);
            if step != before {
                tracing::warn!(
                    from = before.word(),
                    to = step.word(),
                    available_percent = reading.available_percent,
                    stall_percent = reading.stall_percent.unwrap_or(0.0),
                    "the node's memory pressure changed"
                );
            }
            // Told over and over while it lasts: a worker that has just started knows nothing of it.
            if step != PressureStep::None || before != PressureStep::None {
                self.supervisor.tell(ladder.orders(now));
            }
            before = step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        shrink: 15,
        evict: 10,
        shed: 5,
    };

    fn reading(available_percent: u32) -> Reading {
        Reading {
            available_percent,
            stall_percent: Some(0.0),
        }
    }

    #[test]
    fn it_goes_up_at_once_and_down_step_by_step() {
        let mut now = Instant::now();
        let mut ladder = Ladder::new(THRESHOLDS, now);
        assert_eq!(ladder.read(reading(15), now), PressureStep::None);
        assert_eq!(ladder.read(reading(14), now), PressureStep::Shrink);
        assert_eq!(ladder.read(reading(4), now), PressureStep::Shed);
        // Better, but for a moment only.
        assert_eq!(ladder.read(reading(50), now), PressureStep::Shed);
        assert_eq!(ladder.read(reading(4), now), PressureStep::Shed);
        let mut steps = Vec::new();
        for _ in 0..20 {
            now += Duration::from_secs(1);
            steps.push(ladder.read(reading(50), now));
        }
        steps.dedup();
        assert_eq!(
            steps,
            [
                PressureStep::Shed,
                PressureStep::Evict,
                PressureStep::Shrink,
                PressureStep::None
            ]
        );
    }

    #[test]
    fn classes_are_shed_from_the_lowest_and_the_highest_never() {
        let now = Instant::now();
        let mut ladder = Ladder::new(THRESHOLDS, now);
        assert_eq!(ladder.shed_below_class(now), 0);
        ladder.read(reading(1), now);
        let shed: Vec<_> = (0..6)
            .map(|second| ladder.shed_below_class(now + Duration::from_secs(second)))
            .collect();
        assert_eq!(shed, [1, 2, 3, 3, 3, 3]);
    }

    #[test]
    fn stalls_count_where_memory_is_not_plenty() {
        let now = Instant::now();
        let stalled = |available_percent| Reading {
            available_percent,
            stall_percent: Some(50.0),
        };
        let step = |reading| Ladder::new(THRESHOLDS, now).read(reading, now);
        assert_eq!(step(stalled(80)), PressureStep::None);
        assert_eq!(step(stalled(25)), PressureStep::Shrink);
        assert_eq!(step(stalled(9)), PressureStep::Shed);
        let unknown = Reading {
            available_percent: 25,
            stall_percent: None,
        };
        assert_eq!(step(unknown), PressureStep::None);
    }

    #[test]
    fn zero_is_never() {
        let now = Instant::now();
        let none = Thresholds {
            shrink: 0,
            evict: 0,
            shed: 0,
        };
        assert_eq!(
            Ladder::new(none, now).read(reading(0), now),
            PressureStep::None
        );
    }
}
