//! Names of one plain label: tenant, module, node.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    quote::Quoted,
    text::{is_text, serde_as_text, text_schema},
};

/// Which name was being read, and so how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelKind {
    /// As messages call it: "tenant name".
    pub what: &'static str,
    /// The longest name allowed, in bytes (which here are characters).
    pub bytes_max: usize,
}

impl LabelKind {
    fn check(self, text: &str) -> Result<(), LabelError> {
        if text.is_empty() {
            return Err(LabelError::Empty { kind: self });
        }
        let name = || Quoted::new(text);
        if let Some(character) = text.chars().find(|c| !is_label_character(*c)) {
            return Err(LabelError::Character {
                kind: self,
                name: name(),
                character,
            });
        }
        if text.len() > self.bytes_max {
            return Err(LabelError::TooLong {
                kind: self,
                name: name(),
                bytes: text.len(),
            });
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(LabelError::Hyphen {
                kind: self,
                name: name(),
            });
        }
        Ok(())
    }
}

fn is_label_character(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

/// Prints what is allowed.
impl fmt::Display for LabelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "1 to {} of a-z, 0-9 and '-', with '-' neither first nor last",
            self.bytes_max
        )
    }
}

/// Why a text is not the name of a tenant, module or node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// There is no text.
    #[error("{} is empty; allowed: {kind}", kind.what)]
    Empty {
        /// Which name was being read.
        kind: LabelKind,
    },
    /// More bytes than the name may have.
    #[error("{} {name} has {bytes} bytes; allowed: {kind}", kind.what)]
    TooLong {
        /// Which name was being read.
        kind: LabelKind,
        /// What was given.
        name: Quoted,
        /// Its length.
        bytes: usize,
    },
    /// A character that no such name has.
    #[error("{} {name} contains {character:?}; allowed: {kind}", kind.what)]
    Character {
        /// Which name was being read.
        kind: LabelKind,
        /// What was given.
        name: Quoted,
        /// The first character that is not allowed.
        character: char,
    },
    /// A hyphen at an end.
    #[error("{} {name} starts or ends with '-'; allowed: {kind}", kind.what)]
    Hyphen {
        /// Which name was being read.
        kind: LabelKind,
        /// What was given.
        name: Quoted,
    },
}

macro_rules! label_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $bytes_max:literal, $allowed:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// What this name may look like.
            pub const KIND: LabelKind = LabelKind { what: $what, bytes_max: $bytes_max };

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = LabelError;

            fn from_str(text: &str) -> Result<Self, LabelError> {
                Self::KIND.check(text)?;
                Ok(Self(text.into()))
            }
        }

        is_text!($name);
        serde_as_text!($name, $allowed);
        text_schema!($name, $allowed, example $example, with |object| object
            .max_length(Some($bytes_max))
            .pattern(Some("^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")));
    };
}

label_name! {
    /// A tenant: the owner of modules and routes, the isolation boundary, a metric label.
    TenantName, "tenant name", 32,
    "tenant name: 1 to 32 of a-z, 0-9 and '-', with '-' neither first nor last", "acme"
}

label_name! {
    /// A tenant's named deployable.
    ModuleName, "module name", 63,
    "module name: 1 to 63 of a-z, 0-9 and '-', with '-' neither first nor last", "hello"
}

label_name! {
    /// A certificate of a tenant, with its private key.
    CertificateName, "certificate name", 63,
    "certificate name: 1 to 63 of a-z, 0-9 and '-', with '-' neither first nor last", "shop-2026"
}

label_name! {
    /// A node: the audience of the tokens it accepts.
    NodeName, "node name", 63,
    "node name: 1 to 63 of a-z, 0-9 and '-', with '-' neither first nor last", "littoral"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_fault_has_its_message() {
        let allowed = "1 to 32 of a-z, 0-9 and '-', with '-' neither first nor last";
        for (text, message) in [
            ("", "tenant name is empty"),
            ("Acme", "tenant name \"Acme\" contains 'A'"),
            ("a.b", "tenant name \"a.b\" contains '.'"),
            ("../x", "tenant name \"../x\" contains '.'"),
            ("-a", "tenant name \"-a\" starts or ends with '-'"),
            ("a-", "tenant name \"a-\" starts or ends with '-'"),
            ("-", "tenant name \"-\" starts or ends with '-'"),
            (
                "a23456789012345678901234567890123",
                "tenant name \"a23456789012345678901234567890123\" has 33 bytes",
            ),
        ] {
            let error = text.parse::<TenantName>().unwrap_err().to_string();
            assert_eq!(error, format!("{message}; allowed: {allowed}"));
        }
    }

    #[test]
    fn the_longest_names_are_accepted() {
        assert!("a".repeat(32).parse::<TenantName>().is_ok());
        assert!("a".repeat(63).parse::<ModuleName>().is_ok());
        assert!("a".repeat(64).parse::<ModuleName>().is_err());
        assert!("a".repeat(63).parse::<NodeName>().is_ok());
    }

    #[test]
    fn the_serde_text_names_the_same_length_as_the_check() {
        #[derive(Debug, serde::Deserialize)]
        struct Held {
            #[expect(dead_code, reason = "only the error of reading it is looked at")]
            name: ModuleName,
        }
        let error = toml::from_str::<Held>("name = 3").unwrap_err();
        assert!(
            error.message().contains(&ModuleName::KIND.to_string()),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn accepted_names_round_trip(text in "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?") {
            let name: TenantName = text.parse().unwrap();
            prop_assert_eq!(name.to_string(), text);
        }

        #[test]
        fn any_text_is_accepted_as_it_is_or_refused(text in any::<String>()) {
            if let Ok(name) = text.parse::<ModuleName>() {
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
