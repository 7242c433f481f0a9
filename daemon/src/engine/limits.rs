//! The hard stops inside one instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

/// Core instances, memories and tables in one store: those of one component, with room.
const CORE_INSTANCES_MAX: usize = 32;
const MEMORIES_MAX: usize = 8;
const TABLES_MAX: usize = 16;
/// Elements over all tables of one store. One element takes a pointer on the host's side.
const TABLE_ELEMENTS_MAX: usize = 262_144;

/// Asked at each growth of a memory or a table of one store; counts over all of them.
pub struct InstanceLimits {
    memory_bytes_max: u64,
    memory_bytes: u64,
    table_elements: usize,
    memory_refused: bool,
    tenant_memory_bytes: Arc<AtomicU64>,
}

impl InstanceLimits {
    /// Limits for one store: at most `memory_bytes_max` bytes over all its linear memories. What is live is kept in
    /// `tenant_memory_bytes`, and taken off again on drop.
    #[must_use]
    pub fn new(memory_bytes_max: u64, tenant_memory_bytes: Arc<AtomicU64>) -> Self {
        Self {
            memory_bytes_max,
            memory_bytes: 0,
            table_elements: 0,
            memory_refused: false,
            tenant_memory_bytes,
        }
    }

    /// Bytes of linear memory that the store has now.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Whether the guest was ever refused memory: what a trap soon after is most likely about.
    #[must_use]
    pub fn memory_refused(&self) -> bool {
        self.memory_refused
    }
}

impl Drop for InstanceLimits {
    fn drop(&mut self) {
        self.tenant_memory_bytes
            .fetch_sub(self.memory_bytes, Ordering::Relaxed);
    }
}

impl ResourceLimiter for InstanceLimits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current) as u64;
        let after = self.memory_bytes.saturating_add(growth);
        if after > self.memory_bytes_max {
            self.memory_refused = true;
            return Ok(false);
        }
        self.memory_bytes = after;
        self.tenant_memory_bytes
            .fetch_add(growth, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let after = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        if after > TABLE_ELEMENTS_MAX {
            self.memory_refused = true;
            return Ok(false);
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

    #[test]
    fn growth_counts_over_all_memories_and_is_given_back() {
        let live = Arc::new(AtomicU64::new(0));
        let mut limits = InstanceLimits::new(100, Arc::clone(&live));
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(!limits.memory_growing(0, 41, None).unwrap());
        assert!(limits.memory_refused());
        assert!(limits.memory_growing(60, 100, None).unwrap());
        assert_eq!(
            (limits.memory_bytes(), live.load(Ordering::Relaxed)),
            (100, 100)
        );
        drop(limits);
        assert_eq!(live.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn tables_are_bounded_together() {
        let mut limits = InstanceLimits::new(0, Arc::default());
        assert!(limits.table_growing(0, TABLE_ELEMENTS_MAX, None).unwrap());
        assert!(!limits.table_growing(0, 1, None).unwrap());
    }
}
