//! The id under which a tenant lists a publisher's public key.

use std::{str::FromStr, sync::Arc};

use crate::{
    quote::Quoted,
    text::{is_text, serde_as_text, text_schema},
};

const BYTES_MAX: usize = 128;
const ALLOWED: &str = "1 to 128 of A-Z, a-z, 0-9, '.', '_', '~' and '-', not \".\" or \"..\"";

/// A publisher key's id: the `kid` of its statements (RFC 7515 §4.1.4) and a segment of its URL.
///
/// Its characters are RFC 3986's unreserved ones, so it stands in a path as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a key id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyIdError {
    /// There is no text.
    #[error("key id is empty; allowed: {}", ALLOWED)]
    Empty,
    /// More than 128 bytes.
    #[error("key id {id} has {bytes} bytes; allowed: {}", ALLOWED)]
    TooLong {
        /// What was given.
        id: Quoted,
        /// Its length.
        bytes: usize,
    },
    /// A character that no id has.
    #[error("key id {id} contains {character:?}; allowed: {}", ALLOWED)]
    Character {
        /// What was given.
        id: Quoted,
        /// The first character that is not allowed.
        character: char,
    },
    /// "." or "..", which clients and proxies take out of a URL's path (RFC 3986 §5.2.4).
    #[error("key id {id} is a dot segment; allowed: {}", ALLOWED)]
    DotSegment {
        /// What was given.
        id: Quoted,
    },
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let id = || Quoted::new(text);
        if text.is_empty() {
            return Err(KeyIdError::Empty);
        }
        if text.len() > BYTES_MAX {
            return Err(KeyIdError::TooLong {
                id: id(),
                bytes: text.len(),
            });
        }
        let unreserved = |c: char| c.is_ascii_alphanumeric() || "._~-".contains(c);
        if let Some(character) = text.chars().find(|c| !unreserved(*c)) {
            return Err(KeyIdError::Character {
                id: id(),
                character,
            });
        }
        if text == "." || text == ".." {
            return Err(KeyIdError::DotSegment { id: id() });
        }
        Ok(Self(text.into()))
    }
}

is_text!(KeyId);
serde_as_text!(KeyId, ALLOWED);
text_schema!(KeyId, ALLOWED, example "ci-2026", with |object| object
    .max_length(Some(BYTES_MAX))
    .pattern(Some("^[A-Za-z0-9._~-]+$")));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_fault_has_its_message() {
        for (text, message) in [
            ("", "key id is empty"),
            ("a/b", "key id \"a/b\" contains '/'"),
            ("a b", "key id \"a b\" contains ' '"),
            ("clé", "key id \"clé\" contains 'é'"),
            (".", "key id \".\" is a dot segment"),
            ("..", "key id \"..\" is a dot segment"),
        ] {
            let error = text.parse::<KeyId>().unwrap_err().to_string();
            assert_eq!(error, format!("{message}; allowed: {ALLOWED}"));
        }
        assert!("k".repeat(128).parse::<KeyId>().is_ok());
        let error = "k".repeat(129).parse::<KeyId>().unwrap_err();
        assert!(error.to_string().contains("has 129 bytes"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_accepted_as_it_is_or_refused(text in any::<String>()) {
            if let Ok(id) = text.parse::<KeyId>() {
                prop_assert_eq!(id.as_str(), text);
            }
        }

        #[test]
        fn accepted_ids_round_trip(text in "[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}") {
            prop_assert_eq!(text.parse::<KeyId>().unwrap().to_string(), text);
        }
    }
}
