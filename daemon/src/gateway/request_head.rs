//! What the head of a request says: for whom it is, and how large it is.

use http::header::{CONTENT_LENGTH, HOST};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, Uri};
use hyper::body::Incoming;

/// The one authority that a request names: of its target if that is absolute, else of its only `Host` field
/// (RFC 9112 §3.2).
pub(super) fn authority_of(request: &Request<Incoming>) -> Option<Authority> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return None;
    }
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    Authority::from_maybe_shared(bytes::Bytes::copy_from_slice(host?.as_bytes())).ok()
}

/// What the fields of a head take, with the `: ` and the line end of each.
pub(super) fn header_bytes(headers: &HeaderMap) -> usize {
    let fields = headers.iter();
    fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}

/// Whether a request target is a path, an absolute URL, or `OPTIONS *` (RFC 9112 §3.2): what else there is, is for
/// proxies.
pub(super) fn is_target_of_a_site(method: &Method, target: &Uri) -> bool {
    let scheme_is_ours = match target.scheme() {
        Some(scheme) => *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS,
        None => target.authority().is_none(),
    };
    let path_is_one = target.path().starts_with('/') || *method == Method::OPTIONS;
    scheme_is_ours && path_is_one && *method != Method::CONNECT
}

/// What `Content-Length` says, where it is there; hyper has already refused what is no number.
pub(super) fn declared_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_for_proxies_are_none_of_a_site() {
        let is_one =
            |method: Method, target: &str| is_target_of_a_site(&method, &target.parse().unwrap());
        for good in [
            "/",
            "/a?b",
            "http://acme.test/",
            "https://acme.test/a",
            "http://acme.test",
        ] {
            assert!(is_one(Method::GET, good), "{good}");
        }
        for bad in ["acme.test", "acme.test:80", "ftp://acme.test/", "*"] {
            assert!(!is_one(Method::GET, bad), "{bad}");
        }
        assert!(is_one(Method::OPTIONS, "*"));
        assert!(!is_one(Method::CONNECT, "acme.test:80"));
    }
}
