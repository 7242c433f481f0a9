//! Hostile guests and curious tenants: each test shows one that meets its limit while its neighbour is served.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic is the message"
)]

mod bodies;
mod confinement;
mod floods;
mod hostile;
mod isolation;
mod memory;
mod processes;
mod quotas;
mod time;
mod traps;

use littoral_tests::{Shared, SharedEdge, Tenant};

/// One node for the whole suite; each test has a tenant of its own, with the others as its neighbours.
static NODE: Shared = Shared::new();

/// A tenant of the shared node with limits and guests, each at `<guest>.<tenant>.test/`.
async fn tenant(name: &str, limits: serde_json::Value, guests: &[&str]) -> (SharedEdge, Tenant) {
    let edge = NODE.edge().await;
    let tenant = edge.tenant_limited(name, limits).await;
    for guest in guests {
        tenant.guest(guest).await;
    }
    (edge, tenant)
}
