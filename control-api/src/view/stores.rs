//! What a tenant's guests keep, as the API shows it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One key of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreKey {
    /// The key.
    pub key: String,
}
