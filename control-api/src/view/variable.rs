//! Variables: configuration that guests read, and secrets that nobody else does.

use edge_config::VariableId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SecretText;
use crate::error::PlaneError;

/// Most bytes of one value.
pub const VARIABLE_BYTES_MAX: usize = 16 << 10;

/// A variable as the API shows it: a secret never with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Variable {
    /// `name` for one of the tenant, `module/name` for one of a module.
    pub id: VariableId,
    /// Whether its value is a secret.
    pub secret: bool,
    /// Its value, where that is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// When it was last written, in seconds since 1970-01-01 UTC.
    pub changed_at: u64,
}

/// What is written to make or change a variable: the whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VariableWrite {
    /// What guests read: at most 16 KiB. No answer has it where it is a secret.
    #[schema(value_type = String)]
    pub value: SecretText,
    /// Whether no answer ever shows the value, and the node keeps it encrypted.
    #[serde(default)]
    pub secret: bool,
}

impl VariableWrite {
    /// Whether the value is one that is kept.
    ///
    /// # Errors
    /// [`PlaneError::InvalidValue`] for more than 16 KiB. It does not repeat the value.
    pub fn check(&self) -> Result<(), PlaneError> {
        let bytes = self.value.reveal().len();
        if bytes > VARIABLE_BYTES_MAX {
            return Err(PlaneError::InvalidValue {
                field: "value".to_owned(),
                why: format!("it has {bytes} bytes; allowed: {VARIABLE_BYTES_MAX}"),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_its_bound_and_is_not_repeated() {
        let write = |bytes: usize| VariableWrite {
            value: "v".repeat(bytes).into(),
            secret: false,
        };
        assert!(write(0).check().is_ok());
        assert!(write(VARIABLE_BYTES_MAX).check().is_ok());
        let said = write(VARIABLE_BYTES_MAX + 1).check().unwrap_err();
        let said = said.to_string();
        assert_eq!(said, "`value`: it has 16385 bytes; allowed: 16384");
        assert!(!format!("{:?}", write(3)).contains("vvv"));
    }
}
