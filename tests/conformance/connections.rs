//! Connections: kept, pipelined, closed, timed.

use std::time::{Duration, Instant};

use littoral_tests::{TestEdge, run};

use crate::tenant;

#[test]
fn a_connection_is_kept_for_many_requests() {
    run(async {
        let (edge, acme) = tenant("kept", &["hello", "echo"]).await;
        let mut wire = edge.wire().await;
        for _ in 0..20 {
            wire.send("GET / HTTP/1.1\r\nHost: hello.kept.test\r\n\r\n").await;
            assert_eq!(wire.answer().await.text(), "Hello from the edge!\n");
            wire.send("POST / HTTP/1.1\r\nHost: echo.kept.test\r\nContent-Length: 2\r\n\r\nhi").await;
            assert_eq!(wire.answer().await.text(), "hi");
        }
        assert_eq!(acme.usage().await.requests, 40);
        wire.send("GET / HTTP/1.1\r\nHost: hello.kept.test\r\nConnection: close\r\n\r\n").await;
        let last = wire.answer().await;
        assert_eq!(last.header("connection"), Some("close"));
        assert!(wire.rest().await.is_empty());
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let (edge, _) = tenant("pipelined", &["waits", "inspect-request"]).await;
        let mut wire = edge.wire().await;
        let mut requests = "GET /?ms=200 HTTP/1.1\r\nHost: waits.pipelined.test\r\n\r\n".to_owned();
        for number in 0..5 {
            requests.push_str(&format!("GET /{number} HTTP/1.1\r\nHost: inspect-request.pipelined.test\r\n\r\n"));
        }
        wire.send(requests).await;
        assert_eq!(wire.answer().await.text(), "waited 200 ms\n");
        for number in 0..5 {
            assert_eq!(wire.answer().await.json()["path_with_query"], format!("/{number}"));
        }
    });
}

#[test]
fn http_1_0_is_answered_and_closed_unless_it_asks_to_be_kept() {
    run(async {
        let (edge, _) = tenant("old", &["hello"]).await;
        let mut wire = edge.wire().await;
        wire.send("GET / HTTP/1.0\r\nHost: hello.old.test\r\n\r\n").await;
        let answer = wire.answer().await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "Hello from the edge!\n"));
        assert_eq!(answer.header("transfer-encoding"), None, "1.0 knows no chunks");
        assert!(wire.rest().await.is_empty());
        // Without Host there is no telling which site is meant.
        let text = edge.raw("GET / HTTP/1.0\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.0 400 ") || text.starts_with("HTTP/1.1 400 "), "{text}");
    });
}

#[test]
fn a_connection_that_says_nothing_or_too_slowly_is_closed() {
    run(async {
        let edge = TestEdge::build().set("http.header_read_timeout_ms", 300).start().await;
        edge.tenant("timed").await.guest("hello").await;
        for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: hello.timed.test\r\n"] {
            let began = Instant::now();
            let mut wire = edge.wire().await;
            wire.send(begun).await;
            let said = String::from_utf8_lossy(&wire.rest().await).into_owned();
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{begun:?}: {said}");
            assert!(began.elapsed() < Duration::from_secs(10), "{begun:?}: {:?}", began.elapsed());
        }
        let mut wire = edge.wire().await;
        wire.send("GET / HTTP/1.1\r\nHost: hello.timed.test\r\n\r\n").await;
        assert_eq!(wire.answer().await.status(), 200);
        let began = Instant::now();
        assert!(wire.rest().await.is_empty());
        assert!(began.elapsed() >= Duration::from_millis(250), "kept for {:?}", began.elapsed());
    });
}

#[test]
fn connections_are_bounded_and_those_beyond_wait() {
    run(async {
        // More threads than places: none may hold one for nobody.
        let edge = TestEdge::build().set("http.connections_max", 2).set("http.threads", 4).start().await;
        edge.tenant("few").await.guest("hello").await;
        let request = "GET / HTTP/1.1\r\nHost: hello.few.test\r\n\r\n";
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut wire = edge.wire().await;
            wire.send(request).await;
            assert_eq!(wire.answer().await.status(), 200);
            open.push(wire);
        }
        let mut waiting = edge.wire().await;
        waiting.send(request).await;
        let early = tokio::time::timeout(Duration::from_millis(300), waiting.some(1)).await;
        assert!(early.is_err(), "it was served beyond the bound: {:?}", early.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
        drop(open);
        assert_eq!(waiting.answer().await.status(), 200);
    });
}
