//! Texts that come in and never go out.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A secret text: not shown when printed for a log or in an error, and overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// As the text itself: only clients write it, into a request.
impl Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's own error would repeat what was found: a password of digits without its quotes, say.
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(text.into()),
            _ => Err(D::Error::custom("a secret is a JSON string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_nothing_that_is_printed() {
        let secret: SecretText = serde_json::from_str("\"very secret\"").unwrap();
        assert_eq!(secret.reveal(), "very secret");
        assert!(!format!("{secret:?}").contains("very"));
        for json in ["4711", "[4711]", "{\"4711\": 4711}"] {
            let error = serde_json::from_str::<SecretText>(json).unwrap_err();
            assert!(!error.to_string().contains("4711"), "{error}");
        }
    }
}
