//! The node itself: status, readiness, audit.

use edge_config::TenantName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the node stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// The node's name: the audience of its tokens.
    pub node: String,
    /// The daemon's version.
    pub version: String,
    /// The control process's id.
    pub pid: u32,
    /// The wasmtime release inside.
    pub wasmtime: String,
    /// Where it stands in its life.
    pub state: NodeState,
    /// Seconds since this control process started.
    pub uptime_s: u64,
    /// Where guests are served: `host:port` of each listener.
    pub http: Vec<String>,
    /// Where guests are served over TLS: `host:port` of each listener.
    pub https: Vec<String>,
    /// Counts of what is registered.
    pub tenants: u64,
    /// Modules of all tenants.
    pub modules: u64,
    /// Routes of all tenants.
    pub routes: u64,
    /// Artifacts on disk.
    pub artifacts: u64,
    /// Components that are being compiled or wait for it.
    pub compile_queue: u64,
    /// The worker process.
    pub worker: WorkerStatus,
    /// The sequence number of the last durable change.
    pub revision: u64,
}

/// What anyone with a token of this node may know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeInfo {
    /// The node's name: the audience of its tokens.
    pub node: String,
    /// The daemon's version.
    pub version: String,
    /// Where it stands in its life.
    pub state: NodeState,
    /// Where guests are served: `host:port` of each listener.
    pub http: Vec<String>,
}

/// The node's life, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Not ready yet.
    Starting,
    /// Serving.
    Serving,
    /// Finishing what was admitted.
    Draining,
    /// Done.
    Stopped,
}

/// The worker process, as control sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerStatus {
    /// Whether it answers.
    pub ready: bool,
    /// Its process id, 0 while there is none.
    pub pid: u32,
    /// How often it was restarted since control started.
    pub restarts: u64,
    /// The revision of the routing table it serves.
    pub table_revision: u64,
    /// Live instances.
    pub instances: u64,
    /// Loaded modules.
    pub resident_modules: u64,
    /// What stands between guests' code and the box, beside WebAssembly itself.
    pub confinement: Confinement,
}

/// The barriers in force in the worker process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Confinement {
    /// The filter of system calls: `enforced`, `logged` or `absent`.
    pub filter: String,
    /// The version of landlock's interface in use; 0 where there is none.
    pub landlock_abi: u32,
    /// The user that the worker runs as.
    pub user_id: u32,
    /// Whether it has no capabilities and can gain none.
    pub without_capabilities: bool,
}

/// What reading the configuration anew changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// Keys with another value than before.
    pub changed: Vec<ChangedKey>,
    /// Whether a new worker took the place of the one before.
    pub worker_replaced: bool,
}

/// A key of the configuration with another value than before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangedKey {
    /// Section and key, as in `log.level`.
    pub key: String,
    /// What held before.
    #[schema(value_type = Object)]
    pub before: serde_json::Value,
    /// What holds now.
    #[schema(value_type = Object)]
    pub after: serde_json::Value,
}

/// The process that took over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upgraded {
    /// The daemon's version before.
    pub version_before: String,
    /// The daemon's version now.
    pub version: String,
    /// The control process's id now.
    pub pid: u32,
}

/// One change, as it was made durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// The change's sequence number, the revision of what it wrote.
    pub seq: u64,
    /// Seconds since 1970-01-01 UTC.
    pub at: u64,
    /// The token's `sub` and `iss`, or `node` for the node itself.
    pub who: String,
    /// For instance `route.set`.
    pub action: String,
    /// The tenant concerned, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantName>,
    /// The resource concerned.
    pub resource: String,
    /// Its state before; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub before: Option<serde_json::Value>,
    /// Its state after; absent where it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub after: Option<serde_json::Value>,
    /// The request that made it.
    pub request_id: String,
}
