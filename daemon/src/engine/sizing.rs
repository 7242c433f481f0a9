//! How many instances this box can have, decided once at start.
//!
//! Takes what the box has and what the operator wants; gives the engine's shape, with what decided it. Where the
//! operator names a number, that number is what there is, or an error. Where not, it is the least of:
//!
//! | bound | instances | since |
//! | --- | --- | --- |
//! | memory | the budget of guests / 512 KiB | smaller guests than this there are few of: those of Rust's std declare 1.06 MiB |
//! | cores | 1,000 a core | a core answers so many short requests in less than 0.1 s; whoever waits for longer has its own limits |
//! | maps | ¾ of `vm.max_map_count` / 4 | an instance takes 4 memory maps; the rest is for components and the process |
//! | most | 10,000 | each costs the worker 0.4 KiB of records and the kernel four maps, in use or not |
//! | addresses | ½ of the address space / a slot | half, since a slab needs room in one piece |
//!
//! Guard pages where that number of the large slots fits, or where compact ones would not give twice as many as guard
//! pages allow: compiled code that checks its bounds computes more slowly (`tests/performance/results/compute.md`).
//!
//! What ended instances leave for the next is bounded by the slots there are, all of which may have been in use at
//! once: wasmtime's `max_unused_warm_slots` only says when to give one module's slot to another. So the share of each
//! slot is the budget for what is kept, over all slots.

use serde::Serialize;

use super::config::KEPT_AT_MOST;
use super::figures::BoxFigures;
use super::shape::{
    EngineShape, Kept, Layout, STACKS_PER_INSTANCE, ShapeError, TABLES_PER_INSTANCE,
};

/// Memory of guests for each instance, in bytes.
const GUEST_BYTES_PER_INSTANCE: u64 = 512 << 10;
/// Instances for each core.
const INSTANCES_PER_CORE: u64 = 1_000;
/// Instances that nobody asked for by number.
const INSTANCES_MOST: u64 = 10_000;
/// Memory maps that each instance takes in a worker: 20,056 were there for 5,000.
const MAPS_PER_INSTANCE: u64 = 4;
/// Slots stand ready for so many modules at least, however little they keep.
const WARM_SLOTS_MIN: u32 = 16;

/// Where the kernel does not tell which pages were written, the lowest ones are kept, by writing zeros to all of them. In
/// guests of Rust's those are a stack of 1 MiB of which only the upper end is used: keeping less than this, in bytes,
/// would cost both time and memory, for pages that nobody touches.
const KEPT_UNSCANNED_BYTES_MIN: u64 = 1_280 << 10;

/// What the operator wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Instances at once; 0 is as many as the box is good for.
    pub instances_max: u32,
    /// The most that one memory is to grow to, in bytes.
    pub memory_bytes_max: u64,
    /// The budget of guests, in bytes.
    pub guests_bytes: u64,
    /// The budget for what ended instances leave, in bytes.
    pub kept_bytes: u64,
}

/// What decided the number of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// `worker.instances_max`.
    Configured,
    /// The budget of guests.
    Memory,
    /// The number of cores.
    Cores,
    /// `vm.max_map_count`.
    Maps,
    /// The address space.
    Addresses,
    /// What nobody has by default.
    Most,
}

/// Instances by each bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// By the budget of guests.
    pub memory: u64,
    /// By cores.
    pub cores: u64,
    /// By `vm.max_map_count`.
    pub maps: u64,
    /// By addresses, with guard pages.
    pub guarded: u64,
    /// By addresses, in compact slots.
    pub compact: u64,
    /// In any case.
    pub most: u64,
}

/// A shape, and why it is that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// The shape.
    pub shape: EngineShape,
    /// What decided the number of instances.
    pub bound: Bound,
    /// What each bound would allow.
    pub bounds: Bounds,
}

impl Pool {
    /// The pool for this box.
    ///
    /// # Errors
    /// [`ShapeError`] where a number was named that does not fit, or not a single instance does.
    pub fn size(wanted: &Wanted, on: &BoxFigures) -> Result<Self, ShapeError> {
        let bounds = Bounds::of(wanted, on);
        let (mut shape, bound) = match wanted.instances_max {
            0 => by_the_box(wanted, on, &bounds)?,
            named => (by_name(named, wanted, on)?, Bound::Configured),
        };
        shape.kept = kept(wanted.kept_bytes, shape.instances_max, on);
        // As many as fit the budget if each keeps all that is of use.
        let warm = wanted.kept_bytes / KEPT_AT_MOST.instance_bytes().max(1);
        shape.warm_slots = u32::try_from(warm)
            .unwrap_or(u32::MAX)
            .max(WARM_SLOTS_MIN)
            .min(shape.instances_max);
        Ok(Self {
            shape,
            bound,
            bounds,
        })
    }

