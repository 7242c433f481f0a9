//! Where a guest may connect to: a scheme, a host, a port.

use std::net::IpAddr;
use std::{fmt, str::FromStr, sync::Arc};

use super::host_pattern::HostPattern;
use crate::{
    config::IpNet,
    quote::Quoted,
    text::{serde_as_text, text_schema},
};

const BYTES_MAX: usize = 320;
const ALLOWED: &str = "`scheme://host:port`: a scheme or `*`; a DNS name, `*.` and one, an address, a network, `self` or \
     `*`; a port, `first..last` or `*`, which may be left out for http, https, redis, postgres, mysql, mqtt and mqtts";
/// What stands for the node itself: routes of the same tenant.
const SELF: &str = "self";
/// Schemes with a port of their own.
const PORTS: [(&str, u16); 9] = [
    ("http", 80),
    ("https", 443),
    ("redis", 6379),
    ("rediss", 6379),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("mysql", 3306),
    ("mqtt", 1883),
    ("mqtts", 8883),
];

/// A grant to connect: Spin's `allowed_outbound_hosts` in their form and with their meaning.
///
/// A name grants what it resolves to among public addresses; which others it may lead to is said by networks beside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboundPattern {
    scheme: Arc<str>,
    host: Hosts,
    ports: (u16, u16),
    text: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Hosts {
    Any,
    Own,
    Named(HostPattern),
    In(IpNet),
}

/// Why a text is not a grant to connect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundPatternError {
    /// Longer than any could be.
    #[error(
        "outbound host {text} has {bytes} bytes, of at most {}; allowed: {}",
        BYTES_MAX,
        ALLOWED
    )]
    TooLong {
        /// What was given.
        text: Quoted,
        /// Its length.
        bytes: usize,
    },
    /// No `://`.
    #[error("outbound host {text} has no scheme; allowed: {}", ALLOWED)]
    NoScheme {
        /// What was given.
        text: Quoted,
    },
    /// The part before `://`.
    #[error(
        "outbound host {text} has a scheme of other characters than a-z, 0-9, '+', '-' and '.'; allowed: {}",
        ALLOWED
    )]
    Scheme {
        /// What was given.
        text: Quoted,
    },
    /// The part between.
    #[error("outbound host {text} names no host: {why}; allowed: {}", ALLOWED)]
    Host {
        /// What was given.
        text: Quoted,
        /// What is wrong with it.
        why: String,
    },
    /// The part after the last `:`.
    #[error("outbound host {text} has no valid port; allowed: {}", ALLOWED)]
    Port {
        /// What was given.
        text: Quoted,
    },
    /// A path, or anything else behind.
    #[error("outbound host {text} has a path; allowed: {}", ALLOWED)]
    Path {
        /// What was given.
        text: Quoted,
    },
}

impl OutboundPattern {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a connection to `host` and `port` for this scheme is granted. `host` is a name in normal form, or an
    /// address without brackets.
    pub fn matches(&self, scheme: &str, host: &str, port: u16) -> bool {
        let of_scheme = &*self.scheme == "*" || self.scheme.eq_ignore_ascii_case(scheme);
        of_scheme && (self.ports.0..=self.ports.1).contains(&port) && self.host.takes_in(host)
    }

    /// Whether it grants something of this host, by whatever scheme and port.
    pub fn names_host(&self, host: &str) -> bool {
        self.host.takes_in(host)
    }

    /// Whether it grants requests to routes of the same tenant on this node.
    pub fn is_self(&self) -> bool {
        self.host == Hosts::Own
    }

    /// Whether it names this very address, or a network around it: then the address may be one that names never lead to.
    pub fn names_address(&self, address: IpAddr) -> bool {
        matches!(&self.host, Hosts::In(network) if network.contains(address))
    }

    /// The port of a scheme that has one.
    pub fn default_port(scheme: &str) -> Option<u16> {
        let own = PORTS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(scheme));
        own.map(|(_, port)| *port)
    }
}

impl Hosts {
    fn takes_in(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Own => false,
            Self::Named(pattern) => host.parse().is_ok_and(|name| pattern.matches(&name)),
            Self::In(network) => host.parse().is_ok_and(|address| network.contains(address)),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        match text {
            "*" => Ok(Self::Any),
            SELF => Ok(Self::Own),
            _ if bare.is_some() || text.parse::<IpAddr>().is_ok() || text.contains('/') => {
                let network = bare.unwrap_or(text).parse::<IpNet>();
                network
                    .map(Self::In)
                    .map_err(|error| format!("{text:?} {error}"))
            }
            _ => text
                .parse()
                .map(Self::Named)
                .map_err(|error: super::HostPatternError| error.to_string()),
        }
    }
}

impl FromStr for OutboundPattern {
    type Err = OutboundPatternError;

