//! What the head of a request says: for whom it is, and how large it is.

use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, Uri, Version};

/// The one authority that a request names: of its target if that is absolute, else of its only `Host` field
/// (RFC 9112 §3.2). Of HTTP/2 `:authority`, with which a `Host` field must agree (RFC 9113 §8.3.1).
pub(super) fn authority_of<B>(request: &Request<B>) -> Option<Authority> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return None;
    }
    if let Some(authority) = request.uri().authority() {
        if request.version() == Version::HTTP_2
            && host.is_some_and(|host| !agrees(authority, host.as_bytes()))
        {
            return None;
        }
        return Some(authority.clone());
    }
    Authority::from_maybe_shared(bytes::Bytes::copy_from_slice(host?.as_bytes())).ok()
}

fn agrees(authority: &Authority, host: &[u8]) -> bool {
    authority.as_str().as_bytes().eq_ignore_ascii_case(host)
}

/// Puts the pieces together in which HTTP/2 may send cookies (RFC 9113 §8.2.3): guests know of one field only.
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // Parts of what was a value each are one together.
    if let Ok(whole) = HeaderValue::from_bytes(&pieces.join(b"; ".as_slice())) {
        headers.insert(COOKIE, whole);
    }
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

    #[test]
    fn the_two_words_of_http2_for_a_host_agree() {
        let authority = |version: Version, target: &str, hosts: &[&'static str]| {
            let mut request = Request::new(());
            *request.version_mut() = version;
            *request.uri_mut() = target.parse().unwrap();
            for host in hosts {
                let host = HeaderValue::from_static(host);
                request.headers_mut().append(HOST, host);
            }
            authority_of(&request).map(|authority| authority.to_string())
        };
        let acme = Some("acme.test".to_owned());
        for (target, hosts, expected) in [
            ("http://acme.test/", vec![], acme.clone()),
            ("http://acme.test/", vec!["ACME.test"], acme.clone()),
            ("http://acme.test/", vec!["other.test"], None),
            ("http://acme.test/", vec!["acme.test", "acme.test"], None),
            ("/", vec!["acme.test"], acme.clone()),
            ("/", vec![], None),
        ] {
            let found = authority(Version::HTTP_2, target, &hosts);
            assert_eq!(found, expected, "{target} {hosts:?}");
        }
        // An absolute target of HTTP/1.1 is what counts (RFC 9112 §3.2.2).
        let found = authority(Version::HTTP_11, "http://acme.test/", &["other.test"]);
        assert_eq!(found, acme);
    }

    #[test]
    fn cookies_in_pieces_become_one_field() {
        let mut headers = HeaderMap::new();
        for piece in ["a=1", "b=2; c=3", "d"] {
            headers.append(COOKIE, HeaderValue::from_static(piece));
        }
        join_cookies(&mut headers);
        let joined: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(joined, ["a=1; b=2; c=3; d"]);
    }
}
