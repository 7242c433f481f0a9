//! Which components stay in memory, and which give way to others.
//!
//! S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: FIFO Queues Are All You Need for Cache Eviction, SOSP 2023), as
//! `quick_cache` has it: what was loaded once and not asked for again leaves by a small queue, so that a scan of all
//! tenants drives out none that are in use. Uses are noted by the thread that serves, without a lock, and read here
//! when something must give way.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quick_cache::unsync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use super::resident::{ResidentBounds, Slot};
use crate::link::ArtifactName;

/// The part of the budget that is for what has been asked for more than once; the rest is the small queue.
const MAIN_PART: f64 = 0.9;
/// Names of components that were dropped lately are remembered, as many as there are places: one of those that comes
/// back is in use.
const REMEMBERED_PART: f64 = 1.0;
/// What a component takes is seldom less, in bytes: how many places to expect.
const COMPONENT_BYTES: u64 = 256 << 10;

/// The components that are loaded.
pub(super) struct Policy {
    slots: Cache<ArtifactName, Arc<Slot>, Weights, DefaultHashBuilder, GiveWay>,
    bytes: u64,
}

/// What a component weighs: its bytes, and no less than its part of all that may be loaded by number.
struct Weights {
    least: u64,
    most: u64,
}

impl Weighter<ArtifactName, Arc<Slot>> for Weights {
    fn weight(&self, _: &ArtifactName, slot: &Arc<Slot>) -> u64 {
        slot.bytes().clamp(self.least, self.most)
    }
}

/// Collects what gives way.
struct GiveWay;

impl Lifecycle<ArtifactName, Arc<Slot>> for GiveWay {
    type RequestState = Vec<Arc<Slot>>;

    fn on_evict(&self, out: &mut Vec<Arc<Slot>>, _: ArtifactName, slot: Arc<Slot>) {
        out.push(slot);
    }
}

