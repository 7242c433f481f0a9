//! A route's name: its host pattern and its path prefix.

use std::{fmt, str::FromStr, sync::Arc};

use super::{
    host_pattern::{HostPattern, HostPatternError},
    path_prefix::{PathPrefix, PathPrefixError},
};
use crate::{
    quote::Quoted,
    text::{serde_as_text, text_schema},
};

const ALLOWED: &str = "a host name or \"*.\" and a host name, followed by a path prefix: \
     \"hello.localhost/\", \"*.acme.test/api\"";

/// Which requests a route takes: `hello.localhost/`, `*.acme.test/api`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId {
    // First, so that routes sort as they print; the other two follow from it.
    text: Arc<str>,
    host: HostPattern,
    path: PathPrefix,
}

impl RouteId {
    /// Joins a host and a path.
    pub fn new(host: HostPattern, path: PathPrefix) -> Self {
        Self {
            text: format!("{host}{path}").into(),
            host,
            path,
        }
    }

    /// The host and the path behind one another.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host part.
    pub fn host(&self) -> &HostPattern {
        &self.host
    }

    /// The path part.
    pub fn path(&self) -> &PathPrefix {
        &self.path
    }
}

/// Why a text is not a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteIdError {
    /// There is no `/` where the path begins.
    #[error("route {route} has no path; allowed: {}", ALLOWED)]
    NoPath {
        /// What was given.
        route: Quoted,
    },
    /// The part before the first `/` is no host pattern.
    #[error(transparent)]
    Host(#[from] HostPatternError),
    /// The rest is no path prefix.
    #[error(transparent)]
    Path(#[from] PathPrefixError),
}

impl FromStr for RouteId {
    type Err = RouteIdError;

    fn from_str(text: &str) -> Result<Self, RouteIdError> {
        let Some((host, path)) = text.find('/').map(|slash| text.split_at(slash)) else {
            return Err(RouteIdError::NoPath {
                route: Quoted::new(text),
            });
        };
        Ok(Self::new(host.parse()?, path.parse()?))
    }
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl AsRef<str> for RouteId {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

serde_as_text!(RouteId, ALLOWED);
text_schema!(RouteId, ALLOWED, example "*.acme.test/api");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_parts_are_normalised() {
        let route: RouteId = "*.Acme.Test./api/".parse().unwrap();
        assert_eq!(route.as_str(), "*.acme.test/api");
        assert_eq!(route.host().as_str(), "*.acme.test");
        assert_eq!(route.path().as_str(), "/api");
        let route: RouteId = "hello.localhost/".parse().unwrap();
        assert_eq!(route.to_string(), "hello.localhost/");
        assert_eq!(route.path(), &PathPrefix::root());
    }

    #[test]
    fn each_part_has_its_faults() {
        for (text, message) in [
            ("", "route \"\" has no path"),
            ("hello.localhost", "route \"hello.localhost\" has no path"),
            ("/api", "host name is empty"),
            ("hello:80/", "host name \"hello:80\" has a port"),
            ("http://hello/", "host name \"http:\" has a port"),
            ("hello//", "path \"//\" has an empty segment"),
            ("hello/a?b", "path \"/a?b\" has a query"),
        ] {
            let error = text.parse::<RouteId>().unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
            assert!(error.contains("; allowed: "), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_to_a_fixed_point(
            text in prop_oneof![any::<String>(), "(\\*\\.)?[a-zA-Z.é]{1,10}/[a-z/%0-9.]{0,10}"]
        ) {
            if let Ok(route) = text.parse::<RouteId>() {
                prop_assert_eq!(route.as_str().parse(), Ok(route.clone()));
                prop_assert_eq!(RouteId::new(route.host().clone(), route.path().clone()), route);
            }
        }
    }
}
