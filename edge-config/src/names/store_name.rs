//! The name of a store in which a tenant's guests keep keys and values.

use std::{str::FromStr, sync::Arc};

use crate::{
    quote::Quoted,
    text::{is_text, serde_as_text, text_schema},
};

const BYTES_MAX: usize = 64;
const ALLOWED: &str = "1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', not \".\" or \"..\"";

/// What a guest opens a store by: Spin's label, the bucket of `wasi:keyvalue`.
///
/// Its characters are RFC 3986's unreserved ones, so it stands in a path as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreName(Arc<str>);

impl StoreName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not the name of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreNameError {
    /// There is no text.
    #[error("store name is empty; allowed: {}", ALLOWED)]
    Empty,
    /// More than 64 bytes.
    #[error("store name {name} has {bytes} bytes; allowed: {}", ALLOWED)]
    TooLong {
        /// What was given.
        name: Quoted,
        /// Its length.
        bytes: usize,
    },
    /// A character that no store's name has.
    #[error("store name {name} contains {character:?}; allowed: {}", ALLOWED)]
    Character {
        /// What was given.
        name: Quoted,
        /// The first character that is not allowed.
        character: char,
    },
    /// "." or "..", which clients and proxies take out of a URL's path (RFC 3986 §5.2.4).
    #[error("store name {name} is a dot segment; allowed: {}", ALLOWED)]
    DotSegment {
        /// What was given.
        name: Quoted,
    },
}

impl FromStr for StoreName {
    type Err = StoreNameError;

    fn from_str(text: &str) -> Result<Self, StoreNameError> {
        let name = || Quoted::new(text);
        if text.is_empty() {
            return Err(StoreNameError::Empty);
        }
        if text.len() > BYTES_MAX {
            return Err(StoreNameError::TooLong {
                name: name(),
                bytes: text.len(),
            });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if let Some(character) = text.chars().find(|c| !allowed(*c)) {
            return Err(StoreNameError::Character {
                name: name(),
                character,
            });
        }
        if text == "." || text == ".." {
            return Err(StoreNameError::DotSegment { name: name() });
        }
        Ok(Self(text.into()))
    }
}

is_text!(StoreName);
serde_as_text!(StoreName, ALLOWED);
text_schema!(StoreName, ALLOWED, example "default", with |object| object
    .max_length(Some(BYTES_MAX))
    .pattern(Some("^[A-Za-z0-9._-]+$")));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_message() {
        for (text, message) in [
            ("", "store name is empty"),
            ("a/b", "store name \"a/b\" contains '/'"),
            ("..", "store name \"..\" is a dot segment"),
            (&"x".repeat(65), "has 65 bytes"),
        ] {
            let error = text.parse::<StoreName>().unwrap_err().to_string();
            assert!(
                error.contains(message) && error.contains("allowed: 1 to 64"),
                "{error}"
            );
        }
        for text in ["default", "My_store-1.x", &"x".repeat(64)] {
            assert_eq!(text.parse::<StoreName>().unwrap().as_str(), text);
        }
    }
}
