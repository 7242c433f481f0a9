//! Why a node does not do what it was asked.
//!
//! [`PlaneError`] knows nothing of HTTP; the problem room turns it, in one exhaustive match, into the
//! RFC 9457 [`Problem`] that clients see. Messages state what was wrong, with which value, and what is allowed.

use edge_config::{
    CertificateName, Digest, HostPattern, KeyId, ModuleName, RouteId, StoreName, TenantName,
    VariableId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A problem as clients see it: RFC 9457 `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A stable absolute URI that names the kind of problem.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The kind in words; the same for every problem of this type.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What was wrong this time.
    pub detail: String,
    /// Joins the answer with the node's log.
    pub request_id: String,
    /// Further members of this kind of problem, for programs.
    #[serde(flatten, default)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// Why the control plane refused.
#[expect(
    missing_docs,
    reason = "each variant's message says what its fields are"
)]
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlaneError {
    /// No such tenant, or none that the caller may see.
    #[error("there is no tenant `{tenant}`")]
    TenantNotFound { tenant: TenantName },
    /// No such module.
    #[error("tenant `{tenant}` has no module `{module}`")]
    ModuleNotFound {
        tenant: TenantName,
        module: ModuleName,
    },
    /// No such version, or no longer kept.
    #[error("module `{module}` keeps no version {version}; kept: {kept}")]
    VersionNotFound {
        module: ModuleName,
        version: u64,
        kept: String,
    },
    /// No such route.
    #[error("tenant `{tenant}` has no route `{route}`")]
    RouteNotFound { tenant: TenantName, route: RouteId },
    /// No such publisher key.
    #[error("tenant `{tenant}` trusts no key `{kid}`")]
    KeyNotFound { tenant: TenantName, kid: KeyId },
    /// No such certificate.
    #[error("tenant `{tenant}` has no certificate `{certificate}`")]
    CertificateNotFound {
        tenant: TenantName,
        certificate: CertificateName,
    },
    /// No such variable.
    #[error("tenant `{tenant}` has no variable `{variable}`")]
    VariableNotFound {
        tenant: TenantName,
        variable: VariableId,
    },
    /// No such key in a store.
    #[error("store `{store}` of tenant `{tenant}` has no such key")]
    StoreKeyNotFound {
        tenant: TenantName,
        store: StoreName,
    },
    /// No such database.
    #[error("tenant `{tenant}` has no database `{database}`")]
    DatabaseNotFound {
        tenant: TenantName,
        database: StoreName,
    },
    /// No such job, or forgotten.
    #[error("there is no job `{job}`; finished jobs are kept for a while only")]
    JobNotFound { job: String },

    /// `If-Match` named another revision.
    #[error(
        "the resource is at revision {current}, not {wanted}: read it again and repeat the change"
    )]
    RevisionMismatch { wanted: u64, current: u64 },
    /// `If-Match` on what is not there.
    #[error("there is nothing at revision {wanted}: the resource does not exist")]
    RevisionOfNothing { wanted: u64 },
    /// `If-None-Match: *` on what is there.
    #[error("the resource is already there, at revision {current}")]
    AlreadyThere { current: u64 },
    /// A value in the body is not allowed.
    #[error("`{field}`: {why}")]
    InvalidValue { field: String, why: String },
    /// A certificate or its key that cannot be used.
    #[error("`{field}`: {why}")]
    CertificateUnusable { field: &'static str, why: String },
    /// A count quota is reached.
    #[error("`{limit}` is reached: {most} allowed")]
    LimitReached { limit: &'static str, most: u64 },
    /// Another tenant's hostname.
    #[error("the hostname `{host}` is held by another tenant")]
    HostTaken { host: HostPattern },
    /// A hostname outside the tenant's list.
    #[error("the tenant may not route `{host}`; allowed: {allowed}")]
    HostNotAllowed { host: HostPattern, allowed: String },
    /// A module that routes still serve.
    #[error("module `{module}` is still served by {routes}")]
    ModuleInUse { module: ModuleName, routes: String },
    /// The tenant is suspended.
    #[error("tenant `{tenant}` is suspended")]
    TenantSuspended { tenant: TenantName },

    /// No `Module-Signature` header.
    #[error(
        "the header `Module-Signature` is missing: it carries the publisher's signed statement"
    )]
    StatementMissing,
    /// Not a compact JWS with the expected claims.
    #[error("the statement is not well formed: {why}")]
    StatementMalformed { why: String },
    /// An algorithm other than EdDSA.
    #[error("the statement is signed with `{alg}`; only `EdDSA` (Ed25519) is accepted")]
    StatementAlgorithm { alg: String },
    /// A `kid` that the tenant does not trust.
    #[error("the tenant trusts no publisher key `{kid}`")]
    PublisherUnknown { kid: String },
    /// The signature does not verify.
    #[error("the signature does not verify with publisher key `{kid}`")]
    SignatureInvalid { kid: KeyId },
    /// The statement is for another tenant.
    #[error("the statement is for tenant `{stated}`, the upload for `{tenant}`")]
    StatementWrongTenant { stated: String, tenant: TenantName },
    /// The statement is for another module.
    #[error("the statement is for module `{stated}`, the upload for `{module}`")]
    StatementWrongModule { stated: String, module: ModuleName },
    /// `exp` is past.
    #[error("the statement expired at {exp}; now is {now} (seconds since 1970)")]
    StatementExpired { exp: u64, now: u64 },
    /// `iat` is in the future.
    #[error("the statement is issued at {iat}, which is ahead of now, {now} (seconds since 1970)")]
    StatementNotYetValid { iat: u64, now: u64 },
    /// `exp` is too far from `iat`.
    #[error("the statement is valid for {lifetime_s} s; at most {lifetime_s_max} s is accepted")]
    StatementLifetime {
        lifetime_s: u64,
        lifetime_s_max: u64,
    },
    /// A version not above the highest accepted.
    #[error("version {version} is not above {highest}, the highest accepted of module `{module}`")]
    VersionNotAbove {
        module: ModuleName,
        version: u64,
        highest: u64,
    },

    /// The bytes are not what was signed.
    #[error("the body's digest is {actual}, the statement's {stated}")]
    DigestMismatch { stated: Digest, actual: Digest },
    /// No bytes.
    #[error("the body is empty; a WebAssembly component is expected")]
    BodyEmpty,
    /// Too many bytes.
    #[error("the component is larger than {bytes_max} bytes, the most this tenant may upload")]
    BodyTooLarge { bytes_max: u64 },
    /// The bytes did not arrive in time.
    #[error("the upload did not arrive within {duration_ms_max} ms")]
    BodyTooSlow { duration_ms_max: u64 },
    /// The client went away.
    #[error("the upload broke off after {received_bytes} bytes")]
    BodyBrokenOff { received_bytes: u64 },
    /// Too many uploads at once.
    #[error("{concurrent_max} uploads are already under way, the most {whose} has at once")]
    UploadsBusy {
        whose: &'static str,
        concurrent_max: u64,
        retry_after_s: u64,
    },
    /// The compile queue is full.
    #[error("{queue_max} uploads already wait for the compiler, the most this node queues")]
    CompileQueueFull { queue_max: u64, retry_after_s: u64 },

    /// Text, a core module, a truncated file, or anything else that is not a component.
    #[error("the bytes are not a WebAssembly component: {why}")]
    NotAComponent { why: String },
    /// Imports that this node does not offer to this tenant.
    #[error("the component imports what this node does not offer: {}", .imports.join(", "))]
    ImportsNotOffered { imports: Vec<String> },
    /// No export that this node serves.
    #[error(
        "the component exports nothing this node serves ({}); needed: wasi:http/incoming-handler@0.2.x or wasi:http/handler@0.3.0",
        if .exports.is_empty() { "it exports nothing".to_owned() } else { .exports.join(", ") }
    )]
    ExportsNotServed { exports: Vec<String> },
    /// More memory declared than an instance may have.
    #[error(
        "the component declares {declared_bytes} bytes of memory; an instance may have {bytes_max}"
    )]
    MemoryDoesNotFit { declared_bytes: u64, bytes_max: u64 },
    /// More parts than the engine gives one instance.
    #[error("one instance of the component has {count} {what}; this node gives at most {most}")]
    ComponentTooComplex {
        what: &'static str,
        count: u64,
        most: u64,
    },
    /// The component is invalid or does not compile.
    #[error("the component does not compile: {why}")]
    DoesNotCompile { why: String },
    /// Compiling took more than it may.
    #[error("compiling was stopped at its {what} limit of {limit}")]
    CompileTooCostly { what: &'static str, limit: String },

    /// The configuration as it is now cannot be applied.
    #[error("nothing was applied: {}", why.join("; "))]
    ConfigurationRefused { why: Vec<String> },
    /// The new process did not take over.
    #[error("the node goes on as it was: {why}")]
    UpgradeFailed { why: String },
    /// A new process is taking over.
    #[error("the node hands over to a new process and takes no changes meanwhile: repeat it")]
    HandingOver,
    /// Another backup is being taken.
    #[error("a backup is being taken already; a node takes one at a time")]
    BackupBusy { retry_after_s: u64 },
    /// The node is draining.
    #[error("the node is draining and takes no changes")]
    Draining,
    /// Nothing could be made durable, or read again.
    #[error("the node's store does not work at the moment")]
    StoreUnavailable,
    /// Making this very change durable failed half-way.
    #[error("the change may or may not have been kept: look again once the node takes changes")]
    OutcomeUnknown,
    /// The control state has no room for the change.
    #[error("the node keeps at most {bytes_max} bytes of state, and the change would need more")]
    StateFull { bytes_max: u64 },
    /// The disk has no room.
    #[error("the node's disk is too full to take more")]
    DiskFull,
    /// More than is made at once.
    #[error("the change has {writes} parts in {bytes} bytes, more than the node makes at once")]
    ChangeTooLarge { bytes: u64, writes: u64 },
    /// A bug of ours or a fault of the box; the text goes to the log only.
    #[error("internal fault: {inside}")]
    Internal { inside: String },
}