    fn from_str(text: &str) -> Result<Self, OutboundPatternError> {
        let shown = || Quoted::new(text);
        if text.len() > BYTES_MAX {
            return Err(OutboundPatternError::TooLong {
                text: shown(),
                bytes: text.len(),
            });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(OutboundPatternError::NoScheme { text: shown() });
        };
        let in_scheme = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
        if scheme.is_empty() || scheme != "*" && !scheme.chars().all(in_scheme) {
            return Err(OutboundPatternError::Scheme { text: shown() });
        }
        let (host, port) = split_port(rest);
        let host = match host.strip_suffix('/') {
            // What people copy from a browser.
            Some(host) if port.is_none() => host,
            _ => host,
        };
        if host.contains('/')
            && host
                .rsplit('/')
                .next()
                .is_none_or(|bits| bits.trim_end_matches(']').parse::<u8>().is_err())
            || port.is_some_and(|port| port.contains('/'))
        {
            return Err(OutboundPatternError::Path { text: shown() });
        }
        let hosts =
            Hosts::parse(host).map_err(|why| OutboundPatternError::Host { text: shown(), why })?;
        let ports = match port {
            Some(port) => ports(port),
            None if scheme == "*" || hosts == Hosts::Own => Some((1, u16::MAX)),
            None => Self::default_port(scheme).map(|port| (port, port)),
        };
        Ok(Self {
            scheme: scheme.into(),
            host: hosts,
            ports: ports.ok_or_else(|| OutboundPatternError::Port { text: shown() })?,
            text: text.into(),
        })
    }
}

/// The host, and the port where one is said; an IPv6 address with colons of its own stands in brackets.
fn split_port(rest: &str) -> (&str, Option<&str>) {
    match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (rest, None),
    }
}

fn ports(text: &str) -> Option<(u16, u16)> {
    if text == "*" {
        return Some((1, u16::MAX));
    }
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (0 < first && first <= last).then_some((first, last))
}

impl fmt::Display for OutboundPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

serde_as_text!(OutboundPattern, ALLOWED);
text_schema!(OutboundPattern, ALLOWED, example "https://api.example.com", with |object| object
    .max_length(Some(BYTES_MAX)));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_covers_what_it_names() {
        for (grant, scheme, host, port, covered) in [
            (
                "https://api.example.com",
                "https",
                "api.example.com",
                443,
                true,
            ),
            (
                "https://api.example.com/",
                "https",
                "api.example.com",
                443,
                true,
            ),
            (
                "https://api.example.com",
                "https",
                "api.example.com",
                8443,
                false,
            ),
            (
                "https://api.example.com",
                "http",
                "api.example.com",
                443,
                false,
            ),
            (
                "https://api.example.com",
                "https",
                "evil-api.example.com",
                443,
                false,
            ),
            (
                "https://*.example.com",
                "https",
                "a.b.example.com",
                443,
                true,
            ),
            ("https://*.example.com", "https", "example.com", 443, false),
            (
                "http://*.example.com:8000..8080",
                "http",
                "a.example.com",
                8042,
                true,
            ),
            (
                "http://*.example.com:8000..8080",
                "http",
                "a.example.com",
                8081,
                false,
            ),
            ("*://*:*", "redis", "10.0.0.1", 1, true),
            ("redis://127.0.0.1", "redis", "127.0.0.1", 6379, true),
            ("tcp://10.0.0.0/8:5432", "tcp", "10.1.2.3", 5432, true),
            ("tcp://10.0.0.0/8:5432", "tcp", "11.1.2.3", 5432, false),
            ("http://[::1]:80", "http", "::1", 80, true),
            ("http://self", "http", "api.example.com", 80, false),
        ] {
            let pattern: OutboundPattern = grant.parse().unwrap_or_else(|e| panic!("{grant}: {e}"));
            assert_eq!(
                pattern.matches(scheme, host, port),
                covered,
                "{grant} {scheme} {host} {port}"
            );
            assert_eq!(pattern.to_string(), grant);
        }
    }

    #[test]
    fn each_fault_has_its_message() {
        for (text, message) in [
            ("example.com", "has no scheme"),
            ("://example.com", "scheme of other characters"),
            ("HTTP://example.com", "scheme of other characters"),
            ("http://", "names no host"),
            ("http://exa mple.com", "names no host"),
            ("http://*.*.com", "names no host"),
            ("tcp://example.com", "has no valid port"),
            ("http://example.com:0", "has no valid port"),
            ("http://example.com:9..8", "has no valid port"),
            ("http://example.com:x", "has no valid port"),
            ("http://example.com/path", "has a path"),
            ("http://example.com:80/path", "has a path"),
            ("http://10.0.0.1/8", "names no host"),
        ] {
            let error = text.parse::<OutboundPattern>().unwrap_err().to_string();
            assert!(
                error.contains(message) && error.contains("allowed:"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn only_what_names_an_address_leads_to_ones_that_names_do_not() {
        let address = "127.0.0.1".parse().unwrap();
        for (grant, names) in [
            ("http://127.0.0.1", true),
            ("http://127.0.0.0/8:80", true),
            ("http://*", false),
            ("http://localhost", false),
        ] {
            let pattern: OutboundPattern = grant.parse().unwrap();
            assert_eq!(pattern.names_address(address), names, "{grant}");
        }
    }
}
