//! A tenant's SQL databases, as the API shows and takes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::PlaneError;

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Bytes on the disk, the log that SQLite writes ahead included.
    pub bytes: u64,
}

/// One statement for a database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlQuery {
    /// The statement.
    pub statement: String,
    /// As many values as it has parameters.
    #[serde(default)]
    pub parameters: Vec<SqlValue>,
}

/// What a statement gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SqlResult {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows, each with as many values as there are columns.
    pub rows: Vec<Vec<SqlValue>>,
    /// The row id of the last insertion; 0 where there was none.
    pub last_insert_rowid: i64,
    /// Rows that an insertion, change or deletion was about.
    pub changes: u64,
}

/// A value: `null`, a number, text, or bytes as `{"base64": "…"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SqlValue {
    /// Nothing.
    Null(()),
    /// A whole number of 64 bits.
    Integer(i64),
    /// Another number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(SqlBlob),
}

/// Bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlBlob {
    /// In base64 (RFC 4648 §4).
    pub base64: String,
}

impl SqlBlob {
    /// For these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            base64: STANDARD.encode(bytes),
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// [`PlaneError::InvalidValue`] where it is not base64.
    pub fn bytes(&self) -> Result<Vec<u8>, PlaneError> {
        STANDARD
            .decode(&self.base64)
            .map_err(|error| PlaneError::InvalidValue {
                field: "parameters".to_owned(),
                why: format!("{:?} is not base64: {error}", self.base64),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_told_from_the_others() {
        let json = r#"[null,-1,1.5,"text",{"base64":"AP8="}]"#;
        let values: Vec<SqlValue> = serde_json::from_str(json).unwrap();
        assert_eq!(
            values,
            [
                SqlValue::Null(()),
                SqlValue::Integer(-1),
                SqlValue::Real(1.5),
                SqlValue::Text("text".to_owned()),
                SqlValue::Blob(SqlBlob::of(&[0, 255])),
            ]
        );
        assert_eq!(serde_json::to_string(&values).unwrap(), json);
        let wrong = SqlBlob {
            base64: "?".to_owned(),
        };
        let said = wrong.bytes().unwrap_err().to_string();
        assert!(said.contains("\"?\" is not base64"), "{said}");
    }
}
