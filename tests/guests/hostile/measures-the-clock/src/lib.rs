//! Reads both clocks as often as the query says with times=N, and answers the least step of each in nanoseconds.

use p2::Target;
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

fn misbehave(target: &Target, _request: IncomingRequest, out: ResponseOutparam) {
    let times = target.number("times", 100_000);
    let monotonic = least_step(times, monotonic_clock::now);
    let wall = least_step(times, || {
        let now = wall_clock::now();
        now.seconds * 1_000_000_000 + u64::from(now.nanoseconds)
    });
    p2::answer(out, 200, &format!("{monotonic} {wall}\n"));
}

/// The least difference but 0 between two readings, or `u64::MAX` when there was none.
fn least_step(times: u64, now: impl Fn() -> u64) -> u64 {
    let mut last = now();
    let steps = (0..times).map(|_| {
        let step = now().saturating_sub(last);
        last += step;
        step
    });
    steps.filter(|step| *step > 0).min().unwrap_or(u64::MAX)
}

p2::misbehaves!(misbehave);
