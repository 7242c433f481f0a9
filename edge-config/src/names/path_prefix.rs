//! The path part of a route.

use std::{borrow::Cow, str::FromStr, sync::Arc};

use crate::{
    quote::Quoted,
    text::{is_text, serde_as_text, text_schema},
};

const BYTES_MAX: usize = 1024;
const ALLOWED: &str = "'/' and segments of URL path characters (RFC 3986 §3.3), at most 1024 \
     bytes, without query, fragment, \"//\", \".\" and \"..\"";

/// The start of a URL path, matched segment by segment: `/api` takes in `/api` and `/api/x`, not
/// `/apix`.
///
/// Normal form: no slash at the end (but `/` itself), percent-encoded bytes in upper-case hex,
/// none where the plain character means the same (RFC 3986 §6.2.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(Arc<str>);

impl PathPrefix {
    /// `/`, which takes in every path.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path is this prefix or below it.
    ///
    /// `path` is an absolute path without query, compared byte by byte: whoever routes brings it
    /// into the normal form above, or `/%61pi` is not below `/api`.
    pub fn matches(&self, path: &str) -> bool {
        if &*self.0 == "/" {
            return path.starts_with('/');
        }
        path.strip_prefix(&*self.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Why a text is not a path prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathPrefixError {
    /// It does not start with `/`.
    #[error("path {path} does not start with '/'; allowed: {}", ALLOWED)]
    NotAbsolute {
        /// What was given.
        path: Quoted,
    },
    /// More than 1024 bytes.
    #[error("path {path} has {bytes} bytes; allowed: {}", ALLOWED)]
    TooLong {
        /// What was given.
        path: Quoted,
        /// Its length.
        bytes: usize,
    },
    /// A query or a fragment.
    #[error(
        "path {path} has a query or a fragment ({mark:?}); allowed: {}",
        ALLOWED
    )]
    QueryOrFragment {
        /// What was given.
        path: Quoted,
        /// `?` or `#`.
        mark: char,
    },
    /// A character that no URL path has unless percent-encoded.
    #[error("path {path} contains {character:?}; allowed: {}", ALLOWED)]
    Character {
        /// What was given.
        path: Quoted,
        /// The first character that is not allowed.
        character: char,
    },
    /// A `%` without two hex digits.
    #[error("path {path} has a '%' without two hex digits; allowed: {}", ALLOWED)]
    PercentEncoding {
        /// What was given.
        path: Quoted,
    },
    /// Two slashes in a row.
    #[error("path {path} has an empty segment (\"//\"); allowed: {}", ALLOWED)]
    EmptySegment {
        /// What was given.
        path: Quoted,
    },
    /// A segment `.` or `..`, plain or percent-encoded.
    #[error("path {path} has a segment \".\" or \"..\"; allowed: {}", ALLOWED)]
    DotSegment {
        /// What was given.
        path: Quoted,
    },
}

impl FromStr for PathPrefix {
    type Err = PathPrefixError;

    fn from_str(text: &str) -> Result<Self, PathPrefixError> {
        let path = || Quoted::new(text);
        if text.len() > BYTES_MAX {
            return Err(PathPrefixError::TooLong {
                path: path(),
                bytes: text.len(),
            });
        }
        if !text.starts_with('/') {
            return Err(PathPrefixError::NotAbsolute { path: path() });
        }
        match text.chars().find(|c| !is_path_character(*c)) {
            None => {}
            Some(mark @ ('?' | '#')) => {
                return Err(PathPrefixError::QueryOrFragment { path: path(), mark });
            }
            Some(character) => {
                return Err(PathPrefixError::Character {
                    path: path(),
                    character,
                });
            }
        }
        let Some(normal) = normal_percent_encoding(text) else {
            return Err(PathPrefixError::PercentEncoding { path: path() });
        };
        if normal.contains("//") {
            return Err(PathPrefixError::EmptySegment { path: path() });
        }
        if normal
            .split('/')
            .any(|segment| matches!(segment, "." | ".."))
        {
            return Err(PathPrefixError::DotSegment { path: path() });
        }
        if normal == "/" {
            return Ok(Self::root());
        }
        Ok(Self(normal.strip_suffix('/').unwrap_or(&normal).into()))
    }
}

/// "pchar", "/" or "%" (RFC 3986 §3.3).
fn is_path_character(c: char) -> bool {
    is_unreserved(c) || "!$&'()*+,;=:@/%".contains(c)
}

fn is_unreserved(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~".contains(c)
}

/// Upper-case hex, and plain characters for encoded unreserved ones; `None` if a `%` stands alone.
fn normal_percent_encoding(path: &str) -> Option<Cow<'_, str>> {
    let Some((plain, _)) = path.split_once('%') else {
        return Some(Cow::Borrowed(path));
    };
    let mut normal = String::from(plain);
    // The first piece is `plain`; every other one follows a '%'.
    for piece in path.split('%').skip(1) {
        let (hex, rest) = piece.split_at_checked(2)?;
        if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let byte = u8::from_str_radix(hex, 16).ok()?;
        if is_unreserved(char::from(byte)) {
            normal.push(char::from(byte));
        } else {
            normal.push('%');
            normal.push_str(&hex.to_ascii_uppercase());
        }
        normal.push_str(rest);
    }
    Some(Cow::Owned(normal))
}

