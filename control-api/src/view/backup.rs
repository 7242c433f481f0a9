//! Backups.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SecretText;

/// What a backup is to have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupWrite {
    /// What secrets are sealed under: 12 to 1024 bytes. Without it no secret is in the archive: certificates are without
    /// their private keys, secret variables without their values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 12, max_length = 1024, write_only)]
    pub passphrase: Option<SecretText>,
}
