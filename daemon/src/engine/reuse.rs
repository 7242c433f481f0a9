//! Instances that serve more than one request, where a module's developers chose that.
//!
//! Takes instances whose request ended well and gives them to later requests of the same module of the same tenant,
//! the one that rested shortest first, so that the others expire. Promises that an instance never serves another
//! tenant, another module or another version; that it serves no more requests, and rests no longer, than was chosen;
//! and that it gives way: where a tenant or the node has no memory or no instance left, those that rest end first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::hive::{Hive, Member};
use super::instance::Live;
use super::resident::Slot;
use crate::host::NextRequest;
use crate::link::{ModuleGrants, Reuse, World};
use crate::quota::{Lack, Tenant, TenantMemory};

/// By how much the count and the time of one instance may be below what was chosen: one part in so many. Instances
/// that began together do not end together.
const SPREAD: u64 = 4;

/// The instances of one module of one tenant that rest between requests.
pub struct Instances {
    tenant: Arc<Tenant>,
    slot: Arc<Slot>,
    reuse: Reuse,
    /// What its guests may do: those of other grants are made anew.
    grants: Option<ModuleGrants>,
    resting: Mutex<Vec<Rested>>,
    /// Those that serve several at once, with the most that each may serve.
    shared: Mutex<Vec<(Arc<Hive>, u64)>>,
    reused: Arc<AtomicU64>,
}

struct Rested {
    live: Live,
    until: Instant,
}

impl Instances {
    /// Whether these are what a route needs that serves this.
    #[must_use]
    pub fn fit(
        &self,
        tenant: &Arc<Tenant>,
        slot: &Arc<Slot>,
        reuse: Reuse,
        grants: &Option<ModuleGrants>,
    ) -> bool {
        Arc::ptr_eq(&self.tenant, tenant)
            && Arc::ptr_eq(&self.slot, slot)
            && self.reuse == reuse
            && self.grants == *grants
    }

    /// The instance that rested shortest, if there is one with at most `memory_bytes_max` bytes of linear memory.
    #[must_use]
    pub fn take(&self, memory_bytes_max: u64, now: Instant) -> Option<Live> {
        loop {
            let rested = self.resting().pop()?;
            // Dropped here where it does not do: its time is over, or its tenant may have less now than it has.
            if now < rested.until && rested.live.memory_bytes() <= memory_bytes_max {
                self.reused.fetch_add(1, Ordering::Relaxed);
                return Some(rested.live);
            }
        }
    }

    /// Takes an instance whose request ended well; drops it where it has served enough or has grown too large.
    pub fn put(&self, live: Live, now: Instant) {
        let dice = live.dice();
        let requests_max = below(self.reuse.requests_max.into(), dice);
        if u64::from(live.served()) >= requests_max
            || live.memory_bytes() > self.reuse.memory_bytes_max
        {
            return;
        }
        let idle_ms = below(self.reuse.idle_ms_max, dice);
        let rested = Rested {
            live,
            until: now + Duration::from_millis(idle_ms),
        };
        self.resting().push(rested);
    }

    /// Whether an instance serves several requests at once.
    #[must_use]
    pub fn are_shared(&self) -> bool {
        self.reuse.concurrency_max > 1 && self.slot.world() == World::Service03
    }

