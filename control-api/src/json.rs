//! JSON objects from outside.
//!
//! serde reads a struct from an array as well, member by position; whoever writes `[]` for `{}` is told instead.

use serde::de::{DeserializeOwned, Error as _, IgnoredAny};

/// Reads one JSON object, and nothing behind it.
///
/// # Errors
/// As serde_json; a value of another type is an error of data, not of syntax.
pub(crate) fn object<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') | None => serde_json::from_slice(text),
        Some(_) => {
            serde_json::from_slice::<IgnoredAny>(text)?;
            Err(serde_json::Error::custom("an object is expected: `{…}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Thing {
        a: u8,
    }

    #[test]
    fn only_objects_are_objects() {
        assert_eq!(object::<Thing>(b" {\"a\":1} ").unwrap(), Thing { a: 1 });
        assert!(object::<Thing>(b"[1]").unwrap_err().is_data());
        assert!(object::<Thing>(b"1").unwrap_err().is_data());
        assert!(object::<Thing>(b"[1").unwrap_err().is_eof());
        assert!(object::<Thing>(b"").unwrap_err().is_eof());
    }
}
