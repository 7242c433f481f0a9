//! The host part of a route: one name, or every name below one.

use std::{str::FromStr, sync::Arc};

use super::hostname::{self, Hostname, HostnameError};
use crate::{
    quote::Quoted,
    text::{is_text, serde_as_text, text_schema},
};

/// A name below a wildcard has at least one character and a dot more.
const WILDCARD_BASE_BYTES_MAX: usize = hostname::BYTES_MAX - 2;
const ALLOWED: &str = "a DNS name, or \"*.\" and a DNS name of at most 251 bytes";

/// An exact host name, or `*.` and a name: every name with one or more labels in front of it.
///
/// `*.acme.test` matches `a.acme.test` and `a.b.acme.test`, not `acme.test`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern(Arc<str>);

impl HostPattern {
    /// The pattern as text: a normal name, with `*.` in front if it is a wildcard.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern starts with `*.`.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard_suffix().is_some()
    }

    /// The name without `*.`: what an exact pattern matches, what a wildcard matches below.
    pub fn base(&self) -> &str {
        self.0.strip_prefix("*.").unwrap_or(&self.0)
    }

    /// Whether `name` is one of the pattern's names.
    pub fn matches(&self, name: &Hostname) -> bool {
        self.takes_in(name.as_str())
    }

    /// Whether every name that `other` matches is one that this pattern matches.
    pub fn covers(&self, other: &HostPattern) -> bool {
        self.takes_in(other.as_str())
    }

    /// ".acme.test" of "*.acme.test".
    fn wildcard_suffix(&self) -> Option<&str> {
        self.0.strip_prefix('*')
    }

    /// For a name and for a pattern alike: a "*" in front of the suffix is a label like others,
    /// and something is in front of it always, for neither starts with a dot.
    fn takes_in(&self, other: &str) -> bool {
        match self.wildcard_suffix() {
            Some(suffix) => other.ends_with(suffix),
            None => &*self.0 == other,
        }
    }
}

impl From<Hostname> for HostPattern {
    fn from(name: Hostname) -> Self {
        Self(name.as_str().into())
    }
}

/// Why a text is not a host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// A `*` that is not the whole first label.
    #[error(
        "host pattern {pattern} has a '*' that is not its whole first label; allowed: {}",
        ALLOWED
    )]
    Star {
        /// What was given.
        pattern: Quoted,
    },
    /// A wildcard below a name so long that nothing can stand in front of it.
    #[error(
        "host pattern {pattern} has {bytes} bytes after \"*.\"; allowed: {}",
        ALLOWED
    )]
    TooLong {
        /// What was given.
        pattern: Quoted,
        /// The length of the name after `*.`.
        bytes: usize,
    },
    /// The name, or the name after `*.`, is not one.
    #[error(transparent)]
    Name(#[from] HostnameError),
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let pattern = || Quoted::new(text);
        let base = text.strip_prefix("*.").unwrap_or(text);
        if base.contains('*') {
            return Err(HostPatternError::Star { pattern: pattern() });
        }
        let base: Hostname = base.parse()?;
        if !text.starts_with("*.") {
            return Ok(base.into());
        }
        if base.as_str().len() > WILDCARD_BASE_BYTES_MAX {
            return Err(HostPatternError::TooLong {
                pattern: pattern(),
                bytes: base.as_str().len(),
            });
        }
        Ok(Self(format!("*.{base}").into()))
    }
}

is_text!(HostPattern);
serde_as_text!(HostPattern, ALLOWED);
text_schema!(HostPattern, ALLOWED, example "*.acme.test");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_wildcard_matches_one_or_more_labels() {
        for (text, name, matches) in [
            ("acme.test", "acme.test", true),
            ("acme.test", "a.acme.test", false),
            ("*.acme.test", "a.acme.test", true),
            ("*.acme.test", "a.b.acme.test", true),
            ("*.acme.test", "acme.test", false),
            ("*.acme.test", "aacme.test", false),
            ("*.acme.test", "a.acme.tests", false),
            ("*.localhost", "hello.localhost", true),
            ("*.Bücher.test.", "a.xn--bcher-kva.test", true),
        ] {
            let name: Hostname = name.parse().unwrap();
            assert_eq!(pattern(text).matches(&name), matches, "{text} {name}");
        }
    }

    #[test]
    fn a_pattern_covers_narrower_ones() {
        for (wide, narrow, covers) in [
            ("*.test", "*.test", true),
            ("*.test", "*.acme.test", true),
            ("*.test", "acme.test", true),
            ("*.acme.test", "*.test", false),
            ("*.acme.test", "acme.test", false),
            ("*.acme.test", "*.xacme.test", false),
            ("acme.test", "acme.test", true),
            ("acme.test", "*.acme.test", false),
        ] {
            assert_eq!(
                pattern(wide).covers(&pattern(narrow)),
                covers,
                "{wide} {narrow}"
            );
        }
    }

    #[test]
    fn each_fault_has_its_message() {
        for (text, message) in [
            ("*", "host pattern \"*\" has a '*' that is not"),
            ("a*.test", "host pattern \"a*.test\" has a '*' that is not"),
            (
                "a.*.test",
                "host pattern \"a.*.test\" has a '*' that is not",
            ),
            (
                "*.*.test",
                "host pattern \"*.*.test\" has a '*' that is not",
            ),
            ("*.", "host name is empty"),
            ("*.a:80", "host name \"a:80\" has a port"),
        ] {
            let error = text.parse::<HostPattern>().unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
        let label = "a".repeat(63);
        let base = format!("{label}.{label}.{label}.{}", "a".repeat(59));
        assert!(format!("*.{base}").parse::<HostPattern>().is_ok());
        let error = format!("*.{base}a").parse::<HostPattern>().unwrap_err();
        assert!(error.to_string().contains("has 252 bytes after"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_to_a_fixed_point(
            text in prop_oneof![any::<String>(), "(\\*\\.)?[a-zA-Z0-9é.*-]{0,40}"]
        ) {
            if let Ok(pattern) = text.parse::<HostPattern>() {
                prop_assert_eq!(pattern.as_str().parse(), Ok(pattern.clone()));
                prop_assert_eq!(pattern.is_wildcard(), text.starts_with("*."));
                prop_assert!(pattern.covers(&pattern));
            }
        }

        #[test]
        fn covering_means_matching_all_that_is_matched(
            wide in "(\\*\\.)?([ab]\\.){0,2}[ab]",
            narrow in "(\\*\\.)?([ab]\\.){0,2}[ab]",
            name in "([ab]\\.){0,4}[ab]",
        ) {
            let (wide, narrow) = (pattern(&wide), pattern(&narrow));
            let name: Hostname = name.parse().unwrap();
            if wide.covers(&narrow) && narrow.matches(&name) {
                prop_assert!(wide.matches(&name));
            }
        }
    }
}
