//! Orders of threads: what atomics promise, tried in thousands of interleavings that no machine happens to run.
//!
//! The files under test are compiled here once more, against the atomics of `shuttle`, which hand over to another thread at
//! each access.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "test code: a panic is the message, and not all of the file is tried"
)]

/// In place of what the daemon has there.
mod sync {
    pub(crate) use shuttle::sync::Arc;
    pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering};
}

#[allow(unreachable_pub, reason = "it is the daemon's that it is public for")]
#[path = "../../daemon/src/quota/budget.rs"]
mod budget;

use budget::Budget;
use shuttle::thread;
use sync::{Arc, AtomicU64, Ordering};

const SCHEDULES: usize = 5_000;

#[test]
fn a_budget_never_gives_more_than_it_has_and_gets_all_of_it_back() {
    shuttle::check_random(
        || {
            let budget = Arc::new(Budget::new(10));
            let held = Arc::new(AtomicU64::new(0));
            let threads: Vec<_> = [3, 4, 5, 6]
                .into_iter()
                .map(|bytes| {
                    let (budget, held) = (Arc::clone(&budget), Arc::clone(&held));
                    thread::spawn(move || {
                        let mut got = 0;
                        for _ in 0..3 {
                            let Some(charge) = budget.charge(bytes) else {
                                continue;
                            };
                            got += 1;
                            let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                            assert!(now <= 10, "{now} held of 10");
                            held.fetch_sub(bytes, Ordering::SeqCst);
                            drop(charge);
                        }
                        got
                    })
                })
                .collect();
            let got: u32 = threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum();
            assert!(got > 0, "somebody got something");
            assert_eq!(budget.used_bytes(), 0);
            assert!(budget.charge(10).is_some(), "all of it is there again");
        },
        SCHEDULES,
    );
}

#[test]
fn a_budget_made_smaller_under_way_gives_nothing_until_it_is_below() {
    shuttle::check_random(
        || {
            let budget = Arc::new(Budget::new(10));
            let held = budget.charge(8).unwrap();
            let other = {
                let budget = Arc::clone(&budget);
                thread::spawn(move || {
                    budget.set_max(5);
                    budget.charge(1).is_some()
                })
            };
            // Before the change or after it, but never beyond what held at that moment.
            let more = budget.charge(2);
            assert!(!other.join().unwrap(), "8 are held of 5");
            drop((held, more));
            assert_eq!(budget.used_bytes(), 0);
            assert!(budget.charge(6).is_none());
            assert!(budget.charge(5).is_some());
        },
        SCHEDULES,
    );
}
