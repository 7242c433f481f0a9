//! How many instances of each size there can be at once.

use serde::Serialize;

use super::PoolShown;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// From a guest in C that answers hello to the largest that 32 bits can address.
const SIZES: [u64; 10] = [
    128 * KIB,
    MIB,
    16 * MIB,
    64 * MIB,
    128 * MIB,
    256 * MIB,
    512 * MIB,
    1024 * MIB,
    2048 * MIB,
    4096 * MIB,
];

/// What decides how many of a size there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Least {
    /// The pool's count.
    Count,
    /// The budget of guests.
    Memory,
    /// The address space.
    Addresses,
}

/// Instances of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SizeRow {
    /// What each one's memory has grown to, in bytes.
    pub memory_bytes: u64,
    /// As many fit the address space, laid out as the pool is.
    pub by_addresses: u64,
    /// As many fit the budget of guests.
    pub by_memory: u64,
    /// As many has the pool.
    pub by_count: u64,
    /// As many there can be: the least of these.
    pub instances: u64,
    /// Which one that is.
    pub decided_by: Least,
}

/// Every size that the pool's slots hold.
pub(super) fn rows(pool: &PoolShown, guests_bytes: u64) -> Vec<SizeRow> {
    SIZES
        .into_iter()
        .filter(|bytes| *bytes <= pool.memory_bytes_max)
        .map(|bytes| row(pool, guests_bytes, bytes))
        .collect()
}

fn row(pool: &PoolShown, guests_bytes: u64, memory_bytes: u64) -> SizeRow {
    let by_addresses = if pool.guard_pages {
        pool.bounds.guarded
    } else {
        pool.bounds.compact
    };
    let by_memory = guests_bytes / memory_bytes;
    let by_count = u64::from(pool.instances_max);
    let (instances, decided_by) = [
        (by_count, Least::Count),
        (by_memory, Least::Memory),
        (by_addresses, Least::Addresses),
    ]
    .into_iter()
    .min_by_key(|(count, _)| *count)
    .unwrap_or((by_count, Least::Count));
    SizeRow {
        memory_bytes,
        by_addresses,
        by_memory,
        by_count,
        instances,
        decided_by,
    }
}
