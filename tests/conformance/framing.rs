//! Requests whose framing leaves their meaning open, or that are no HTTP: refused, never guessed at.

use littoral_tests::run;

use crate::tenant;

#[test]
fn a_request_without_exactly_one_host_is_refused() {
    run(async {
        let (edge, _) = tenant("hosts", &["hello"]).await;
        let host = "hello.hosts.test";
        for (fields, status) in [
            (String::new(), 400),
            (format!("Host: {host}\r\nHost: {host}\r\n"), 400),
            (format!("Host: {host}\r\nHost: other.test\r\n"), 400),
            (format!("Host: {host}, other.test\r\n"), 400),
            (format!("Host: {host}\r\n"), 200),
        ] {
            let text = edge.raw(format!("GET / HTTP/1.1\r\n{fields}Connection: close\r\n\r\n")).await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{fields:?}: {text}");
        }
    });
}

#[test]
fn nothing_is_answered_behind_a_body_of_two_lengths() {
    run(async {
        let (edge, acme) = tenant("smuggled", &["echo", "hello"]).await;
        let hidden = "GET / HTTP/1.1\r\nHost: hello.smuggled.test\r\n\r\n";
        // Nobody asks for the connection to be closed: that is the node's own doing.
        let ask = async |fields: &str| {
            edge.raw(format!(
                "POST / HTTP/1.1\r\nHost: echo.smuggled.test\r\n{fields}\r\n\r\n0\r\n\r\n{hidden}"
            ))
            .await
        };
        for fields in [
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 6",
            "Content-Length: +5",
            "Content-Length: -1",
            "Content-Length: 0x5",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding:\u{b}chunked",
        ] {
            let text = ask(fields).await;
            assert!(text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 501"), "{fields:?}: {text}");
            assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{fields:?}: {text}");
        }
        // Read by the chunks alone, as one may (RFC 9112 §6.1), and closed, as one must.
        for fields in [
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
        ] {
            let text = ask(fields).await;
            assert!(text.to_lowercase().contains("connection: close\r\n"), "{fields:?}: {text}");
            assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{fields:?}: {text}");
        }
        assert_eq!(acme.usage().await.response_body_bytes, 0, "something was answered");
    });
}

#[test]
fn heads_that_are_not_well_formed_are_refused() {
    run(async {
        let (edge, acme) = tenant("odd", &["hello"]).await;
        let head = |line: &str, fields: &str| {
            format!("{line}\r\nHost: hello.odd.test\r\nConnection: close\r\n{fields}\r\n")
        };
        for (what, request) in [
            ("obs-fold", head("GET / HTTP/1.1", "X-Folded: a\r\n b\r\n")),
            ("space before the colon", head("GET / HTTP/1.1", "X-Spaced : a\r\n")),
            ("no colon", head("GET / HTTP/1.1", "nonsense\r\n")),
            ("empty name", head("GET / HTTP/1.1", ": a\r\n")),
            ("NUL in a value", head("GET / HTTP/1.1", "X-Nul: a\0b\r\n")),
            ("bare CR in a value", head("GET / HTTP/1.1", "X-Cr: a\rb\r\n")),
            ("no version", head("GET /", "")),
            ("another protocol", head("GET / HTTQ/1.1", "")),
            ("a version to come", head("GET / HTTP/9.9", "")),
            ("two spaces", head("GET  / HTTP/1.1", "")),
            ("no method", head(" / HTTP/1.1", "")),
            ("a method that is no token", head("G(T / HTTP/1.1", "")),
            ("a target with a space", head("GET /a b HTTP/1.1", "")),
            ("a target with a control character", head("GET /\u{1} HTTP/1.1", "")),
            ("a target that is neither path nor URL", head("GET nonsense HTTP/1.1", "")),
            ("binary", "\u{16}\u{3}\u{1}\u{2}\0\r\n\r\n".to_owned()),
        ] {
            let text = edge.raw(request).await;
            assert!(text.is_empty() || text.starts_with("HTTP/1.1 400 "), "{what}: {text}");
        }
        assert_eq!(acme.usage().await.requests, 0, "a guest was asked");
    });
}

#[test]
fn methods_that_name_no_resource_of_a_site_are_answered_in_its_place() {
    run(async {
        let (edge, acme) = tenant("connect", &["hello"]).await;
        for request in [
            "CONNECT hello.connect.test:80 HTTP/1.1\r\nHost: hello.connect.test:80\r\nConnection: close\r\n\r\n",
            "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\nConnection: close\r\n\r\n",
        ] {
            let text = edge.raw(request).await;
            assert!(text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 501"), "{request}: {text}");
        }
        assert_eq!(acme.usage().await.requests, 0, "a guest was asked");
    });
}

#[test]
fn a_head_has_bounds_in_bytes_and_in_fields() {
    run(async {
        let (edge, _) = tenant("bounds", &["hello"]).await;
        let ask = async |fields: String| {
            let text = edge
                .raw(format!("GET / HTTP/1.1\r\nHost: hello.bounds.test\r\nConnection: close\r\n{fields}\r\n"))
                .await;
            text.get(9..12).unwrap_or_default().to_owned()
        };
        // 64 KiB and 100 fields are the defaults; two of the fields are there already.
        assert_eq!(ask(format!("X-Long: {}\r\n", "a".repeat(60 << 10))).await, "200");
        assert_eq!(ask(format!("X-Long: {}\r\n", "a".repeat(70 << 10))).await, "431");
        let fields = |count: usize| (0..count).map(|number| format!("X-{number}: a\r\n")).collect::<String>();
        assert_eq!(ask(fields(98)).await, "200");
        assert_eq!(ask(fields(99)).await, "431");
    });
}

#[test]
fn a_chunked_body_that_is_not_well_formed_breaks_off() {
    run(async {
        let (edge, _) = tenant("chunks", &["echo"]).await;
        for body in ["nonsense\r\n", "5\r\nabc\r\n0\r\n\r\n", "ffffffffffffffffff\r\n", "-1\r\n\r\n", "5\nabcde\n0\n\n"] {
            let text = edge
                .raw(format!(
                    "POST / HTTP/1.1\r\nHost: echo.chunks.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
                ))
                .await;
            // Whatever the guest had begun to say, the answer is no whole one.
            assert!(!text.ends_with("0\r\n\r\n") || !text.starts_with("HTTP/1.1 200"), "{body:?}: {text}");
        }
    });
}
