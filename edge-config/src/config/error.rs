//! What is wrong with a configuration.

use std::fmt;

use crate::quote::Quoted;

/// One thing wrong with a configuration; all of them are reported together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The text is too long to be a configuration.
    #[error("the configuration has {bytes} bytes; allowed: at most {bytes_max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest text that is read.
        bytes_max: usize,
    },
    /// The text is not TOML.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Where, counted from 1.
        line: usize,
        /// Where in the line, in characters from 1.
        column: usize,
        /// What the TOML parser says.
        message: String,
    },
    /// A key or a section that does not exist.
    #[error("unknown key {path}; {hint}")]
    UnknownKey {
        /// Its full dotted path.
        path: Quoted,
        /// What may have been meant, or what there is.
        hint: Hint,
    },
    /// A section's name with a value where the section should be.
    #[error("{section} = {value} is not a section; allowed: [{section}] and its keys below it")]
    NotASection {
        /// The section.
        section: String,
        /// What was given.
        value: Quoted,
    },
    /// A variable that starts like ours and is not one. Its value is not shown: it may be a secret.
    #[error("unknown environment variable {name}; {hint}")]
    UnknownVariable {
        /// Its name.
        name: Quoted,
        /// What may have been meant, or what there is.
        hint: Hint,
    },
    /// A value that its key does not take.
    #[error("{key} = {value} {reason}{}; allowed: {allowed}", FromVariable(variable.as_deref()))]
    Value {
        /// The key's full dotted path.
        key: String,
        /// What was given; of a list, the item.
        value: Quoted,
        /// What is wrong with it, after "value": "is out of range".
        reason: String,
        /// The environment variable it came from, if it did not come from the file.
        variable: Option<String>,
        /// What the key takes.
        allowed: String,
    },
    /// Two values that exclude each other.
    #[error(
        "{first} = {first_value} and {second} = {second_value} do not go together; allowed: {allowed}"
    )]
    Conflict {
        /// One key's full dotted path.
        first: String,
        /// Its value.
        first_value: String,
        /// The other key's.
        second: String,
        /// Its value.
        second_value: String,
        /// What they may be together.
        allowed: String,
    },
}

impl ConfigError {
    /// Whether this error is about the key with this dotted path.
    pub(super) fn concerns(&self, path: &str) -> bool {
        match self {
            Self::Value { key, .. } => key == path,
            Self::Conflict { first, second, .. } => first == path || second == path,
            _ => false,
        }
    }
}

/// What helps somebody who wrote a name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// One name is near.
    DidYouMean(String),
    /// None is: these are the names there.
    Known(String),
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DidYouMean(name) => write!(f, "did you mean {name}?"),
            Self::Known(names) => write!(f, "allowed: {names}"),
        }
    }
}

struct FromVariable<'a>(Option<&'a str>);

impl fmt::Display for FromVariable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, " (from {name})"),
            None => Ok(()),
        }
    }
}