is_text!(PathPrefix);
serde_as_text!(PathPrefix, ALLOWED);
text_schema!(PathPrefix, ALLOWED, example "/api", with |object| object
    .max_length(Some(BYTES_MAX))
    .pattern(Some("^/")));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_come_to_one_form() {
        for (text, normal) in [
            ("/", "/"),
            ("/api", "/api"),
            ("/api/", "/api"),
            ("/API", "/API"),
            ("/%61pi/%7euser", "/api/~user"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%2fb", "/a%2Fb"),
            ("/%25", "/%25"),
            ("/a;v=1/@b:c", "/a;v=1/@b:c"),
            ("/...", "/..."),
        ] {
            assert_eq!(text.parse::<PathPrefix>().unwrap().as_str(), normal);
        }
    }

    #[test]
    fn each_fault_has_its_message() {
        for (text, message) in [
            ("", "path \"\" does not start with '/'"),
            ("api", "path \"api\" does not start with '/'"),
            ("/a?b", "path \"/a?b\" has a query or a fragment ('?')"),
            ("/a#b", "path \"/a#b\" has a query or a fragment ('#')"),
            ("/a b", "path \"/a b\" contains ' '"),
            ("/a\\b", "path \"/a\\\\b\" contains '\\\\'"),
            ("/é", "path \"/é\" contains 'é'"),
            ("//", "path \"//\" has an empty segment"),
            ("/a//b", "path \"/a//b\" has an empty segment"),
            ("/a/../b", "path \"/a/../b\" has a segment"),
            ("/.", "path \"/.\" has a segment"),
            ("/%2e%2E/a", "path \"/%2e%2E/a\" has a segment"),
            ("/%", "path \"/%\" has a '%' without"),
            ("/%4", "path \"/%4\" has a '%' without"),
            ("/%+1", "path \"/%+1\" has a '%' without"),
            ("/%zz", "path \"/%zz\" has a '%' without"),
        ] {
            let error = text.parse::<PathPrefix>().unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
            assert!(error.ends_with(ALLOWED), "{text}: {error}");
        }
        let longest = format!("/{}", "a".repeat(1023));
        assert!(longest.parse::<PathPrefix>().is_ok());
        let error = format!("{longest}a").parse::<PathPrefix>().unwrap_err();
        assert!(error.to_string().contains("has 1025 bytes"), "{error}");
    }

    #[test]
    fn segments_are_matched_whole() {
        for (prefix, path, matches) in [
            ("/", "/", true),
            ("/", "/anything/at/all", true),
            ("/", "*", false),
            ("/", "", false),
            ("/api", "/api", true),
            ("/api", "/api/", true),
            ("/api", "/api/x", true),
            ("/api", "/apix", false),
            ("/api", "/ap", false),
            ("/api", "/", false),
            ("/api", "/API", false),
            ("/api/", "/api", true),
        ] {
            let prefix: PathPrefix = prefix.parse().unwrap();
            assert_eq!(prefix.matches(path), matches, "{prefix} {path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_to_a_fixed_point(
            text in prop_oneof![any::<String>(), "/[a-z0-9A-F/%.~?é-]{0,20}", "(/(%[0-9a-fA-F]{2}|[a-z.])+){0,8}/?"]
        ) {
            if let Ok(prefix) = text.parse::<PathPrefix>() {
                prop_assert_eq!(prefix.as_str().parse(), Ok(prefix.clone()));
                prop_assert!(prefix.matches(prefix.as_str()));
                let below = format!("{prefix}/x");
                prop_assert!(prefix.matches(&below));
            }
        }
    }
}
