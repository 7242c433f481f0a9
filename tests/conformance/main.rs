//! HTTP/1.1, HTTP/2 and WASI HTTP as the standards say: each test drives the real daemon over bare sockets.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic is the message"
)]

mod bodies;
mod connections;
mod framing;
mod headers;
mod http2;
mod http2_frames;
mod http2_programs;
mod streaming;

use littoral_tests::{Shared, SharedEdge, Tenant};

/// One node for the whole suite; each test has a tenant of its own.
static NODE: Shared = Shared::new();

/// A tenant of the shared node with these guests, each at `<guest>.<tenant>.test/`.
async fn tenant(name: &str, guests: &[&str]) -> (SharedEdge, Tenant) {
    let edge = NODE.edge().await;
    let tenant = edge.tenant(name).await;
    for guest in guests {
        tenant.guest(guest).await;
    }
    (edge, tenant)
}
