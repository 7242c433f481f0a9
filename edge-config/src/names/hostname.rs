//! Host names in one normal form, from configuration, API and `Host` headers.
//!
//! Takes any text. Promises lower-case letters, digits and hyphens (RFC 1123 §2.1), U-labels as
//! A-labels (UTS #46, strict), no trailing dot, at most 253 bytes. The common case, a name that is
//! already normal, is one pass over the bytes. Never looks a name up.

use std::{borrow::Cow, net::IpAddr, str::FromStr, sync::Arc};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use crate::{
    quote::Quoted,
    text::{is_text, serde_as_text, text_schema},
};

/// The longest name, in bytes, without its trailing dot (RFC 1035 §2.3.4 less the root's bytes).
pub(crate) const BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Four bytes of UTF-8 for each byte of the result: longer text is not looked at any further.
const INPUT_BYTES_MAX: usize = BYTES_MAX * 4;

pub(crate) const ALLOWED: &str = "a DNS name of at most 253 bytes, labels of 1 to 63 letters, \
     digits and '-' (not first, not last), the last one not a number; no port, no IP address";

/// A host name in its normal form.
///
/// "Bücher.Example." and "xn--bcher-kva.example" are the same value, printed as the second.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// The name as text: lower case, A-labels, no trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the value of a `Host` header or an authority (RFC 9110 §7.2) and drops its port.
    ///
    /// # Errors
    /// [`HostnameError`], with [`HostnameError::BadPort`] for what no port can be and
    /// [`HostnameError::IpLiteral`] for addresses.
    pub fn from_host_header(value: &str) -> Result<Self, HostnameError> {
        Self::normal_form_of_host_header(value).map(|name| Self(name.into()))
    }

    /// What [`Hostname::from_host_header`] gives, as text, borrowed when nothing had to change.
    ///
    /// With `Borrow<str>` this looks a name up in a table of [`Hostname`]s without allocating.
    ///
    /// # Errors
    /// As [`Hostname::from_host_header`].
    pub fn normal_form_of_host_header(value: &str) -> Result<Cow<'_, str>, HostnameError> {
        let Some((name, port)) = value.split_once(':') else {
            return normal_form(value);
        };
        if is_ip_literal(value) {
            return Err(HostnameError::IpLiteral {
                name: Quoted::new(value),
            });
        }
        // "port = *DIGIT": nothing at all is allowed (RFC 3986 §3.2.3).
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        if !digits || !(port.is_empty() || port.parse::<u16>().is_ok()) {
            return Err(HostnameError::BadPort {
                name: Quoted::new(value),
            });
        }
        normal_form(name)
    }
}

impl FromStr for Hostname {
    type Err = HostnameError;

    fn from_str(text: &str) -> Result<Self, HostnameError> {
        normal_form(text).map(|name| Self(name.into()))
    }
}

is_text!(Hostname);
serde_as_text!(Hostname, ALLOWED);
text_schema!(Hostname, ALLOWED, example "hello.localhost");

