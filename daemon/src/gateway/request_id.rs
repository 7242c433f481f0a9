//! Request ids: unique on this node, cheap, and telling nobody how many requests there were.

use std::cell::Cell;
use std::fmt::Write;

/// Makes the ids of one thread: a random start that the thread has for itself, mixed with a counter.
pub struct RequestIds {
    seed: u64,
    next: Cell<u64>,
}

impl RequestIds {
    /// `seed` and `start` are random.
    #[must_use]
    pub fn new(seed: u64, start: u64) -> Self {
        Self {
            seed,
            next: Cell::new(start),
        }
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn next(&self) -> String {
        let counter = self.next.get().wrapping_add(1);
        self.next.set(counter);
        let mut id = String::with_capacity(32);
        // Writing to a `String` cannot fail.
        let _ = write!(id, "{:016x}{:016x}", self.seed, mix(counter ^ self.seed));
        id
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): a
/// bijection, so that distinct counters give distinct ids.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_length_and_do_not_repeat() {
        let ids = RequestIds::new(7, u64::MAX - 2);
        let made: std::collections::BTreeSet<_> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| id.len() == 32));
    }
}
