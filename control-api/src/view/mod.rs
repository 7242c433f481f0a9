//! What the API shows and takes: one file per resource, JSON by serde, schemas by utoipa.
//!
//! Views are not stored and not acted on: records live in the daemon's store, domain types in its control room.

mod backup;
mod certificate;
mod databases;
mod grants;
mod holding;
mod instances;
mod module;
mod node;
mod receipt;
mod route;
mod secret;
mod stores;
mod tenant;
mod variable;

pub use backup::*;
pub use certificate::*;
pub use databases::*;
pub use grants::*;
pub use holding::*;
pub use instances::*;
pub use module::*;
pub use node::*;
pub use receipt::*;
pub use route::*;
pub use secret::*;
pub use stores::*;
pub use tenant::*;
pub use variable::*;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A resource with the revision that its `ETag` carries.
///
/// A revision is the sequence number of the change that last wrote the resource: it only rises, and never returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revised<T> {
    /// The change that wrote this state.
    pub revision: u64,
    /// The resource itself.
    pub value: T,
}

/// One page of a list, ordered by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// At most `limit` items.
    pub items: Vec<T>,
    /// Pass this as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Only items whose name sorts after this one.
    pub after: Option<String>,
    /// Most items in the answer: 1 to 1000.
    pub limit: usize,
}

/// What must hold of a resource before it is changed (RFC 9110 §13.1.1 and §13.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precondition {
    /// No header: write whatever is there.
    #[default]
    None,
    /// `If-None-Match: *`: only create.
    Absent,
    /// `If-Match: "N"`: only while the revision is still this one.
    Revision(u64),
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Written {
    /// The resource is new.
    Created,
    /// The resource was there and changed.
    Updated,
    /// The resource already was as asked; nothing was written.
    Unchanged,
}