    /// Address space that the pool takes in the worker, in bytes.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.shape.layout().pool_bytes(self.shape.instances_max)
    }

    /// The most that ended instances leave in memory, all slots together, in bytes.
    #[must_use]
    pub fn kept_bytes_max(&self) -> u64 {
        let slots = u64::from(self.shape.instances_max);
        slots.saturating_mul(self.shape.kept.instance_bytes())
    }
}

impl Bounds {
    fn of(wanted: &Wanted, on: &BoxFigures) -> Self {
        let available = on.address_space_bytes / 2;
        Self {
            memory: (wanted.guests_bytes / GUEST_BYTES_PER_INSTANCE).max(1),
            cores: u64::from(on.cores.max(1)).saturating_mul(INSTANCES_PER_CORE),
            maps: (maps_for_instances(on.maps_max) / MAPS_PER_INSTANCE).max(1),
            guarded: Layout::GUARDED.instances_within(available),
            compact: Layout::compact(wanted.memory_bytes_max).instances_within(available),
            most: INSTANCES_MOST,
        }
    }

    /// The least of those that have nothing to do with addresses.
    fn least(&self) -> (u64, Bound) {
        [
            (self.memory, Bound::Memory),
            (self.cores, Bound::Cores),
            (self.maps, Bound::Maps),
            (self.most, Bound::Most),
        ]
        .into_iter()
        .min_by_key(|(count, _)| *count)
        .unwrap_or((self.most, Bound::Most))
    }
}

/// Three quarters: the rest is for components and the process itself.
fn maps_for_instances(maps_max: u64) -> u64 {
    maps_max / 4 * 3
}

fn by_the_box(
    wanted: &Wanted,
    on: &BoxFigures,
    bounds: &Bounds,
) -> Result<(EngineShape, Bound), ShapeError> {
    let (least, bound) = bounds.least();
    let compact = least.min(bounds.compact);
    let (layout, count) = if compact <= bounds.guarded.saturating_mul(2) {
        (Layout::GUARDED, least.min(bounds.guarded))
    } else {
        (Layout::compact(wanted.memory_bytes_max), compact)
    };
    let bound = if count < least {
        Bound::Addresses
    } else {
        bound
    };
    match u32::try_from(count).unwrap_or(u32::MAX) {
        // Refused with the figures for one.
        0 => by_name(1, wanted, on).map(|shape| (shape, Bound::Addresses)),
        count => Ok((EngineShape::of(layout, count, on.pagemap_scan), bound)),
    }
}

fn by_name(
    instances_max: u32,
    wanted: &Wanted,
    on: &BoxFigures,
) -> Result<EngineShape, ShapeError> {
    let needed = u64::from(instances_max).saturating_mul(MAPS_PER_INSTANCE);
    let available = maps_for_instances(on.maps_max);
    if needed > available {
        return Err(ShapeError::Maps {
            instances_max,
            needed,
            available,
        });
    }
    EngineShape::fit(
        instances_max,
        wanted.memory_bytes_max,
        on.address_space_bytes,
        on.pagemap_scan,
    )
}

