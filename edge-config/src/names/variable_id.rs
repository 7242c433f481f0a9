//! The name of a variable, and whose it is: the tenant's, or one module's.

use std::{str::FromStr, sync::Arc};

use super::label::{LabelError, ModuleName};
use crate::{
    quote::Quoted,
    text::{is_text, serde_as_text, text_schema},
};

const NAME_BYTES_MAX: usize = 64;
/// What names of variables look like, for messages.
pub const VARIABLE_NAMES: &str = "1 to 64 of a-z, 0-9 and '_', beginning with a letter";
const ALLOWED: &str = "the name of a variable (1 to 64 of a-z, 0-9 and '_', beginning with a letter), \
     for one of a module after the module's name and \"/\": \"greeting\", \"shop/db_url\"";

/// Whether a text is the name of a variable: what Spin takes for one, with a bound.
#[must_use]
pub fn is_variable_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A variable among all those of a tenant: `greeting` is the tenant's, `shop/db_url` the module `shop`'s own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariableId(Arc<str>);

impl VariableId {
    /// The whole of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The module's name where it is a module's own.
    pub fn module(&self) -> Option<&str> {
        self.0.split_once('/').map(|(module, _)| module)
    }

    /// What guests ask for it by.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }
}

/// Why a text names no variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariableIdError {
    /// What is before the `/` is no module name.
    #[error(transparent)]
    Module(#[from] LabelError),
    /// The rest is no name of a variable.
    #[error("{name} is no name of a variable; allowed: {}", VARIABLE_NAMES)]
    Name {
        /// What was given.
        name: Quoted,
    },
}

impl FromStr for VariableId {
    type Err = VariableIdError;

    fn from_str(text: &str) -> Result<Self, VariableIdError> {
        let name = match text.split_once('/') {
            Some((module, name)) => {
                module.parse::<ModuleName>()?;
                name
            }
            None => text,
        };
        if is_variable_name(name) {
            Ok(Self(text.into()))
        } else {
            Err(VariableIdError::Name {
                name: Quoted::new(name),
            })
        }
    }
}

is_text!(VariableId);
serde_as_text!(VariableId, ALLOWED);
text_schema!(VariableId, ALLOWED, example "shop/db_url", with |object| object
    .pattern(Some("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/)?[a-z][a-z0-9_]{0,63}$")));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_parts_are_what_they_were_put_together_of() {
        let own: VariableId = "shop/db_url".parse().unwrap();
        assert_eq!((own.module(), own.name()), (Some("shop"), "db_url"));
        let tenants: VariableId = "greeting".parse().unwrap();
        assert_eq!((tenants.module(), tenants.name()), (None, "greeting"));
        assert_eq!(tenants.to_string(), "greeting");
    }

    #[test]
    fn each_part_has_its_faults() {
        for (text, message) in [
            ("", "\"\" is no name of a variable"),
            ("Greeting", "\"Greeting\" is no name of a variable"),
            ("db-url", "\"db-url\" is no name of a variable"),
            ("_a", "\"_a\" is no name of a variable"),
            (&"x".repeat(65), "is no name of a variable"),
            ("shop/", "\"\" is no name of a variable"),
            ("shop/a/b", "\"a/b\" is no name of a variable"),
            ("/a", "module name is empty"),
            ("Shop/a", "module name \"Shop\" contains 'S'"),
        ] {
            let error = text.parse::<VariableId>().unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
            assert!(error.contains("; allowed: "), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_to_its_parts(
            text in prop_oneof![any::<String>(), "([a-z-]{0,3}/)?[a-z0-9_]{0,4}"]
        ) {
            if let Ok(id) = text.parse::<VariableId>() {
                prop_assert_eq!(id.as_str(), &*text);
                prop_assert!(is_variable_name(id.name()));
                let again = match id.module() {
                    Some(module) => format!("{module}/{}", id.name()),
                    None => id.name().to_owned(),
                };
                prop_assert_eq!(again.parse(), Ok(id));
            }
        }
    }
}
