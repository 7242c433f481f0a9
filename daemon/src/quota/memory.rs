//! Memory of guests: a budget for the node, a most and a guaranteed part for each tenant.
//!
//! Every byte is taken before it is used and given back when its instance ends. A tenant draws on its guaranteed part
//! first, which nobody else can have, and then on what is left of the node's budget once all guaranteed parts are put
//! aside. Counting is exact: what tenants hold adds up to what the node says.

use std::sync::{Arc, Mutex, PoisonError};

use super::budget::Budget;

/// Who has not as much left as was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// The tenant: its most is reached.
    Tenant,
    /// The node.
    Node,
}

/// What one tenant's live instances hold.
#[derive(Debug)]
pub struct TenantMemory {
    shared: Arc<Budget>,
    ledger: Mutex<Ledger>,
}

#[derive(Debug)]
struct Ledger {
    used_bytes: u64,
    bytes_max: u64,
    guaranteed_bytes: u64,
}

impl Ledger {
    /// The part of `used_bytes` that the shared budget bears.
    fn beyond_guarantee(&self) -> u64 {
        self.used_bytes.saturating_sub(self.guaranteed_bytes)
    }
}

impl TenantMemory {
    /// A tenant that holds nothing yet.
    #[must_use]
    pub fn new(shared: Arc<Budget>, bytes_max: u64, guaranteed_bytes: u64) -> Self {
        Self {
            shared,
            ledger: Mutex::new(Ledger {
                used_bytes: 0,
                bytes_max,
                guaranteed_bytes,
            }),
        }
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the bounds. What is held beyond a smaller most stays held until its instances end.
    pub fn set_bounds(&self, bytes_max: u64, guaranteed_bytes: u64) {
        let mut ledger = self.ledger();
        let before = ledger.beyond_guarantee();
        ledger.bytes_max = bytes_max;
        ledger.guaranteed_bytes = guaranteed_bytes;
        let after = ledger.beyond_guarantee();
        self.shared.owe(after.saturating_sub(before));
        self.shared.give(before.saturating_sub(after));
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// Who has not that much left; then nothing is taken.
    pub fn take(&self, bytes: u64) -> Result<(), Lack> {
        let mut ledger = self.ledger();
        let before = ledger.beyond_guarantee();
        let used = ledger.used_bytes.saturating_add(bytes);
        if used > ledger.bytes_max {
            return Err(Lack::Tenant);
        }
        let after = used.saturating_sub(ledger.guaranteed_bytes);
        if !self.shared.take(after - before) {
            return Err(Lack::Node);
        }
        ledger.used_bytes = used;
        Ok(())
    }

    /// Gives back what was taken.
    pub fn give(&self, bytes: u64) {
        let mut ledger = self.ledger();
        let before = ledger.beyond_guarantee();
        ledger.used_bytes = ledger.used_bytes.saturating_sub(bytes);
        self.shared.give(before - ledger.beyond_guarantee());
    }

    /// Bytes held now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.ledger().used_bytes
    }
}

impl Drop for TenantMemory {
    fn drop(&mut self) {
        let held = self.ledger().beyond_guarantee();
        self.shared.give(held);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenant(shared: &Arc<Budget>, most: u64, guaranteed: u64) -> TenantMemory {
        TenantMemory::new(Arc::clone(shared), most, guaranteed)
    }

    #[test]
    fn a_guarantee_holds_when_others_took_all_there_was() {
        let shared = Arc::new(Budget::new(100));
        let (greedy, careful) = (tenant(&shared, 1000, 0), tenant(&shared, 1000, 50));
        assert_eq!(greedy.take(100), Ok(()));
        assert_eq!(greedy.take(1), Err(Lack::Node));
        assert_eq!(careful.take(50), Ok(()));
        assert_eq!(
            careful.take(1),
            Err(Lack::Node),
            "beyond it there is nothing left"
        );
        greedy.give(10);
        assert_eq!(careful.take(10), Ok(()));
        assert_eq!((careful.used_bytes(), shared.used_bytes()), (60, 100));
    }

    #[test]
    fn a_most_below_what_is_held_only_stops_growth() {
        let shared = Arc::new(Budget::new(100));
        let tenant = tenant(&shared, 80, 0);
        assert_eq!(tenant.take(80), Ok(()));
        tenant.set_bounds(40, 20);
        assert_eq!(shared.used_bytes(), 60);
        assert_eq!(tenant.take(1), Err(Lack::Tenant));
        tenant.give(50);
        assert_eq!(tenant.take(10), Ok(()));
        assert_eq!(tenant.take(1), Err(Lack::Tenant));
        drop(tenant);
        assert_eq!(shared.used_bytes(), 0);
    }

    proptest! {
        /// After any sequence: nobody holds more than its most allowed when it took, the shared budget bears exactly
        /// what lies beyond guarantees, and whoever is below its guarantee can take up to it.
        #[test]
        fn the_books_balance(steps in prop::collection::vec((0usize..3, 0u8..3, 0u64..60), 1..300)) {
            let shared = Arc::new(Budget::new(100));
            let guarantees = [0u64, 30, 50];
            let tenants = guarantees.map(|guaranteed| tenant(&shared, 90, guaranteed));
            let mut held = [0u64; 3];
            for (who, what, bytes) in steps {
                match what {
                    0 | 1 => {
                        let taken = tenants[who].take(bytes).is_ok();
                        if taken {
                            held[who] += bytes;
                        }
                        prop_assert!(taken || held[who] + bytes > guarantees[who], "a guarantee was broken");
                        prop_assert!(held[who] <= 90);
                    }
                    _ => {
                        let given = bytes.min(held[who]);
                        tenants[who].give(given);
                        held[who] -= given;
                    }
                }
                let beyond: u64 = (0..3).map(|at| held[at].saturating_sub(guarantees[at])).sum();
                prop_assert_eq!(shared.used_bytes(), beyond);
                prop_assert!(beyond <= 100);
                prop_assert_eq!(tenants[who].used_bytes(), held[who]);
            }
        }
    }
}
