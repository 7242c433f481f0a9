//! Receipts of what a tenant used.

use edge_config::TenantName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PublicJwk;

/// What a tenant used, signed by the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// A compact JWS (EdDSA) over `usage`.
    pub receipt: String,
    /// The node's public key for receipts: compare it with the one that you know.
    pub key: PublicJwk,
    /// What the receipt says.
    pub usage: ReceiptClaims,
}

/// What a receipt says. Every figure is a total since `since`, and no less than in any receipt with a smaller `serial`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiptClaims {
    /// The node's name.
    pub iss: String,
    /// The tenant.
    pub tenant: TenantName,
    /// The number of this receipt among the tenant's.
    pub serial: u64,
    /// Since when is counted, in seconds since 1970-01-01 UTC. A tenant that was removed and made anew begins again.
    pub since: u64,
    /// When it was given, in seconds since 1970-01-01 UTC.
    pub iat: u64,
    /// Requests admitted to a guest.
    pub requests: u64,
    /// Request body bytes taken from clients.
    pub request_body_bytes: u64,
    /// Response body bytes sent to clients.
    pub response_body_bytes: u64,
    /// CPU time of its guests, in milliseconds.
    pub cpu_ms: u64,
    /// Linear memory and tables of its guests over time, in MiB times seconds, as of the worker's reports, one a second.
    pub memory_mib_s: u64,
}
