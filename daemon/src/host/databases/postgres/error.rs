//! What PostgreSQL says of an error, part by part.

use fallible_iterator_02::FallibleIterator as _;
use postgres_protocol::message::backend::ErrorFields;

use super::super::failure::Failure;
use super::client::garbage;

/// What the server says of an error.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::host::databases) struct DatabaseError {
    pub(super) severity: String,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) detail: Option<String>,
    pub(super) extras: Vec<(String, String)>,
}

impl std::fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.severity, self.message, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        Ok(())
    }
}

impl DatabaseError {
    /// Reads all of its parts.
    ///
    /// # Errors
    /// [`Failure::Garbage`].
    pub(super) fn read(mut fields: ErrorFields<'_>) -> Result<Self, Failure> {
        let mut error = Self::default();
        while let Some(field) = fields.next().map_err(garbage)? {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            let extra = match field.type_() {
                // The first is in the server's language.
                b'S' if error.severity.is_empty() => {
                    error.severity = value;
                    continue;
                }
                b'V' => {
                    error.severity = value;
                    continue;
                }
                b'C' => {
                    error.code = value;
                    continue;
                }
                b'M' => {
                    error.message = value;
                    continue;
                }
                b'D' => {
                    error.detail = Some(value);
                    continue;
                }
                b'H' => "hint",
                b'P' => "position",
                b'W' => "where",
                b's' => "schema",
                b't' => "table",
                b'c' => "column",
                b'd' => "datatype",
                b'n' => "constraint",
                // Where in the server's own source it arose.
                _ => continue,
            };
            error.extras.push((extra.to_owned(), value));
        }
        Ok(error)
    }
}
