//! What a guest is told about the client, and what clients may not tell it themselves.
//!
//! `Forwarded` (RFC 7239) and the older `X-Forwarded-*` are set by the gateway. What a client sent of them is removed,
//! unless it is a proxy that the operator trusts: then its values stay and ours are appended.

use std::net::IpAddr;

use bytes::Bytes;
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

/// The other end of a connection, as guests are told of it: put into words once, not with each request.
#[derive(Debug)]
pub(super) struct Client {
    /// Whether its own word about clients is believed.
    trusted: bool,
    address: HeaderValue,
    /// Of `Forwarded`, all but the host.
    forwarded: Box<str>,
    scheme: &'static str,
}

impl Client {
    /// `secure` says whether the connection is over TLS.
    pub(super) fn new(address: IpAddr, trusted: &TrustedProxies, secure: bool) -> Self {
        // An IPv4 client of a dual-stack listener is an IPv4 client.
        let client = address.to_canonical();
        let address = client.to_string();
        let scheme = if secure { "https" } else { "http" };
        // IPv6 addresses stand in quotes and brackets (RFC 7239 §6).
        let forwarded = match client {
            IpAddr::V4(_) => format!("for={address};proto={scheme};host="),
            IpAddr::V6(_) => format!("for=\"[{address}]\";proto={scheme};host="),
        };
        Self {
            trusted: trusted.trusts(client),
            // Addresses have no characters that a field may not have.
            address: HeaderValue::from_str(&address).unwrap_or(HeaderValue::from_static("unknown")),
            forwarded: forwarded.into(),
            scheme,
        }
    }
}

/// Tells the guest who asked, over what, and for which host.
pub(super) fn set_forwarded(headers: &mut HeaderMap, client: &Client, host: &HeaderValue) {
    if !client.trusted {
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
    let mut forwarded = Vec::with_capacity(client.forwarded.len() + host.len() + 2);
    forwarded.extend_from_slice(client.forwarded.as_bytes());
    forwarded.push(b'"');
    forwarded.extend_from_slice(host.as_bytes());
    forwarded.push(b'"');
    if let Ok(forwarded) = HeaderValue::from_maybe_shared(Bytes::from(forwarded)) {
        append(headers, FORWARDED, forwarded);
    }
    append(headers, X_FORWARDED_FOR, client.address.clone());
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(client.scheme));
    }
    if !headers.contains_key(X_FORWARDED_HOST) {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
}

/// Puts a value behind those that are there.
fn append(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    if !headers.contains_key(&name) {
        headers.insert(name, value);
        return;
    }
    let values = headers.get_all(&name).iter().chain([&value]);
    let joined = values
        .filter_map(|value| value.to_str().ok())
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

    fn tell(headers: &mut HeaderMap, trusted: &TrustedProxies, client: &str) {
        let client = Client::new(client.parse().unwrap(), trusted, false);
        set_forwarded(headers, &client, &HeaderValue::from_static("acme.test"));
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
        tell(&mut headers, &TrustedProxies::default(), "192.0.2.7");
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
    fn over_tls_the_guest_is_told_so() {
        let mut headers = HeaderMap::new();
        let trusted = TrustedProxies::default();
        let client = Client::new("192.0.2.7".parse().unwrap(), &trusted, true);
        set_forwarded(
            &mut headers,
            &client,
            &HeaderValue::from_static("acme.test"),
        );
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(
            headers["forwarded"],
            "for=192.0.2.7;proto=https;host=\"acme.test\""
        );
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_appended_to() {
        let trusted = TrustedProxies::parse(&["10.0.0.0/8".to_owned()]);
        let mut headers = headers(&[
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "https"),
        ]);
        tell(&mut headers, &trusted, "::ffff:10.1.2.3");
        assert_eq!(headers["x-forwarded-for"], "198.51.100.1, 10.1.2.3");
        assert_eq!(headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn an_ipv6_client_stands_in_quotes_and_brackets() {
        let mut headers = HeaderMap::new();
        tell(&mut headers, &TrustedProxies::default(), "2001:db8::1");
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
