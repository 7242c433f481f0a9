//! What a guest is told about the client, and what clients may not tell it themselves.
//!
//! `Forwarded` (RFC 7239) and the older `X-Forwarded-*` are set by the gateway. What a client sent of them is removed,
//! unless it is a proxy that the operator trusts: then its values stay and ours are appended.

use std::fmt::Write;
use std::net::IpAddr;

use edge_config::IpNet;
use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, HeaderValue};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Set by clients to claim what only a proxy can know; never set by us.
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// With what the fields of this family begin: frameworks believe more of them than we set.
const X_FORWARDED: &str = "x-forwarded";

/// Hop-by-hop fields (RFC 9110 §7.6.1 and what older software adds to them).
const HOP_BY_HOP: [HeaderName; 8] = [
    http::header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::PROXY_AUTHENTICATE,
    http::header::PROXY_AUTHORIZATION,
    http::header::TE,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
];

/// Networks whose word about the client is believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// From what control sent, which it checked.
    #[must_use]
    pub fn parse(networks: &[String]) -> Self {
        Self(
            networks
                .iter()
                .filter_map(|network| network.parse().ok())
                .collect(),
        )
    }

    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// Removes fields that concern one connection only, those named by `Connection` included.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(http::header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(http::header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Tells the guest who asked, over what, and for which host.
pub(super) fn set_forwarded(
    headers: &mut HeaderMap,
    trusted: &TrustedProxies,
    client: IpAddr,
    host: &str,
) {
    // An IPv4 client of a dual-stack listener is an IPv4 client.
    let client = client.to_canonical();
    let trusts = trusted.trusts(client);
    if !trusts {
        let said: Vec<_> = headers
            .keys()
            .filter(|name| {
                **name == FORWARDED || **name == X_REAL_IP || name.as_str().starts_with(X_FORWARDED)
            })
            .cloned()
            .collect();
        for name in said {
            headers.remove(name);
        }
    }
    let mut forwarded = String::with_capacity(64);
    let address = client.to_string();
    // IPv6 addresses stand in quotes and brackets (RFC 7239 §6); writing to a `String` cannot fail.
    let _ = match client {
        IpAddr::V4(_) => write!(forwarded, "for={address};proto=http;host=\"{host}\""),
        IpAddr::V6(_) => write!(forwarded, "for=\"[{address}]\";proto=http;host=\"{host}\""),
    };
    append(headers, FORWARDED, &forwarded);
    append(headers, X_FORWARDED_FOR, &address);
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Ok(value) = HeaderValue::from_str(host)
    {
        headers.insert(X_FORWARDED_HOST, value);
    }
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let joined = headers
        .get_all(&name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .chain([value])
        .collect::<Vec<_>>()
        .join(", ");
    if let Ok(value) = HeaderValue::from_str(&joined) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn a_stranger_says_nothing_about_the_client() {
        let mut headers = headers(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=evil"),
            ("x-real-ip", "1.1.1.1"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-prefix", "/admin"),
            ("x-forwarded-scheme", "https"),
            ("x-forwarded-ssl", "on"),
            ("x-forwarded-server", "evil"),
            ("x-forwarded-uri", "/"),
            ("x-forwarded", "for=evil"),
        ]);
        set_forwarded(
            &mut headers,
            &TrustedProxies::default(),
            "192.0.2.7".parse().unwrap(),
            "acme.test",
        );
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(
            headers["forwarded"],
            "for=192.0.2.7;proto=http;host=\"acme.test\""
        );
        assert_eq!(headers["x-forwarded-host"], "acme.test");
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let ours = [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
        ];
        assert_eq!(left, ours);
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_appended_to() {
        let trusted = TrustedProxies::parse(&["10.0.0.0/8".to_owned()]);
        let mut headers = headers(&[
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "https"),
        ]);
        set_forwarded(
            &mut headers,
            &trusted,
            "::ffff:10.1.2.3".parse().unwrap(),
            "acme.test",
        );
        assert_eq!(headers["x-forwarded-for"], "198.51.100.1, 10.1.2.3");
        assert_eq!(headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn an_ipv6_client_stands_in_quotes_and_brackets() {
        let mut headers = HeaderMap::new();
        set_forwarded(
            &mut headers,
            &TrustedProxies::default(),
            "2001:db8::1".parse().unwrap(),
            "acme.test",
        );
        assert_eq!(
            headers["forwarded"],
            "for=\"[2001:db8::1]\";proto=http;host=\"acme.test\""
        );
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut headers = headers(&[
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["accept"]
        );
    }
}
