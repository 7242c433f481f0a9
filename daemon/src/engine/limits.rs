//! The hard stops inside one instance.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use super::reuse::Resting;
use crate::quota::{Lack, TenantMemory};

/// Core instances, memories and tables in one store: those of one component, with room.
const CORE_INSTANCES_MAX: usize = 32;
const MEMORIES_MAX: usize = 8;
const TABLES_MAX: usize = 16;
/// Elements over all tables of one store. One element takes a pointer on the host's side.
const TABLE_ELEMENTS_MAX: usize = 262_144;

/// What the host keeps for one element of a table, in bytes: a pointer.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// Whether a guest was ever refused memory: what a trap soon after is most likely about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryRefused {
    /// Never.
    No,
    /// By the limit of one instance.
    ByLimit,
    /// Because its tenant or the node had none left.
    ByQuota,
}

/// Asked at each growth of a memory or a table of one store; counts over all of them.
///
/// What it grants is on the tenant's account from before it is there until the store is gone.
pub struct InstanceLimits {
    memory_bytes_max: u64,
    memory_bytes: u64,
    table_elements: usize,
    refused: MemoryRefused,
    refused_traps: bool,
    tenant: Arc<TenantMemory>,
    resting: Arc<Resting>,
}

impl InstanceLimits {
    /// Limits for one store: at most `memory_bytes_max` bytes over all its linear memories, and what its tenant may
    /// take, for which instances that are `resting` make room. With `refused_traps` a guest that is refused ends there;
    /// else `memory.grow` answers it -1.
    #[must_use]
    pub fn new(
        memory_bytes_max: u64,
        refused_traps: bool,
        tenant: Arc<TenantMemory>,
        resting: Arc<Resting>,
    ) -> Self {
        Self {
            memory_bytes_max,
            memory_bytes: 0,
            table_elements: 0,
            refused: MemoryRefused::No,
            refused_traps,
            tenant,
            resting,
        }
    }

    /// The store serves another request, with limits of its own. What is there already stays, if it is more.
    pub fn turn_to(&mut self, memory_bytes_max: u64, refused_traps: bool) {
        self.memory_bytes_max = memory_bytes_max;
        self.refused_traps = refused_traps;
        self.refused = MemoryRefused::No;
    }

    /// The store is gone and another is made in its place: what it had is given back.
    pub(super) fn start_over(&mut self) {
        self.tenant.give(self.memory_bytes + self.table_bytes());
        self.memory_bytes = 0;
        self.table_elements = 0;
        self.refused = MemoryRefused::No;
    }

    /// Bytes of linear memory that the store has now.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Whether and how the guest was last refused memory.
    #[must_use]
    pub fn memory_refused(&self) -> MemoryRefused {
        self.refused
    }

    fn refuse(&mut self, how: MemoryRefused) -> wasmtime::Result<bool> {
        self.refused = how;
        if self.refused_traps {
            return Err(wasmtime::Error::msg("the guest was refused memory"));
        }
        Ok(false)
    }

    /// Ends instances that rest, on behalf of one that finds the node full; whether there were any.
    pub(super) fn make_room(&self) -> bool {
        self.resting.make_room(&self.tenant, Lack::Node)
    }

    fn take(&self, bytes: u64) -> bool {
        match self.tenant.take(bytes) {
            Ok(()) => true,
            Err(lack) => {
                self.resting.make_room(&self.tenant, lack) && self.tenant.take(bytes).is_ok()
            }
        }
    }

    fn table_bytes(&self) -> u64 {
        self.table_elements as u64 * TABLE_ELEMENT_BYTES
    }
}

impl Drop for InstanceLimits {
    fn drop(&mut self) {
        self.tenant.give(self.memory_bytes + self.table_bytes());
    }
}

impl ResourceLimiter for InstanceLimits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The guest's own bound; wasmtime asks here first.
        if maximum.is_some_and(|most| desired > most) {
            return Ok(false);
        }
        let growth = desired.saturating_sub(current) as u64;
        let after = self.memory_bytes.saturating_add(growth);
        if after > self.memory_bytes_max {
            return self.refuse(MemoryRefused::ByLimit);
        }
        if !self.take(growth) {
            return self.refuse(MemoryRefused::ByQuota);
        }
        self.memory_bytes = after;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|most| desired > most) {
            return Ok(false);
        }
        let growth = desired.saturating_sub(current);
        let after = self.table_elements.saturating_add(growth);
        if after > TABLE_ELEMENTS_MAX {
            return self.refuse(MemoryRefused::ByLimit);
        }
        if !self.take(growth as u64 * TABLE_ELEMENT_BYTES) {
            return self.refuse(MemoryRefused::ByQuota);
        }
        self.table_elements = after;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Budget;

    fn tenant(most: u64) -> Arc<TenantMemory> {
        let shared = Arc::new(Budget::new(u64::MAX));
        Arc::new(TenantMemory::new(shared, most, 0))
    }

    fn limits(most: u64, traps: bool, tenant: &Arc<TenantMemory>) -> InstanceLimits {
        InstanceLimits::new(most, traps, Arc::clone(tenant), Arc::default())
    }

    #[test]
    fn growth_counts_over_all_memories_and_is_given_back() {
        let tenant = tenant(u64::MAX);
        let mut limits = limits(100, false, &tenant);
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(!limits.memory_growing(0, 41, None).unwrap());
        assert_eq!(limits.memory_refused(), MemoryRefused::ByLimit);
        assert!(limits.memory_growing(60, 100, None).unwrap());
        assert_eq!((limits.memory_bytes(), tenant.used_bytes()), (100, 100));
        // Beyond what the guest itself declared, nothing is granted, so nothing is counted.
        assert!(!limits.memory_growing(0, 60, Some(50)).unwrap());
        assert_eq!(tenant.used_bytes(), 100);
        assert!(limits.table_growing(0, 10, None).unwrap());
        assert_eq!(tenant.used_bytes(), 100 + 10 * TABLE_ELEMENT_BYTES);
        drop(limits);
        assert_eq!(tenant.used_bytes(), 0);
    }

    #[test]
    fn what_the_tenant_has_not_left_is_refused() {
        let tenant = tenant(150);
        let mut first = limits(100, false, &tenant);
        let mut second = limits(100, false, &tenant);
        assert!(first.memory_growing(0, 100, None).unwrap());
        assert!(!second.memory_growing(0, 51, None).unwrap());
        assert_eq!(second.memory_refused(), MemoryRefused::ByQuota);
        assert!(second.memory_growing(0, 50, None).unwrap());
        drop(first);
        assert!(second.memory_growing(50, 100, None).unwrap());
    }

    #[test]
    fn a_refusal_ends_the_guest_where_that_was_chosen() {
        let mut limits = limits(100, true, &tenant(u64::MAX));
        assert!(limits.memory_growing(0, 100, None).unwrap());
        assert!(limits.memory_growing(100, 101, None).is_err());
        assert_eq!(limits.memory_refused(), MemoryRefused::ByLimit);
        // What the guest itself ruled out is no refusal of ours.
        assert!(!limits.memory_growing(100, 101, Some(100)).unwrap());
    }

    #[test]
    fn tables_are_bounded_together() {
        let mut limits = limits(0, false, &tenant(u64::MAX));
        assert!(limits.table_growing(0, TABLE_ELEMENTS_MAX, None).unwrap());
        assert!(!limits.table_growing(0, 1, None).unwrap());
    }
}
