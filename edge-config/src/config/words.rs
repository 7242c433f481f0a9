//! The values that a configuration writes as text.
//!
//! Takes one string. Promises a typed value, or the reason against it to be put behind the key.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

use super::ip_net::{self, IpNet};
use crate::names::{Hostname, NodeName};

/// A value written as one string.
pub trait Word: Sized {
    /// What the string may be, for messages and docs.
    const ALLOWED: &'static str;

    /// Reads the string; the reason against it continues a sentence: "is not a URL".
    fn read(text: &str) -> Result<Self, String>;

    /// The string that reads as this value.
    fn write(&self) -> String;
}

impl Word for NodeName {
    const ALLOWED: &'static str = "1 to 63 of a-z, 0-9 and '-', with '-' neither first nor last";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is not a node name".to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Word for SocketAddr {
    const ALLOWED: &'static str = "an IP address and a port (\"0.0.0.0:8080\", \"[::]:8080\")";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "is not an IP address and a port".to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Word for IpNet {
    const ALLOWED: &'static str = ip_net::ALLOWED;

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error: ip_net::IpNetError| error.to_string())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

/// The longest path that Linux takes (PATH_MAX, with its NUL).
const PATH_BYTES_MAX: usize = 4095;

impl Word for PathBuf {
    const ALLOWED: &'static str =
        "a path of 1 to 4095 bytes; a relative one starts where the daemon is started";

    fn read(text: &str) -> Result<Self, String> {
        refuse_control_characters(text)?;
        if text.is_empty() || text.len() > PATH_BYTES_MAX {
            return Err(format!("has {} bytes", text.len()));
        }
        Ok(text.into())
    }

    fn write(&self) -> String {
        // Read from a string, so nothing is lost.
        self.to_string_lossy().into_owned()
    }
}

/// The longest path a Unix socket can have (`sun_path` in unix(7), with its NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where a Unix socket is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SocketPath(PathBuf);

