//! Where a request goes.

use std::net::IpAddr;

use edge_config::Hostname;
use http::Uri;
use http::uri::Scheme;

use super::failure::Failure;

/// Scheme, host and port of a request, in one form for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// Over TLS.
    pub(super) is_tls: bool,
    /// A name in normal form, or an address without brackets.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
}

impl Origin {
    /// Of a request with this URI.
    ///
    /// # Errors
    /// [`Failure::Invalid`].
    pub(super) fn of(uri: &Uri) -> Result<Self, Failure> {
        // Of the rest it is not for a log to know.
        let named = uri.authority().map_or("", |authority| authority.host());
        let invalid = |why: &str| Failure::Invalid(format!("{named:?} leads nowhere: {why}"));
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(invalid("its scheme is neither http nor https")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("user and password are sent in fields"));
        }
        let host = authority.host();
        let rest = authority.as_str().get(host.len()..).unwrap_or_default();
        let port = match rest.strip_prefix(':').unwrap_or_default() {
            "" if is_tls => 443,
            "" => 80,
            digits => digits
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| invalid("its port is none; allowed: 1 to 65535"))?,
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match bare.unwrap_or(host).parse::<IpAddr>() {
            Ok(address) => address.to_canonical().to_string(),
            Err(_) => host
                .parse::<Hostname>()
                .map_err(|error| invalid(&error.to_string()))?
                .to_string(),
        };
        Ok(Self { is_tls, host, port })
    }

    /// As grants have it.
    pub(super) fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}", self.scheme(), self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_form() {
        for (uri, expected) in [
            ("http://Example.COM/x", "http://example.com:80"),
            ("http://example.com.:8080/", "http://example.com:8080"),
            ("https://example.com", "https://example.com:443"),
            ("http://[::1]:81/", "http://::1:81"),
            ("http://[::ffff:127.0.0.1]/", "http://127.0.0.1:80"),
            ("http://10.0.0.1", "http://10.0.0.1:80"),
        ] {
            let origin = Origin::of(&uri.parse().unwrap()).unwrap();
            assert_eq!(origin.to_string(), expected);
        }
        for uri in [
            "ftp://example.com/",
            "/path",
            "http://user@example.com/",
            "http://a:b@example.com/",
            "http://example.com:0/",
            "http://example.com:70000/",
            "http://exa_mple..com/",
            "http://127.1/",
            "http://0x7f000001/",
        ] {
            // Some are no URI at all, and come no further.
            let Ok(uri) = uri.parse() else { continue };
            assert!(Origin::of(&uri).is_err(), "{uri}");
        }
    }
}