/// Why a text is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostnameError {
    /// There is no name.
    #[error("host name is empty; allowed: {}", ALLOWED)]
    Empty,
    /// More than 253 bytes.
    #[error("host name {name} has {bytes} bytes; allowed: {}", ALLOWED)]
    TooLong {
        /// What was given.
        name: Quoted,
        /// Its length.
        bytes: usize,
    },
    /// Two dots in a row, or a dot in front.
    #[error("host name {name} has an empty label; allowed: {}", ALLOWED)]
    EmptyLabel {
        /// What was given.
        name: Quoted,
    },
    /// A label of more than 63 bytes.
    #[error("host name {name} has a label of {bytes} bytes; allowed: {}", ALLOWED)]
    LongLabel {
        /// What was given.
        name: Quoted,
        /// The length of the first such label, in its A-label form.
        bytes: usize,
    },
    /// A character that no host name has.
    #[error("host name {name} contains {character:?}; allowed: {}", ALLOWED)]
    Character {
        /// What was given.
        name: Quoted,
        /// The first character that is not allowed.
        character: char,
    },
    /// A hyphen at an end of a label.
    #[error(
        "host name {name} has a label that starts or ends with '-'; allowed: {}",
        ALLOWED
    )]
    Hyphen {
        /// What was given.
        name: Quoted,
    },
    /// "--" as third and fourth character, which is kept for A-labels (RFC 5890 §2.3.1).
    #[error(
        "host name {name} has a label with \"--\" in third place that does not start with \
         \"xn--\"; allowed: {}",
        ALLOWED
    )]
    Reserved {
        /// What was given.
        name: Quoted,
    },
    /// A port where only a name is taken.
    #[error("host name {name} has a port; allowed: {}", ALLOWED)]
    Port {
        /// What was given.
        name: Quoted,
    },
    /// In a `Host` header, something after the colon that is no port.
    #[error("host {name} has no valid port after its ':'; allowed: nothing, or 0 to 65535")]
    BadPort {
        /// What was given.
        name: Quoted,
    },
    /// An IPv4 or IPv6 address.
    #[error("host name {name} is an IP address; allowed: {}", ALLOWED)]
    IpLiteral {
        /// What was given.
        name: Quoted,
    },
    /// A last label that some readers take for an IPv4 address (URL Standard, "ends in a number").
    #[error("host name {name} ends in a number; allowed: {}", ALLOWED)]
    EndsInNumber {
        /// What was given.
        name: Quoted,
    },
    /// Not a valid internationalised name.
    #[error(
        "host name {name} is not a valid internationalised name (UTS #46, strict); allowed: {}",
        ALLOWED
    )]
    Idna {
        /// What was given.
        name: Quoted,
    },
}

/// The normal form of a name without a port.
fn normal_form(text: &str) -> Result<Cow<'_, str>, HostnameError> {
    if text.len() > INPUT_BYTES_MAX {
        return Err(HostnameError::TooLong {
            name: Quoted::new(text),
            bytes: text.len(),
        });
    }
    if text.bytes().all(is_ldh_or_dot) && !has_a_label(text) {
        return checked(Cow::Borrowed(text), text);
    }
    refuse_what_is_no_name(text)?;
    if text.is_ascii() {
        let lower = text.to_ascii_lowercase();
        if !has_a_label(&lower) {
            return checked(Cow::Owned(lower), text);
        }
    }
    // Lengths and the root dot are judged below, with messages of their own.
    Uts46::new()
        .to_ascii(
            text.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::Check,
            DnsLength::Ignore,
        )
        .map_err(|_| HostnameError::Idna {
            name: Quoted::new(text),
        })
        .and_then(|ascii| checked(ascii, text))
}

fn is_ldh_or_dot(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')
}

/// Whether a lower-case name may have an A-label, which only UTS #46 can judge.
///
/// Most names have no hyphen, and looking for one byte is cheaper than for four.
fn has_a_label(lower: &str) -> bool {
    lower.contains('-') && lower.contains("xn--")
}

fn is_ip_literal(text: &str) -> bool {
    text.starts_with('[') || text.parse::<IpAddr>().is_ok()
}

/// Finds what can be named precisely before UTS #46, which only answers yes or no.
fn refuse_what_is_no_name(text: &str) -> Result<(), HostnameError> {
    let name = || Quoted::new(text);
    if is_ip_literal(text) {
        return Err(HostnameError::IpLiteral { name: name() });
    }
    if let Some((_, port)) = text.split_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(HostnameError::Port { name: name() });
    }
    let odd = |c: &char| c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.');
    match text.chars().find(odd) {
        Some(character) => Err(HostnameError::Character {
            name: name(),
            character,
        }),
        None => Ok(()),
    }
}

