//! Tenants, their publishers' keys, what they use.

use edge_config::{HostPattern, KeyId, LimitOverrides, Limits, TenantName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A tenant as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// The operator's id of the tenant, also its metric label.
    pub name: TenantName,
    /// When it was created, in seconds since 1970-01-01 UTC.
    pub created_at: u64,
    /// What was set for this tenant; everything else follows the node's defaults.
    pub limits: LimitOverrides,
    /// What holds now: the node's defaults with `limits` on top.
    pub effective_limits: Limits,
    /// The hostnames this tenant may route; empty allows any that no other tenant holds.
    pub hosts: Vec<HostPattern>,
    /// A suspended tenant's routes answer 503 and its uploads are refused.
    pub suspended: bool,
}

/// What is written to make or change a tenant: the whole of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantWrite {
    /// Limits to set; absent ones follow the node's defaults.
    pub limits: LimitOverrides,
    /// The hostnames this tenant may route (at most 256); empty allows any that no other tenant holds.
    pub hosts: Vec<HostPattern>,
    /// Whether the tenant is suspended.
    pub suspended: bool,
}

/// A publisher's public key, trusted to sign this tenant's uploads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublisherKey {
    /// The `kid` that statements name.
    pub kid: KeyId,
    /// The key itself.
    pub jwk: PublicJwk,
    /// When it was added, in seconds since 1970-01-01 UTC.
    pub added_at: u64,
}

/// An Ed25519 public key as a JSON Web Key (RFC 8037 §2).
///
/// Unknown members are refused, above all `d`: a private key sent by mistake must not be taken in silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicJwk {
    /// Always `OKP`.
    pub kty: String,
    /// Always `Ed25519`.
    pub crv: String,
    /// The 32 bytes of the key, base64url without padding.
    pub x: String,
    /// The key's id; where absent, the RFC 7638 thumbprint is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// `EdDSA` where present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// `sig` where present.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub key_use: Option<String>,
}

/// What a tenant uses now and has used since control started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Requests admitted to a guest.
    pub requests: u64,
    /// Refusals by reason, from the closed list of reasons.
    pub refusals: std::collections::BTreeMap<String, u64>,
    /// Request body bytes taken from clients.
    pub request_body_bytes: u64,
    /// Response body bytes sent to clients.
    pub response_body_bytes: u64,
    /// CPU time spent running this tenant's guests, in microseconds.
    pub cpu_us: u64,
    /// Requests under way now.
    pub concurrent_requests: u64,
    /// Requests that wait for a place among those now.
    pub waiting_requests: u64,
    /// Open connections now whose last request was for this tenant.
    pub connections: u64,
    /// How long the tenant still rests because its guests failed over and over, in milliseconds; 0 if it is served.
    pub quarantine_left_ms: u64,
    /// Linear memory and tables of live instances now, in bytes.
    pub memory_bytes: u64,
    /// Modules kept.
    pub modules: u64,
    /// Routes set.
    pub routes: u64,
    /// Publisher keys trusted.
    pub publisher_keys: u64,
    /// Variables set, those of its modules included.
    pub variables: u64,
    /// Keys in its key-value stores.
    pub key_value_keys: u64,
    /// Bytes of keys and values in its key-value stores.
    pub key_value_bytes: u64,
    /// SQL databases.
    #[serde(default)]
    pub databases: u64,
    /// Bytes of SQL databases on the disk, the logs that SQLite writes ahead included.
    #[serde(default)]
    pub database_bytes: u64,
    /// Certificates kept.
    pub certificates: u64,
    /// Bytes of components kept (shared ones counted in full).
    pub component_bytes: u64,
    /// Log bytes dropped by the rate limit.
    pub log_bytes_dropped: u64,
    /// Workers that died while they ran a guest of this tenant. After the second within ten minutes the tenant is not
    /// served for a while.
    pub worker_crashes: u64,
    /// The limits these figures stand beside.
    pub limits: Limits,
}

/// One line a guest wrote to stdout or stderr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Rises by one with each line of the tenant; a gap means lines were dropped from the ring.
    pub seq: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// The module whose guest wrote it.
    pub module: String,
    /// The request it was serving, as in the `x-request-id` response header.
    pub request_id: String,
    /// Where it was written.
    pub stream: LogStream,
    /// The text, without its line end; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The stream of a [`LogLine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// The guest's standard output.
    Stdout,
    /// The guest's standard error.
    Stderr,
    /// The node's own word on this tenant's guest: a trap, a refusal.
    Node,
}
