//! Bytes that tenants share, counted without a lock.
//!
//! The one promise here rests on atomics alone, so this file takes them from `sync`: `tests/interleavings` compiles it once
//! more with ones whose every order of threads can be tried.

use super::sync::{Arc, AtomicU64, Ordering};

/// So many bytes for all tenants together: one counter for the node.
///
/// Of guests' memory it counts what is guaranteed to nobody. It is never waited for: one compare-and-swap.
#[derive(Debug)]
pub struct Budget {
    bytes_max: AtomicU64,
    used_bytes: AtomicU64,
}

impl Budget {
    /// So many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max: AtomicU64::new(bytes_max),
            used_bytes: AtomicU64::new(0),
        }
    }

    /// Replaces the bound. What is held beyond a smaller one stays held; no more is given until it is below.
    pub fn set_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Bytes that are held.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Takes `bytes` for as long as the charge lives; `None` where there are not so many left.
    #[must_use]
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        self.take(bytes).then(|| Charge {
            budget: Arc::clone(self),
            bytes,
        })
    }

    pub(super) fn take(&self, bytes: u64) -> bool {
        if bytes == 0 {
            return true;
        }
        let most = self.bytes_max.load(Ordering::Relaxed);
        self.used_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|after| *after <= most)
            })
            .is_ok()
    }

    pub(super) fn give(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes without asking: for what is held already and only changes its account.
    pub(super) fn owe(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A part of a budget, given back on drop.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}
