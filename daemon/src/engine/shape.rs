//! The shape of the engine on this box: how instances lie in the address space.
//!
//! Decided once, by control, at start ([`super::sizing`]); handed to the compile process and to the worker, which must
//! agree to the byte, since the layout of linear memories is baked into the native code.

use serde::{Deserialize, Serialize};

use super::config::{FIBER_STACK_BYTES, KEPT_AT_MOST, TABLE_ELEMENTS};

/// Address space that one memory slot takes where bounds checks can be left to guard pages.
const GUARDED_RESERVATION_BYTES: u64 = 4 << 30;
/// The guard that makes a 32-bit access with a constant offset fault instead of reading a neighbour.
const GUARDED_GUARD_BYTES: u64 = 32 << 20;
/// The guard behind a small slot: bounds are checked in code, so this only catches what slips.
const COMPACT_GUARD_BYTES: u64 = 64 << 10;
/// Tables in the pool for each instance.
pub(super) const TABLES_PER_INSTANCE: u32 = 3;
/// Stacks in the pool for each instance: its own, and one for a task of it.
pub(super) const STACKS_PER_INSTANCE: u32 = 2;
/// The largest page there is, in bytes: below each stack lies one as its guard.
const PAGE_BYTES_MAX: u64 = 64 << 10;
/// Address space that an instance takes beside its memory, in bytes: tables and stacks.
const BESIDE_MEMORY_BYTES: u64 = TABLES_PER_INSTANCE as u64 * TABLE_ELEMENTS as u64 * 8
    + STACKS_PER_INSTANCE as u64 * (FIBER_STACK_BYTES as u64 + PAGE_BYTES_MAX);

/// How one linear memory lies in the address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Address space that it can grow into, in bytes.
    pub reservation_bytes: u64,
    /// What is never mapped behind it, in bytes.
    pub guard_bytes: u64,
}

impl Layout {
    /// Whatever 32 bits can address and more: no access needs a check.
    pub const GUARDED: Self = Self {
        reservation_bytes: GUARDED_RESERVATION_BYTES,
        guard_bytes: GUARDED_GUARD_BYTES,
    };

    /// No more than memories may grow to; compiled code checks each access.
    #[must_use]
    pub fn compact(memory_bytes_max: u64) -> Self {
        Self {
            reservation_bytes: memory_bytes_max.next_multiple_of(64 << 10),
            guard_bytes: COMPACT_GUARD_BYTES,
        }
    }

    /// Address space from one memory to the next, in bytes.
    #[must_use]
    pub fn slot_bytes(self) -> u64 {
        self.reservation_bytes.saturating_add(self.guard_bytes)
    }

    /// Address space of a pool, in bytes: its memories with what lies before the first, tables and stacks.
    #[must_use]
    pub fn pool_bytes(self, instances: u32) -> u64 {
        let each = self.slot_bytes().saturating_add(BESIDE_MEMORY_BYTES);
        u64::from(instances)
            .saturating_mul(each)
            .saturating_add(self.slot_bytes())
    }

    /// Instances whose pool fits into so much address space.
    #[must_use]
    pub fn instances_within(self, bytes: u64) -> u64 {
        let each = self.slot_bytes().saturating_add(BESIDE_MEMORY_BYTES);
        bytes.saturating_sub(self.slot_bytes()) / each
    }
}

/// What an ended instance leaves in its slot, at most, so that the next one takes no page faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Of its linear memory, in bytes.
    pub memory_bytes: u64,
    /// Of each table, in bytes.
    pub table_bytes: u64,
    /// Of each stack, in bytes.
    pub stack_bytes: u64,
}

impl Kept {
    /// What one instance leaves in all, in bytes.
    #[must_use]
    pub fn instance_bytes(self) -> u64 {
        let tables = self.table_bytes.saturating_mul(TABLES_PER_INSTANCE.into());
        let stacks = self.stack_bytes.saturating_mul(STACKS_PER_INSTANCE.into());
        self.memory_bytes
            .saturating_add(tables)
            .saturating_add(stacks)
    }
}

/// How linear memories lie in the address space, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineShape {
    /// Address space reserved for each linear memory, in bytes.
    pub memory_reservation_bytes: u64,
    /// Unmapped address space behind each, in bytes.
    pub memory_guard_bytes: u64,
    /// The most one linear memory may ever grow to, in bytes, whatever a tenant is allowed.
    pub memory_bytes_max: u64,
    /// Most component instances alive at once.
    pub instances_max: u32,
    /// Slots that stand ready for their module before one of them is given to another.
    pub warm_slots: u32,
    /// What each slot keeps between two instances.
    pub kept: Kept,
    /// Whether the kernel tells which pages were written (`PAGEMAP_SCAN`, Linux 6.7), so that resetting an instance
    /// changes no page table.
    pub pagemap_scan: bool,
}

