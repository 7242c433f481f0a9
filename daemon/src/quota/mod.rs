//! What a tenant may use, and what it has used.
//!
//! Takes a tenant and a moment, gives an [`Admission`] or a [`Refusal`]; promises that an admission gives back what
//! it took when it is dropped, after the last body byte and not at the response head. Touches no state that all
//! tenants share, reads no clock, never waits.

mod bucket;
mod refusal;
mod tenant;

pub use bucket::TokenBucket;
pub use refusal::Refusal;
pub use tenant::{Admission, DURATION_BUCKETS_S, Tenant};