    /// A place in an instance that serves several at once.
    #[must_use]
    pub fn join(&self, next: &NextRequest) -> Option<Member> {
        let mut shared = self.shared();
        shared.retain(|(hive, _)| !self.is_over(hive));
        let found = shared.iter().find_map(|(hive, total_max)| {
            hive.join(self.reuse.concurrency_max, *total_max, next.clone())
        });
        if found.is_some() {
            self.reused.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// Lets others find an instance, and gives its first request its place.
    pub(super) fn open(&self, hive: Arc<Hive>, dice: u64, next: NextRequest) -> Member {
        let total_max = below(self.reuse.requests_max.into(), dice);
        let member = hive.first(next);
        self.shared().push((hive, total_max));
        member
    }

    /// Whether nobody new may come in: closed, or grown too large. Those that are in it keep it.
    fn is_over(&self, hive: &Hive) -> bool {
        if hive.memory_bytes() > self.reuse.memory_bytes_max {
            hive.close();
        }
        hive.is_closed()
    }

    fn shared(&self) -> MutexGuard<'_, Vec<(Arc<Hive>, u64)>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Rested>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends those whose time is over; all of them if their component was dropped, whose code they would keep.
    fn sweep(&self, now: Instant) {
        let over: Vec<_> = {
            let mut resting = self.resting();
            if self.slot.is_loaded() {
                resting
                    .extract_if(.., |rested| rested.until <= now)
                    .collect()
            } else {
                resting.drain(..).collect()
            }
        };
        drop(over);
        self.shared().retain(|(hive, _)| !self.is_over(hive));
        let idle = Duration::from_millis(self.reuse.idle_ms_max);
        let is_loaded = self.slot.is_loaded();
        let over = self.take_shared(|since| !is_loaded || since + idle <= now);
        drop(over);
    }

    fn clear(&self) -> bool {
        let all = std::mem::take(&mut *self.resting());
        let shared = self.take_shared(|_| true);
        !all.is_empty() || !shared.is_empty()
    }

    /// Those that nobody is in, if they are `over`.
    fn take_shared(&self, over: impl Fn(Instant) -> bool) -> Vec<(Arc<Hive>, u64)> {
        let is_over = |(hive, _): &mut (Arc<Hive>, u64)| hive.rests_since().is_some_and(&over);
        let taken: Vec<_> = self.shared().extract_if(.., is_over).collect();
        for (hive, _) in &taken {
            hive.close();
        }
        taken
    }

    fn count(&self) -> u64 {
        let shared = self.shared();
        let resting = shared
            .iter()
            .filter(|(hive, _)| hive.rests_since().is_some());
        (self.resting().len() + resting.count()) as u64
    }
}

/// Up to a [`SPREAD`]th below `most`, and never below 1.
fn below(most: u64, dice: u64) -> u64 {
    let span = u128::from(most / SPREAD) + 1;
    // Fibonacci hashing (Knuth, TAOCP vol. 3, 6.4): neighbours fall far apart.
    let hash = u128::from(dice.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let spread = u64::try_from((hash * span) >> 64).unwrap_or(0);
    most.saturating_sub(spread).max(1)
}

/// All of a worker's instances that rest.
#[derive(Default)]
pub struct Resting {
    tenants: Mutex<HashMap<Account, Vec<Weak<Instances>>>>,
    reused: Arc<AtomicU64>,
}

/// A tenant, by the address of its memory's account, which its instances keep alive.
type Account = usize;

fn account(tenant: &Arc<TenantMemory>) -> Account {
    Arc::as_ptr(tenant).addr()
}

impl Resting {
    /// A place for the instances of a module of a tenant.
    #[must_use]
    pub fn module(
        &self,
        tenant: Arc<Tenant>,
        slot: Arc<Slot>,
        reuse: Reuse,
        grants: Option<ModuleGrants>,
    ) -> Arc<Instances> {
        let account = account(tenant.memory());
        let instances = Arc::new(Instances {
            tenant,
            slot,
            reuse,
            grants,
            resting: Mutex::default(),
            shared: Mutex::default(),
            reused: Arc::clone(&self.reused),
        });
        let of_tenant = Arc::downgrade(&instances);
        self.tenants().entry(account).or_default().push(of_tenant);
        instances
    }

    /// To be called once a second: ends instances whose time is over.
    pub fn second_passed(&self, now: Instant) {
        for instances in self.all() {
            instances.sweep(now);
        }
    }

    /// Ends all that rest: the node is short of memory.
    pub fn clear(&self) {
        for instances in self.all() {
            instances.clear();
        }
    }

    /// Ends instances that rest on behalf of a guest of this tenant: the tenant's own where that is what lacks memory,
    /// then, where the node does, all of them. Whether there were any.
    pub(super) fn make_room(&self, tenant: &Arc<TenantMemory>, lack: Lack) -> bool {
        let own = self
            .tenants()
            .get(&account(tenant))
            .map_or_else(Vec::new, |own| {
                own.iter().filter_map(Weak::upgrade).collect()
            });
        let clear = |instances: Vec<Arc<Instances>>| {
            let cleared = instances.iter().filter(|instances| instances.clear());
            cleared.count() > 0
        };
        clear(own) || (lack == Lack::Node && clear(self.all()))
    }

    /// How many rest now.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.all().iter().map(|instances| instances.count()).sum()
    }

    /// Requests that were served by an instance that had served before, since the last call.
    #[must_use]
    pub fn take_reused(&self) -> u64 {
        self.reused.swap(0, Ordering::Relaxed)
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<Account, Vec<Weak<Instances>>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are still there; forgets the others.
    fn all(&self) -> Vec<Arc<Instances>> {
        let mut all = Vec::new();
        self.tenants().retain(|_, of_tenant| {
            of_tenant.retain(|instances| {
                let instances = instances.upgrade();
                let is_there = instances.is_some();
                all.extend(instances);
                is_there
            });
            !of_tenant.is_empty()
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn an_instances_own_bound_is_at_most_a_quarter_below_what_was_chosen(most in 1_u64.., dice: u64) {
            let bound = below(most, dice);
            proptest::prop_assert!(bound <= most && bound >= (most - most / SPREAD).max(1));
        }
    }

    #[test]
    fn instances_that_began_together_do_not_end_together() {
        let bounds: std::collections::BTreeSet<_> = (0..16).map(|dice| below(128, dice)).collect();
        assert!(bounds.len() >= 12, "{bounds:?}");
    }
}