impl Policy {
    pub(super) fn new(bounds: ResidentBounds) -> Self {
        let bytes_max = bounds.bytes_max.max(2);
        let count_max = u64::try_from(bounds.components_max.max(1)).unwrap_or(u64::MAX);
        let places = (bytes_max / COMPONENT_BYTES).clamp(1, count_max);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a part of a budget"
        )]
        let most = ((bytes_max as f64 * MAIN_PART) as u64).max(1);
        let options = OptionsBuilder::new()
            .weight_capacity(bytes_max)
            .estimated_items_capacity(usize::try_from(places).unwrap_or(usize::MAX))
            .hot_allocation(MAIN_PART)
            .ghost_allocation(REMEMBERED_PART)
            .build()
            .expect("capacities are given");
        let weights = Weights {
            least: bytes_max.div_ceil(count_max).min(most),
            // A component that is larger than all there is for components is kept, alone.
            most,
        };
        Self {
            slots: Cache::with_options(options, weights, DefaultHashBuilder::default(), GiveWay),
            bytes: 0,
        }
    }

    /// Takes a component that was loaded; gives what must give way for it.
    #[must_use]
    pub(super) fn insert(&mut self, slot: Arc<Slot>) -> Vec<Arc<Slot>> {
        self.note_uses();
        self.bytes = self.bytes.saturating_add(slot.bytes());
        let mut out = Vec::new();
        self.slots
            .insert_with_lifecycle(slot.name(), slot, &mut out);
        self.subtract(&out);
        out
    }

    /// Takes out those that are not to be kept, and gives them.
    #[must_use]
    pub(super) fn remove_unless(&mut self, keep: impl Fn(&Slot) -> bool) -> Vec<Arc<Slot>> {
        let unwanted = self.slots.iter().filter(|(_, slot)| !keep(slot));
        let out: Vec<_> = unwanted.map(|(_, slot)| Arc::clone(slot)).collect();
        for slot in &out {
            self.slots.remove(&slot.name());
        }
        self.subtract(&out);
        out
    }

    /// Counts a second for those that were not used in it.
    pub(super) fn second_passed(&self) {
        self.note_uses();
        for (_, slot) in self.slots.iter() {
            slot.idle_s.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn note_uses(&self) {
        for (name, slot) in self.slots.iter() {
            if slot.used.swap(false, Ordering::Relaxed) {
                slot.idle_s.store(0, Ordering::Relaxed);
                let _ = self.slots.get(name);
            }
        }
    }

    fn subtract(&mut self, out: &[Arc<Slot>]) {
        for slot in out {
            self.bytes = self.bytes.saturating_sub(slot.bytes());
        }
    }

    /// Whether something more can be loaded without anything giving way, most likely.
    pub(super) fn has_room(&self) -> bool {
        let capacity = self.slots.capacity();
        self.slots.weight() < capacity - capacity / 8
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::World;

    fn slot(number: u32, bytes: u64) -> Arc<Slot> {
        let mut name = [0; 32];
        name[..4].copy_from_slice(&number.to_le_bytes());
        let slot = Slot::new(ArtifactName(name), World::Proxy02);
        slot.bytes.store(bytes, Ordering::Relaxed);
        Arc::new(slot)
    }

    fn policy(components_max: usize, bytes_max: u64) -> Policy {
        Policy::new(ResidentBounds {
            components_max,
            bytes_max,
        })
    }

    #[test]
    fn a_scan_of_all_tenants_drives_out_none_that_are_in_use() {
        let mut policy = policy(100, 100 << 20);
        let in_use: Vec<_> = (0..50).map(|number| slot(number, 1 << 20)).collect();
        let mut dropped = Vec::new();
        for slot in &in_use {
            dropped.extend(policy.insert(Arc::clone(slot)));
        }
        for number in 1000..11_000 {
            for slot in &in_use {
                slot.used.store(true, Ordering::Relaxed);
            }
            dropped.extend(policy.insert(slot(number, 1 << 20)));
        }
        let lost = in_use
            .iter()
            .filter(|slot| dropped.iter().any(|dropped| Arc::ptr_eq(slot, dropped)))
            .count();
        assert_eq!(lost, 0);
        assert!(policy.len() <= 100 && policy.bytes() <= 100 << 20);
    }

    #[test]
    fn what_is_no_longer_used_gives_way_to_what_is() {
        let mut policy = policy(100, 100 << 20);
        for number in 0..100 {
            let slot = slot(number, 1 << 20);
            slot.used.store(true, Ordering::Relaxed);
            drop(policy.insert(slot));
        }
        let new: Vec<_> = (1000..1050).map(|number| slot(number, 1 << 20)).collect();
        let mut loaded = std::collections::HashSet::new();
        let mut loads = 0;
        for _ in 0..20 {
            for slot in &new {
                // As a request does: loaded where it is not, then used.
                if loaded.insert(slot.name()) {
                    loads += 1;
                    for dropped in policy.insert(Arc::clone(slot)) {
                        loaded.remove(&dropped.name());
                    }
                } else {
                    slot.used.store(true, Ordering::Relaxed);
                }
            }
        }
        assert_eq!(loaded.len(), 50, "all of them stay in the end");
        assert!(loads < 50 * 20 / 2, "{loads} loads");
    }

    #[test]
    fn count_and_bytes_are_bounded_and_a_component_larger_than_all_is_kept() {
        let mut few = policy(3, 100 << 20);
        let mut dropped = 0;
        for number in 0..10 {
            dropped += few.insert(slot(number, 1)).len();
        }
        assert!(few.len() <= 3 && few.len() + dropped == 10, "{}", few.len());

        let mut small = policy(100, 1000);
        drop(small.insert(slot(1, 500)));
        let large = slot(2, 1 << 30);
        let out = small.insert(Arc::clone(&large));
        assert!(!out.iter().any(|slot| Arc::ptr_eq(slot, &large)));
        assert_eq!(small.bytes(), 1 << 30);
        assert_eq!(small.remove_unless(|_| false).len(), 1);
        assert_eq!(small.bytes(), 0);
    }

    #[test]
    fn seconds_count_for_what_is_not_used() {
        let mut policy = policy(10, 10 << 20);
        let (used, idle) = (slot(1, 1), slot(2, 1));
        drop(policy.insert(Arc::clone(&used)));
        drop(policy.insert(Arc::clone(&idle)));
        for _ in 0..3 {
            used.used.store(true, Ordering::Relaxed);
            policy.second_passed();
        }
        assert_eq!(used.idle_s.load(Ordering::Relaxed), 1);
        assert_eq!(idle.idle_s.load(Ordering::Relaxed), 3);
    }
}