/// No layout fits this box.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The instances do not fit the address space, however small their slots.
    #[error(
        "{instances_max} instances of {memory_bytes_max} bytes need {needed_bytes} bytes of address space; \
         {available_bytes} of this process's are for instances: lower worker.instances_max or \
         limits.instance_memory_mib_max"
    )]
    AddressSpace {
        /// As configured.
        instances_max: u32,
        /// As configured.
        memory_bytes_max: u64,
        /// What the smallest layout would take.
        needed_bytes: u64,
        /// What may be used: half of what there is.
        available_bytes: u64,
    },
    /// The instances take more memory maps than a process may have.
    #[error(
        "{instances_max} instances need {needed} memory maps; {available} of those that this box allows a process \
         are for instances: lower worker.instances_max or raise the sysctl vm.max_map_count"
    )]
    Maps {
        /// As configured.
        instances_max: u32,
        /// What they take.
        needed: u64,
        /// What may be used: three quarters of what there is; the rest is for components and the process itself.
        available: u64,
    },
}

impl EngineShape {
    /// The best layout for `instances_max` instances of at least `memory_bytes_max` bytes within
    /// `address_space_bytes`: guard pages where the large slots fit into half of it, else compact slots and bounds
    /// checks in code. Each slot keeps as much as is of any use: what a box can spare is for [`super::sizing`] to say.
    ///
    /// # Errors
    /// [`ShapeError::AddressSpace`] where not even compact slots fit into half of the address space.
    pub fn fit(
        instances_max: u32,
        memory_bytes_max: u64,
        address_space_bytes: u64,
        pagemap_scan: bool,
    ) -> Result<Self, ShapeError> {
        let available_bytes = address_space_bytes / 2;
        let layout = [Layout::GUARDED, Layout::compact(memory_bytes_max)]
            .into_iter()
            .find(|layout| layout.pool_bytes(instances_max) <= available_bytes);
        match layout {
            Some(layout) => Ok(Self::of(layout, instances_max, pagemap_scan)),
            None => Err(ShapeError::AddressSpace {
                instances_max,
                memory_bytes_max,
                needed_bytes: Layout::compact(memory_bytes_max).pool_bytes(instances_max),
                available_bytes,
            }),
        }
    }

    /// So many instances in this layout.
    #[must_use]
    pub(super) fn of(layout: Layout, instances_max: u32, pagemap_scan: bool) -> Self {
        Self {
            memory_reservation_bytes: layout.reservation_bytes,
            memory_guard_bytes: layout.guard_bytes,
            memory_bytes_max: layout.reservation_bytes,
            instances_max,
            warm_slots: instances_max,
            kept: KEPT_AT_MOST,
            pagemap_scan,
        }
    }

    /// How each memory lies.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout {
            reservation_bytes: self.memory_reservation_bytes,
            guard_bytes: self.memory_guard_bytes,
        }
    }

    /// Whether out-of-bounds accesses are left to guard pages, at no cost in compute.
    #[must_use]
    pub fn has_guard_pages(&self) -> bool {
        self.memory_reservation_bytes >= GUARDED_RESERVATION_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_large_address_space_gets_guard_pages() {
        let shape = EngineShape::fit(1000, 64 * MIB, 1 << 47, true).unwrap();
        assert!(shape.has_guard_pages());
        assert_eq!(shape.memory_bytes_max, 4096 * MIB);
    }

    #[test]
    fn a_39_bit_address_space_gets_compact_slots() {
        let shape = EngineShape::fit(1000, 64 * MIB, 1 << 39, false).unwrap();
        assert!(!shape.has_guard_pages());
        assert_eq!(shape.memory_reservation_bytes, 64 * MIB);
    }

    #[test]
    fn few_instances_keep_guard_pages_even_in_39_bits() {
        assert!(
            EngineShape::fit(60, 64 * MIB, 1 << 39, false)
                .unwrap()
                .has_guard_pages()
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_figures() {
        let error = EngineShape::fit(100_000, 1 << 30, 1 << 39, false).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("100000 instances of 1073741824 bytes"),
            "{error}"
        );
    }

    proptest::proptest! {
        #[test]
        fn as_many_instances_fit_as_are_said_to(memory_bytes_max in 1_u64..=4 << 30, bits in 30_u32..=57) {
            let space = 1_u64 << bits;
            for layout in [Layout::GUARDED, Layout::compact(memory_bytes_max)] {
                if let Ok(count) = u32::try_from(layout.instances_within(space)) {
                    proptest::prop_assert!(count == 0 || layout.pool_bytes(count) <= space);
                    proptest::prop_assert!(layout.pool_bytes(count.saturating_add(1)) > space);
                }
            }
        }
    }
}
