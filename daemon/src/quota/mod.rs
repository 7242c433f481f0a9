//! What a tenant may use, and what it has used.
//!
//! Takes a tenant and a moment, gives an [`Admission`], a place in the queue before one, or a [`Refused`]; promises
//! that an admission gives back what it took when it is dropped, after the last body byte and not at the response
//! head. Reads no clock and never waits: who has to wait is told for how long. Of what all tenants share it touches
//! counters, each a [`Budget`].

mod bucket;
mod budget;
mod cpu;
mod debt;
mod fair;
mod memory;
mod outbound;
mod places;
mod quarantine;
mod refusal;
mod tenant;
#[cfg(test)]
pub(crate) mod tests;
mod turns;

/// What [`budget`] counts with.
mod sync {
    pub(super) use std::sync::Arc;
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

pub use bucket::TokenBucket;
pub use budget::{Budget, Charge};
pub use cpu::{CpuAccount, CpuBounds, VirtualClock};
pub use debt::DebtBucket;
pub use fair::{FairQueue, Next};
pub use memory::{Lack, TenantMemory};
pub use outbound::{OutboundAccount, OutboundPlace, OutboundReport, Outcome};
pub use places::{Place, Places, Taken};
pub use quarantine::Quarantine;
pub use refusal::{RateState, Refusal, Refused};
pub use tenant::{Admission, Ask, Connected, DURATION_BUCKETS_S, Direction, Entry, Queued, Tenant};
pub use turns::{RunQueue, Turn};