/// Drops one trailing dot and checks lengths, labels and the last label.
///
/// `ascii` has only lower-case letters, digits, hyphens and dots; `given` is for messages.
fn checked<'a>(ascii: Cow<'a, str>, given: &str) -> Result<Cow<'a, str>, HostnameError> {
    let name = || Quoted::new(given);
    let ascii = without_root_dot(ascii);
    if ascii.is_empty() {
        // "." is a name of one empty label; "" is nothing at all.
        return Err(if given.is_empty() {
            HostnameError::Empty
        } else {
            HostnameError::EmptyLabel { name: name() }
        });
    }
    if ascii.len() > BYTES_MAX {
        return Err(HostnameError::TooLong {
            name: name(),
            bytes: ascii.len(),
        });
    }
    let mut last = "";
    for label in ascii.split('.') {
        if label.is_empty() {
            return Err(HostnameError::EmptyLabel { name: name() });
        }
        if label.len() > LABEL_BYTES_MAX {
            return Err(HostnameError::LongLabel {
                name: name(),
                bytes: label.len(),
            });
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(HostnameError::Hyphen { name: name() });
        }
        if label.get(2..4) == Some("--") && !label.starts_with("xn--") {
            return Err(HostnameError::Reserved { name: name() });
        }
        last = label;
    }
    if is_number(last) {
        return Err(if is_ip_literal(&ascii) {
            HostnameError::IpLiteral { name: name() }
        } else {
            HostnameError::EndsInNumber { name: name() }
        });
    }
    Ok(ascii)
}

fn without_root_dot(name: Cow<'_, str>) -> Cow<'_, str> {
    match name {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix('.').unwrap_or(text)),
        Cow::Owned(mut text) => {
            if text.ends_with('.') {
                text.pop();
            }
            Cow::Owned(text)
        }
    }
}