impl SocketPath {
    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Word for SocketPath {
    const ALLOWED: &'static str = "a path of 1 to 107 bytes";

    fn read(text: &str) -> Result<Self, String> {
        if text.len() > SOCKET_PATH_BYTES_MAX {
            return Err(format!("has {} bytes", text.len()));
        }
        PathBuf::read(text).map(Self)
    }

    fn write(&self) -> String {
        self.0.write()
    }
}

const URL_BYTES_MAX: usize = 2048;

/// A URL that nobody on the way answers in another's place: `https`, or `http` to a loopback address; without user
/// name, password and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct KeysUrl(String);

impl KeysUrl {
    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for KeysUrl {
    const ALLOWED: &'static str = "an https:// URL, or http:// to localhost, 127.0.0.0/8 or [::1], \
         of at most 2048 bytes, without user, password and fragment";

    fn read(text: &str) -> Result<Self, String> {
        if text.len() > URL_BYTES_MAX {
            return Err(format!("has {} bytes", text.len()));
        }
        let (rest, plain) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (rest, false),
            (None, Some(rest)) => (rest, true),
            (None, None) => return Err("does not start with http:// or https://".to_owned()),
        };
        let odd = |c: &char| !c.is_ascii_graphic() || "\"<>\\^`{|}#".contains(*c);
        if let Some(character) = rest.chars().find(odd) {
            return Err(format!("contains {character:?}"));
        }
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        if authority.contains('@') {
            return Err("has a user name or password".to_owned());
        }
        if !is_authority(authority) {
            return Err("has no valid host and port".to_owned());
        }
        if plain && !is_loopback(authority) {
            return Err("goes to another machine over plain http".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }
}

/// An address or a host name, with or without a port.
fn is_authority(text: &str) -> bool {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    text.parse::<SocketAddr>().is_ok()
        || text
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_ipv4())
        || bracketed.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
        || Hostname::from_host_header(text).is_ok()
}

/// Whether an authority is this machine itself, whatever a resolver says.
fn is_loopback(authority: &str) -> bool {
    let bracketed = authority
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = authority
        .parse::<SocketAddr>()
        .map(|address| address.ip())
        .or_else(|_| bracketed.unwrap_or(authority).parse());
    let host = authority.split(':').next().unwrap_or(authority);
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

const ISSUER_BYTES_MAX: usize = 256;

/// The `iss` claim of tokens that are accepted (RFC 7519 §4.1.1), compared as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Issuer(String);

impl Issuer {
    /// The issuer as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for Issuer {
    const ALLOWED: &'static str = "1 to 256 bytes without control characters";

    fn read(text: &str) -> Result<Self, String> {
        refuse_control_characters(text)?;
        if text.is_empty() || text.len() > ISSUER_BYTES_MAX {
            return Err(format!("has {} bytes", text.len()));
        }
        Ok(Self(text.to_owned()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }
}

fn refuse_control_characters(text: &str) -> Result<(), String> {
    match text.chars().find(|c| c.is_control()) {
        Some(character) => Err(format!("contains {character:?}")),
        None => Ok(()),
    }
}

/// An enum of which each variant is one word.
macro_rules! choice {
    (
        $(#[$doc:meta])* $name:ident, $allowed:literal, $refusal:literal,
        $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The word that stands for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl Word for $name {
            const ALLOWED: &'static str = $allowed;

            fn read(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err($refusal.to_owned()),
                }
            }

            fn write(&self) -> String {
                self.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

choice! {
    /// How the daemon writes its own log.
    LogFormat, "\"text\" or \"json\"", "is not a log format",
    /// Lines for people.
    Text = "text",
    /// One JSON object a line.
    Json = "json",
}

choice! {
    /// How strictly the processes that handle tenants' code are confined.
    Strictness, "\"enforce\", \"log\" or \"off\"", "is not a way to confine",
    /// Every barrier that the kernel has.
    Enforce = "enforce",
    /// A system call that is not expected is logged instead of ending the process.
    Log = "log",
    /// No barrier but the user and its lack of capabilities.
    Off = "off",
}

choice! {
    /// From where the admin API is asked without TLS.
    WithoutTls, "\"loopback\" or \"anywhere\"", "is neither",
    /// From this machine.
    Loopback = "loopback",
    /// From every machine that reaches it: tokens cross the network in clear text.
    Anywhere = "anywhere",
}

choice! {
    /// The oldest version of TLS that clients may speak.
    TlsVersion, "\"1.2\" or \"1.3\"", "is not a version of TLS that this node speaks",
    /// RFC 5246, with forward secrecy and authenticated encryption only.
    Tls12 = "1.2",
    /// RFC 8446.
    Tls13 = "1.3",
}

choice! {
    /// The least severe lines that the daemon logs.
    LogLevel, "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"", "is not a log level",
    /// What needs somebody.
    Error = "error",
    /// What may need somebody.
    Warn = "warn",
    /// What changed.
    Info = "info",
    /// What happened.
    Debug = "debug",
    /// Everything.
    Trace = "trace",
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusals<T: Word>(cases: &[(&str, &str)]) {
        for (text, reason) in cases {
            let refused = T::read(text).err().unwrap_or_default();
            assert!(refused.starts_with(reason), "{text:?}: {refused:?}");
            assert!(!refused.is_empty(), "{text:?} was accepted");
        }
    }

    #[test]
    fn urls_are_checked() {
        for text in [
            "https://id.example/jwks.json",
            "http://127.0.0.1:8080/keys?x=1",
            "http://[::1]/k",
            "http://[::1]:80",
            "http://localhost:8080/k",
            "http://127.1.2.3",
            "https://id.example",
            "https://id.example?a=/@",
        ] {
            assert_eq!(KeysUrl::read(text).unwrap().as_str(), text);
        }
        refusals::<KeysUrl>(&[
            ("", "does not start with"),
            ("file:///etc/passwd", "does not start with"),
            ("HTTPS://id.example", "does not start with"),
            ("https://", "has no valid host"),
            ("https:///x", "has no valid host"),
            ("https://id.example:x/", "has no valid host"),
            ("https://a b/", "contains ' '"),
            ("https://id.example/\n", "contains '\\n'"),
            ("https://id.example/#a", "contains '#'"),
            ("https://user:pass@id.example/", "has a user name"),
            ("http://id.example/k", "goes to another machine"),
            ("http://192.0.2.1:80/k", "goes to another machine"),
            ("http://[2001:db8::1]", "goes to another machine"),
            ("http://localhost.example", "goes to another machine"),
            ("http://127.0.0.1.example", "goes to another machine"),
        ]);
        assert!(KeysUrl::read(&format!("https://a/{}", "a".repeat(2048))).is_err());
    }

    #[test]
    fn paths_are_checked() {
        refusals::<PathBuf>(&[("", "has 0 bytes"), ("a\0b", "contains '\\0'")]);
        assert!(PathBuf::read(&"a".repeat(4096)).is_err());
        assert!(SocketPath::read(&"a".repeat(107)).is_ok());
        refusals::<SocketPath>(&[(&"a".repeat(108), "has 108 bytes")]);
    }

    #[test]
    fn issuers_are_checked() {
        refusals::<Issuer>(&[("", "has 0 bytes"), ("a\nb", "contains '\\n'")]);
        assert!(Issuer::read(&"a".repeat(257)).is_err());
    }

    #[test]
    fn choices_are_lower_case_words() {
        refusals::<LogLevel>(&[("INFO", "is not a log level"), ("", "is not a log level")]);
        refusals::<LogFormat>(&[("yaml", "is not a log format")]);
        for level in ["error", "warn", "info", "debug", "trace"] {
            assert!(LogLevel::ALLOWED.contains(level));
            assert_eq!(LogLevel::read(level).unwrap().to_string(), level);
        }
    }

    fn round_trips<T: Word + PartialEq + fmt::Debug>(text: &str) {
        if let Ok(value) = T::read(text) {
            assert_eq!(T::read(&value.write()).as_ref(), Ok(&value), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_round_trips(
            text in prop_oneof![any::<String>(), "https?://[a-z0-9.:@/?\\[\\]]{0,12}", "[0-9.:\\[\\]]{0,16}"]
        ) {
            round_trips::<KeysUrl>(&text);
            round_trips::<SocketAddr>(&text);
            round_trips::<PathBuf>(&text);
            round_trips::<SocketPath>(&text);
            round_trips::<Issuer>(&text);
            round_trips::<IpNet>(&text);
            round_trips::<NodeName>(&text);
        }
    }
}
