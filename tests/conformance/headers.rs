//! Heads: what a guest sees of a request, and a client of an answer.

use littoral_tests::{Answer, TestEdge, run};
use serde_json::Value;

use crate::tenant;

/// The values of a field, as the guest `inspect-request` saw them.
fn seen<'a>(answer: &'a Value, name: &str) -> Vec<&'a str> {
    let fields = answer["headers"].as_array().unwrap();
    fields
        .iter()
        .filter(|field| field[0] == name)
        .map(|field| field[1].as_str().unwrap())
        .collect()
}

#[test]
fn methods_and_targets_reach_the_guest_as_they_were_sent() {
    run(async {
        let (edge, _) = tenant("methods", &["inspect-request"]).await;
        for method in [
            "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND",
        ] {
            let answer = edge
                .ask(method, "inspect-request.methods.test/a%20b/c?x=1&y=%2F&&z")
                .send()
                .await;
            assert_eq!(answer.status(), 200, "{method}: {}", answer.text());
            let seen = answer.json();
            assert_eq!(seen["method"], method);
            assert_eq!(seen["path_with_query"], "/a%20b/c?x=1&y=%2F&&z");
            assert_eq!(seen["scheme"], "http");
            assert_eq!(seen["authority"], "inspect-request.methods.test");
        }
    });
}

#[test]
fn an_absolute_target_names_the_site_and_its_path() {
    run(async {
        let (edge, _) = tenant("absolute", &["inspect-request"]).await;
        let mut wire = edge.wire().await;
        wire.send(
            "GET http://inspect-request.absolute.test/a?b HTTP/1.1\r\nHost: inspect-request.absolute.test\r\n\r\n",
        )
        .await;
        let answer = wire.answer().await;
        assert_eq!(
            (answer.status(), &answer.json()["path_with_query"]),
            (200, &Value::from("/a?b"))
        );
        // The target's authority counts, not the Host field's (RFC 9112 §3.2.2).
        wire.send("GET http://inspect-request.absolute.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n")
            .await;
        let answer = wire.answer().await;
        assert_eq!(answer.json()["authority"], "inspect-request.absolute.test");
        assert!(
            seen(&answer.json(), "host")
                .iter()
                .all(|host| *host != "other.test"),
            "{}",
            answer.text()
        );
    });
}

#[test]
fn fields_of_one_hop_end_there() {
    run(async {
        let (edge, _) = tenant("hops", &["inspect-request"]).await;
        let answer = edge
            .ask("GET", "inspect-request.hops.test/")
            .header("Connection", "keep-alive, X-Named")
            .header("X-Named", "1")
            .header("Keep-Alive", "timeout=5")
            .header("Proxy-Connection", "keep-alive")
            .header("Proxy-Authorization", "Basic secret")
            .header("TE", "trailers")
            .header("Upgrade", "websocket")
            .header("X-Kept", "a")
            .header("X-Kept", "b")
            .send()
            .await;
        let json = answer.json();
        for gone in [
            "connection",
            "x-named",
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "te",
            "upgrade",
        ] {
            assert!(seen(&json, gone).is_empty(), "{gone}: {json}");
        }
        assert_eq!(seen(&json, "x-kept"), ["a", "b"]);
    });
}

#[test]
fn what_a_stranger_says_of_the_client_is_replaced() {
    run(async {
        let (edge, _) = tenant("forwarded", &["inspect-request"]).await;
        let json = forwarded(&edge, "inspect-request.forwarded.test")
            .await
            .json();
        assert_eq!(seen(&json, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(seen(&json, "x-forwarded-proto"), ["http"]);
        assert_eq!(
            seen(&json, "x-forwarded-host"),
            ["inspect-request.forwarded.test"]
        );
        assert_eq!(
            seen(&json, "forwarded"),
            ["for=127.0.0.1;proto=http;host=\"inspect-request.forwarded.test\""]
        );
        for gone in [
            "x-real-ip",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded-ssl",
        ] {
            assert!(seen(&json, gone).is_empty(), "{gone}: {json}");
        }
    });
}

#[test]
fn a_trusted_proxy_is_believed_and_appended_to() {
    run(async {
        let proxies = serde_json::json!(["127.0.0.0/8"]);
        let edge = TestEdge::build()
            .set("http.trusted_proxies", proxies)
            .start()
            .await;
        edge.tenant("trusted").await.guest("inspect-request").await;
        let json = forwarded(&edge, "inspect-request.trusted.test")
            .await
            .json();
        assert_eq!(seen(&json, "x-forwarded-for"), ["192.0.2.1, 127.0.0.1"]);
        assert_eq!(seen(&json, "x-forwarded-proto"), ["https"]);
        assert!(
            seen(&json, "forwarded")[0].starts_with("for=evil, for=127.0.0.1;"),
            "{json}"
        );
    });
}

async fn forwarded(edge: &TestEdge, host: &str) -> Answer {
    edge.ask("GET", &format!("{host}/"))
        .header("Forwarded", "for=evil")
        .header("X-Forwarded-For", "192.0.2.1")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.test")
        .header("X-Forwarded-Port", "1")
        .header("X-Forwarded-Prefix", "/admin")
        .header("X-Forwarded-Ssl", "on")
        .header("X-Real-IP", "192.0.2.2")
        .send()
        .await
}

#[test]
fn head_has_the_head_of_get_and_no_body() {
    run(async {
        for guest in ["hello", "hello-p3"] {
            let (edge, _) = tenant(&format!("head-{guest}"), &[guest]).await;
            let mut wire = edge.wire().await;
            let request = |method: &str| {
                format!("{method} / HTTP/1.1\r\nHost: {guest}.head-{guest}.test\r\n\r\n")
            };
            wire.send(request("HEAD")).await;
            let head = wire.head().await;
            // Had HEAD a body, the next answer would begin with it.
            wire.send(request("GET")).await;
            let answer = wire.answer().await;
            assert_eq!((head.status, answer.status()), (200, 200));
            assert_eq!(head.header("content-type"), answer.header("content-type"));
            assert_eq!(answer.text(), "Hello from the edge!\n");
        }
    });
}

#[test]
fn every_answer_has_a_date_and_a_request_id_and_no_field_of_one_hop() {
    run(async {
        let (edge, _) = tenant("answers", &["hello"]).await;
        for place in ["hello.answers.test/", "nowhere.test/"] {
            let answer = edge.get(place).await;
            assert!(answer.header("date").is_some(), "{place}");
            assert_eq!(answer.header("x-request-id").unwrap().len(), 32, "{place}");
            for gone in [
                "keep-alive",
                "proxy-connection",
                "upgrade",
                "server",
                "x-powered-by",
            ] {
                assert_eq!(answer.header(gone), None, "{place}");
            }
        }
    });
}
