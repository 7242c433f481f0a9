//! The fields by which a Spin program knows where a request came in.
//!
//! Every guest gets them, since nothing about a component tells whether it looks for them, and the client none of them in:
//! what begins with `spin-` is the node's alone. The names and what they hold are Spin's (its HTTP trigger's reference,
//! "Request Headers"); a route with prefix `/users` is what is written `/users/...` there.

use std::net::SocketAddr;

use http::header::{HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Uri};

const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");
/// With what the names of this family begin.
const FAMILY: &str = "spin-";

/// What is the same for all requests of a route.
pub(super) struct RouteFields {
    /// As a manifest has it: `/users/...`.
    pattern: HeaderValue,
    /// Without the wildcard.
    prefix: HeaderValue,
    /// Segments of the prefix: so many of a request's path are not in its path info.
    segments: usize,
}

impl RouteFields {
    /// Of a route with this path prefix, in normal form.
    pub(super) fn new(prefix: &str) -> Self {
        let prefix = prefix.trim_end_matches('/');
        if prefix.is_empty() {
            return Self {
                pattern: HeaderValue::from_static("/..."),
                prefix: HeaderValue::from_static(""),
                segments: 0,
            };
        }
        let value = |text: &str| {
            // A prefix has no characters that a field may not have.
            HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("/..."))
        };
        Self {
            pattern: value(&format!("{prefix}/...")),
            prefix: value(prefix),
            segments: prefix.matches('/').count(),
        }
    }
}

/// A connection's other end, put into words once.
pub(super) fn client_addr(client: SocketAddr) -> HeaderValue {
    // An IPv4 client of a dual-stack listener is an IPv4 client.
    text(&SocketAddr::new(client.ip().to_canonical(), client.port()).to_string())
}

/// Puts a request's fields in the place of those that the client sent.
pub(super) fn set(headers: &mut HeaderMap, route: &RouteFields, uri: &Uri, client: &HeaderValue) {
    let said: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(FAMILY))
        .cloned()
        .collect();
    for name in said {
        headers.remove(name);
    }
    headers.insert(MATCHED_ROUTE, route.pattern.clone());
    headers.insert(RAW_COMPONENT_ROUTE, route.pattern.clone());
    headers.insert(COMPONENT_ROUTE, route.prefix.clone());
    headers.insert(BASE_PATH, HeaderValue::from_static("/"));
    headers.insert(CLIENT_ADDR, client.clone());
    let path = uri.path();
    let info = if path == "/" && route.segments == 0 {
        HeaderValue::from_static("/")
    } else {
        text(after_segments(path, route.segments))
    };
    headers.insert(PATH_INFO, info);
    headers.insert(FULL_URL, full_url(uri));
}

fn full_url(uri: &Uri) -> HeaderValue {
    let scheme = uri.scheme_str().unwrap_or("http");
    let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut url = String::with_capacity(scheme.len() + 3 + authority.len() + target.len());
    for part in [scheme, "://", authority, target] {
        url.push_str(part);
    }
    // What made a URI has no characters that a field may not have.
    HeaderValue::try_from(url).unwrap_or(HeaderValue::from_static(""))
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// What is left of a path behind so many segments, its slash included.
fn after_segments(path: &str, segments: usize) -> &str {
    let mut slashes = path.match_indices('/');
    let rest = slashes.nth(segments).and_then(|(at, _)| path.get(at..));
    rest.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(prefix: &str, url: &str, sent: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers: HeaderMap = sent
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        let client = HeaderValue::from_static("127.0.0.1:4711");
        set(
            &mut headers,
            &RouteFields::new(prefix),
            &url.parse().unwrap(),
            &client,
        );
        headers
    }

    #[test]
    fn a_request_is_told_where_it_came_in() {
        for (prefix, url, pattern, route, info) in [
            ("/", "http://a.test/", "/...", "", "/"),
            ("/", "http://a.test/x/y?q", "/...", "", "/x/y"),
            (
                "/users",
                "http://a.test:81/users/1/edit?theme=pink",
                "/users/...",
                "/users",
                "/1/edit",
            ),
            ("/users", "http://a.test/users", "/users/...", "/users", ""),
            (
                "/users",
                "http://a.test/%75sers/",
                "/users/...",
                "/users",
                "/",
            ),
            ("/a/b", "http://a.test/a/b/c", "/a/b/...", "/a/b", "/c"),
        ] {
            let fields = fields(prefix, url, &[]);
            assert_eq!(fields["spin-full-url"], url);
            assert_eq!(fields["spin-matched-route"], pattern);
            assert_eq!(fields["spin-raw-component-route"], pattern);
            assert_eq!(fields["spin-component-route"], route);
            assert_eq!(fields["spin-path-info"], info, "{prefix} {url}");
            assert_eq!(fields["spin-base-path"], "/");
            assert_eq!(fields["spin-client-addr"], "127.0.0.1:4711");
        }
    }

    /// Appending to what the client said instead of replacing it once let strangers choose what a program took for the
    /// host's word.
    #[test]
    fn a_client_says_nothing_of_the_kind() {
        let sent = [
            ("spin-full-url", "http://evil/"),
            ("spin-client-addr", "10.0.0.1:1"),
            ("spin-path-match-user", "root"),
            ("spinning", "top"),
        ];
        let fields = fields("/", "http://a.test/", &sent);
        assert_eq!(fields.get_all("spin-full-url").iter().count(), 1);
        assert_eq!(fields["spin-full-url"], "http://a.test/");
        assert_eq!(fields["spin-client-addr"], "127.0.0.1:4711");
        assert!(!fields.contains_key("spin-path-match-user"));
        assert_eq!(fields["spinning"], "top");
    }
}