/// Decimal, octal or hexadecimal, as the URL Standard's IPv4 parser reads numbers.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Result<String, String> {
        text.parse::<Hostname>()
            .map(|name| name.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_come_to_one_form() {
        for (text, normal) in [
            ("hello.localhost", "hello.localhost"),
            ("localhost", "localhost"),
            ("Hello.LOCALHOST", "hello.localhost"),
            ("hello.localhost.", "hello.localhost"),
            ("Bücher.Example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example.", "xn--bcher-kva.example"),
            ("日本語。jp", "xn--wgv71a119e.jp"),
            ("faß.de", "xn--fa-hia.de"),
            ("1.2.3.example", "1.2.3.example"),
            ("a--b.test", "a--b.test"),
            ("0xg.test", "0xg.test"),
        ] {
            assert_eq!(name(text).as_deref(), Ok(normal), "{text}");
        }
    }

    #[test]
    fn each_fault_has_its_message() {
        let long_label = format!("{}.test", "a".repeat(64));
        let long_name = format!("{}test", "abcdefghi.".repeat(25));
        let endless = "a.".repeat(4_000);
        for (text, message) in [
            ("", "host name is empty"),
            (".", "host name \".\" has an empty label"),
            ("a..b", "host name \"a..b\" has an empty label"),
            (".a", "host name \".a\" has an empty label"),
            ("a.test..", "host name \"a.test..\" has an empty label"),
            ("a.test:80", "host name \"a.test:80\" has a port"),
            ("a.test:", "host name \"a.test:\" has a port"),
            ("a:b", "host name \"a:b\" contains ':'"),
            ("a_b.test", "host name \"a_b.test\" contains '_'"),
            ("a b.test", "host name \"a b.test\" contains ' '"),
            ("a/b", "host name \"a/b\" contains '/'"),
            ("*.test", "host name \"*.test\" contains '*'"),
            ("a\0b", "host name \"a\\0b\" contains '\\0'"),
            (
                "-a.test",
                "host name \"-a.test\" has a label that starts or ends with '-'",
            ),
            (
                "a-.test",
                "host name \"a-.test\" has a label that starts or ends with '-'",
            ),
            (
                "ab--c.test",
                "host name \"ab--c.test\" has a label with \"--\" in third place",
            ),
            ("127.0.0.1", "host name \"127.0.0.1\" is an IP address"),
            ("127.0.0.1.", "host name \"127.0.0.1.\" is an IP address"),
            ("[::1]", "host name \"[::1]\" is an IP address"),
            ("::1", "host name \"::1\" is an IP address"),
            ("1.2", "host name \"1.2\" ends in a number"),
            ("a.0x7f", "host name \"a.0x7f\" ends in a number"),
            ("１２７.１", "host name \"１２７.１\" ends in a number"),
            (
                "xn--.test",
                "host name \"xn--.test\" is not a valid internationalised name",
            ),
            (
                "xn--zzzzzzzz99.test",
                "host name \"xn--zzzzzzzz99.test\" is not a valid internationalised name",
            ),
            (
                "a\u{202e}b.test",
                "host name \"a\\u{202e}b.test\" is not a valid internationalised name",
            ),
            // Each would be let through by a looser UTS #46: "℀" maps to "a/c".
            (
                "℀.test",
                "host name \"℀.test\" is not a valid internationalised name",
            ),
            (
                "ab--é.test",
                "host name \"ab--é.test\" is not a valid internationalised name",
            ),
            (
                "-é.test",
                "host name \"-é.test\" is not a valid internationalised name",
            ),
            (&long_label, "host name \"aaaa"),
            (&long_name, "host name \"abcdefghi."),
            (&endless, "host name \"a.a."),
        ] {
            let error = name(text).unwrap_err();
            assert!(error.starts_with(message), "{text:?}: {error}");
            assert!(error.ends_with(ALLOWED), "{text:?}: {error}");
        }
        assert!(
            name(&long_label)
                .unwrap_err()
                .contains("has a label of 64 bytes")
        );
        assert!(name(&long_name).unwrap_err().contains("has 254 bytes"));
        assert!(name(&endless).unwrap_err().contains("has 8000 bytes"));
    }

    #[test]
    fn the_longest_name_and_label_are_accepted() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), 253);
        assert_eq!(name(&longest), Ok(longest.clone()));
        assert_eq!(name(&format!("{longest}.")), Ok(longest));
    }

    #[test]
    fn a_host_header_loses_its_port() {
        for (value, normal) in [
            ("hello.localhost", "hello.localhost"),
            ("hello.localhost:8080", "hello.localhost"),
            ("hello.localhost:", "hello.localhost"),
            ("Name.Example.:8080", "name.example"),
        ] {
            let name = Hostname::from_host_header(value).unwrap();
            assert_eq!(name.as_str(), normal, "{value}");
        }
    }

    #[test]
    fn a_normal_host_header_is_borrowed() {
        for value in ["hello.localhost", "hello.localhost:8080", "a.test."] {
            let name = Hostname::normal_form_of_host_header(value).unwrap();
            assert!(matches!(name, Cow::Borrowed(_)), "{value}");
        }
    }

    #[test]
    fn a_host_header_that_is_no_name_is_refused() {
        use HostnameError as E;
        let refused = |value| Hostname::from_host_header(value).unwrap_err();
        for value in ["[::1]", "[::1]:8080", "::1", "fe80::1", "10.0.0.1:80", "["] {
            assert!(matches!(refused(value), E::IpLiteral { .. }), "{value}");
        }
        for value in ["a:65536", "a:+1", "a: 80", "a:80:80", "a:b", "a:８"] {
            assert!(matches!(refused(value), E::BadPort { .. }), "{value}");
        }
        assert_eq!(refused(":80"), E::Empty);
        assert_eq!(refused(""), E::Empty);
        assert!(matches!(refused("a@b"), E::Character { .. }));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_to_a_fixed_point(
            text in prop_oneof![
                any::<String>(),
                "[a-zA-Z0-9.:_-]{0,300}",
                "(xn--)?[a-z0-9-]{0,12}(\\.(XN--)?[a-z0-9-]{1,12}){0,3}\\.?",
                "[a-zßéا日０-９。．ǅ-]{1,20}(\\.[a-zéאй-]{1,8}){0,3}",
            ]
        ) {
            if let Ok(name) = text.parse::<Hostname>() {
                prop_assert!(name.as_str().bytes().all(is_ldh_or_dot));
                prop_assert!(name.as_str().len() <= BYTES_MAX);
                prop_assert_eq!(name.as_str().parse(), Ok(name.clone()));
                prop_assert_eq!(Hostname::from_host_header(name.as_str()), Ok(name));
            }
            let _never_panics = Hostname::from_host_header(&text);
        }

        #[test]
        fn case_and_trailing_dot_and_port_do_not_matter(
            text in "([a-wyz][a-z0-9]{0,10}\\.){0,4}[a-wyz][a-z0-9]{0,10}",
            port in any::<u16>(),
        ) {
            let name: Hostname = text.parse().unwrap();
            prop_assert_eq!(name.as_str(), &text);
            let odd = format!("{}.:{port}", text.to_ascii_uppercase());
            prop_assert_eq!(Hostname::from_host_header(&odd), Ok(name));
        }
    }
}