/// What each slot may keep so that all together keep to the budget. Stacks come first: every instance uses one.
fn kept(kept_bytes: u64, instances: u32, on: &BoxFigures) -> Kept {
    let page_bytes = on.page_bytes.max(1);
    let whole_pages = |bytes: u64| bytes / page_bytes * page_bytes;
    let mut left = kept_bytes / u64::from(instances.max(1));
    let stack_bytes = whole_pages((left / 4).min(KEPT_AT_MOST.stack_bytes));
    left = left.saturating_sub(stack_bytes.saturating_mul(STACKS_PER_INSTANCE.into()));
    let table_bytes = whole_pages((left / 16).min(KEPT_AT_MOST.table_bytes));
    left = left.saturating_sub(table_bytes.saturating_mul(TABLES_PER_INSTANCE.into()));
    let memory_bytes = whole_pages(left.min(KEPT_AT_MOST.memory_bytes));
    let of_use = on.pagemap_scan || memory_bytes >= KEPT_UNSCANNED_BYTES_MIN;
    Kept {
        memory_bytes: if of_use { memory_bytes } else { 0 },
        table_bytes,
        stack_bytes,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A board with 4 cores and 1 GiB, of which the kernel takes some, in 39 bits.
    fn board() -> BoxFigures {
        BoxFigures {
            address_space_bytes: 1 << 39,
            maps_max: 65_530,
            cores: 4,
            page_bytes: 4096,
            pagemap_scan: true,
        }
    }

    fn server() -> BoxFigures {
        BoxFigures {
            address_space_bytes: 1 << 47,
            ..board()
        }
    }

    fn wanted(guests_mib: u64) -> Wanted {
        Wanted {
            instances_max: 0,
            memory_bytes_max: 64 * MIB,
            guests_bytes: guests_mib * MIB,
            kept_bytes: guests_mib * MIB / 5,
        }
    }

    fn sized(wanted: &Wanted, on: &BoxFigures) -> (u32, bool, Bound) {
        let pool = Pool::size(wanted, on).unwrap();
        (
            pool.shape.instances_max,
            pool.shape.has_guard_pages(),
            pool.bound,
        )
    }

    #[test]
    fn each_bound_decides_where_it_is_the_least() {
        assert_eq!(sized(&wanted(474), &board()), (948, false, Bound::Memory));
        let small = BoxFigures {
            cores: 3,
            ..board()
        };
        assert_eq!(sized(&wanted(2048), &small), (3_000, false, Bound::Cores));
        assert_eq!(sized(&wanted(2048), &server()), (4_000, true, Bound::Cores));
        let many = BoxFigures {
            cores: 64,
            ..server()
        };
        assert_eq!(sized(&wanted(1 << 20), &many), (10_000, true, Bound::Most));
        let few_maps = BoxFigures {
            maps_max: 8_000,
            ..many
        };
        assert_eq!(
            sized(&wanted(1 << 20), &few_maps),
            (1_500, true, Bound::Maps)
        );
        let large = Wanted {
            memory_bytes_max: 512 * MIB,
            ..wanted(2048)
        };
        let (count, guarded, bound) = sized(&large, &board());
        assert!((500..512).contains(&count), "{count}");
        assert_eq!((guarded, bound), (false, Bound::Addresses));
    }

    /// Slots of 4 GiB and more would be checked in code for nothing.
    #[test]
    fn guard_pages_stay_where_compact_slots_would_not_give_twice_as_many() {
        let large = Wanted {
            memory_bytes_max: 4096 * MIB,
            ..wanted(2048)
        };
        let (count, guarded, bound) = sized(&large, &board());
        assert!((60..64).contains(&count), "{count}");
        assert_eq!((guarded, bound), (true, Bound::Addresses));
        assert_eq!(sized(&wanted(30), &board()), (60, true, Bound::Memory));
    }

    #[test]
    fn a_number_that_was_named_is_kept_or_refused() {
        let named = |instances_max| Wanted {
            instances_max,
            ..wanted(64)
        };
        assert_eq!(
            sized(&named(3_000), &board()),
            (3_000, false, Bound::Configured)
        );
        assert!(Pool::size(&named(12_286), &server()).is_ok());
        // Such a node once came up, and its worker died at each start.
        assert_eq!(
            Pool::size(&named(20_000), &server())
                .unwrap_err()
                .to_string(),
            "20000 instances need 80000 memory maps; 49146 of those that this box allows a process are for instances: \
             lower worker.instances_max or raise the sysctl vm.max_map_count"
        );
        let tiny = BoxFigures {
            address_space_bytes: 64 * MIB,
            ..board()
        };
        let error = Pool::size(&wanted(64), &tiny).unwrap_err();
        assert!(
            matches!(
                error,
                ShapeError::AddressSpace {
                    instances_max: 1,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn slots_keep_no_more_than_is_of_use() {
        let pool = Pool::size(&wanted(1 << 20), &server()).unwrap();
        assert_eq!(pool.shape.kept, KEPT_AT_MOST);
        assert_eq!(pool.shape.warm_slots, pool.shape.instances_max);
        let pool = Pool::size(&wanted(474), &board()).unwrap();
        assert_eq!(pool.shape.kept.memory_bytes, 52 << 10);
        let unscanned = BoxFigures {
            pagemap_scan: false,
            ..board()
        };
        let pool = Pool::size(&wanted(474), &unscanned).unwrap();
        assert_eq!(pool.shape.kept.memory_bytes, 0);
    }

    proptest! {
        #[test]
        fn whatever_the_box_the_pool_keeps_within_it(
            bits in 36_u32..=56, maps_max in 1_000_u64..1_000_000, cores in 1_u32..512, page_bits in 12_u32..=16,
            guests_mib in 1_u64..1 << 22, memory_mib in 1_u64..=4096, kept_mib in 0_u64..1 << 16, named in 0_u32..100_000,
        ) {
            let on = BoxFigures {
                address_space_bytes: 1 << bits, maps_max, cores, page_bytes: 1 << page_bits, pagemap_scan: true,
            };
            let wanted = Wanted {
                instances_max: named, memory_bytes_max: memory_mib * MIB, guests_bytes: guests_mib * MIB,
                kept_bytes: kept_mib * MIB,
            };
            if let Ok(pool) = Pool::size(&wanted, &on) {
                let shape = &pool.shape;
                prop_assert!(shape.instances_max >= 1);
                prop_assert!(named == 0 || shape.instances_max == named);
                prop_assert!(pool.reserved_bytes() <= on.address_space_bytes / 2);
                prop_assert!(u64::from(shape.instances_max) * MAPS_PER_INSTANCE <= maps_max);
                prop_assert!(pool.kept_bytes_max() <= wanted.kept_bytes);
                prop_assert!(shape.memory_bytes_max >= wanted.memory_bytes_max);
                prop_assert!((1..=shape.instances_max).contains(&shape.warm_slots));
                prop_assert_eq!(shape.kept.memory_bytes % on.page_bytes, 0);
            }
        }
    }
}
