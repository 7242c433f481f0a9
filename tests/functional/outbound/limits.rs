//! How much a tenant's guests may ask of others, and for how long.

use littoral_tests::{run, until};
use serde_json::json;

use super::servers::{Server, answering};
use super::{GUESTS, NODE, call, caller, code, logged};

fn loopback() -> serde_json::Value {
    json!({"outbound": ["http://127.0.0.1:*"]})
}

#[test]
fn requests_of_one_request_are_counted() {
    run(async {
        let edge = NODE.edge().await;
        let server = Server::start(answering("one")).await;
        let acme = caller(&edge, "counted", loopback()).await;
        acme.limit(json!({"outbound_per_request_max": 3})).await;
        let url = server.url("127.0.0.1");
        for (times, expected) in [(3, (200, "one".to_owned())), (4, code("HttpRequestDenied"))] {
            let said = call(
                &edge,
                "calls-out-p3",
                "counted",
                &format!("{url}&times={times}"),
            )
            .await;
            assert_eq!(said, expected, "{times}");
        }
        acme.limit(json!({"outbound_per_request_max": 0})).await;
        assert_eq!(
            call(&edge, "calls-out", "counted", &url).await,
            code("HttpRequestDenied")
        );
        logged(
            &acme,
            "limit: the guest made 0 outgoing requests; allowed in one request: 0",
        )
        .await;
    });
}

#[test]
fn requests_at_once_are_bounded_and_places_come_back() {
    run(async {
        let edge = NODE.edge().await;
        let silent = Server::flooding(b"", b"").await;
        let server = Server::start(answering("free")).await;
        let acme = caller(&edge, "atonce", loopback()).await;
        acme.limit(json!({"outbound_at_once_max": 1})).await;
        let place = format!("calls-out.atonce.test/?url={}", silent.url("127.0.0.1"));
        let waits = edge.ask("GET", &place).bytes();
        let mut wire = edge.wire().await;
        wire.send(waits).await;
        until("the first is at the server", async || {
            (silent.open() == 1).then_some(())
        })
        .await;
        for guest in GUESTS {
            let said = call(&edge, guest, "atonce", &server.url("127.0.0.1")).await;
            assert_eq!(said, code("ConnectionLimitReached"), "{guest}");
        }
        // Its client hangs up: its connection is closed, and its place is there again.
        drop(wire);
        until("the first is closed", async || {
            (silent.open() == 0).then_some(())
        })
        .await;
        for guest in GUESTS {
            let said = call(&edge, guest, "atonce", &server.url("127.0.0.1")).await;
            assert_eq!(said, (200, "free".to_owned()), "{guest}");
        }
    });
}

#[test]
fn whoever_does_not_answer_is_not_waited_for() {
    run(async {
        let edge = NODE.edge().await;
        let silent = Server::flooding(b"", b"").await;
        let acme = caller(&edge, "patient", loopback()).await;
        acme.limit(json!({"outbound_ms_max": 200})).await;
        for guest in GUESTS {
            let said = call(&edge, guest, "patient", &silent.url("127.0.0.1")).await;
            assert_eq!(said, code("HttpResponseTimeout"), "{guest}");
        }
        logged(&acme, "timeout: no answer within ").await;
        until("all are closed", async || {
            (silent.open() == 0).then_some(())
        })
        .await;
    });
}

#[test]
fn a_guest_that_is_ended_leaves_no_connection() {
    run(async {
        let edge = NODE.edge().await;
        let silent = Server::flooding(b"", b"").await;
        let acme = caller(&edge, "overdue", loopback()).await;
        acme.limit(json!({"request_deadline_ms_max": 200, "response_head_ms_max": 200}))
            .await;
        for guest in GUESTS {
            let place = format!("{guest}.overdue.test/?url={}", silent.url("127.0.0.1"));
            let answer = edge.get(&place).await;
            assert_eq!(
                (answer.status(), answer.reason()),
                (504, "deadline"),
                "{guest}"
            );
            until("it is closed", async || (silent.open() == 0).then_some(())).await;
        }
        assert_eq!(silent.connections(), 2);
    });
}

#[test]
fn bodies_are_bounded_both_ways() {
    run(async {
        let edge = NODE.edge().await;
        let server = Server::start(answering(&"y".repeat(4096))).await;
        let sink = Server::flooding(b"", b"").await;
        let acme = caller(&edge, "heavy", loopback()).await;
        acme.limit(json!({"outbound_received_kib_max": 4, "outbound_sent_kib_max": 4}))
            .await;
        for guest in GUESTS {
            let (status, said) = call(&edge, guest, "heavy", &server.url("127.0.0.1")).await;
            assert_eq!((status, said.len()), (200, 4096), "{guest}");
        }
        let sent = format!("{}&post=5", sink.url("127.0.0.1"));
        assert_eq!(
            call(&edge, "calls-out-p3", "heavy", &sent).await,
            code("HttpRequestBodySize(Some(4096))")
        );
        acme.limit(json!({"outbound_received_kib_max": 3})).await;
        for guest in GUESTS {
            // The head is out by then: the answer breaks off.
            let place = format!("{guest}.heavy.test/?url={}", server.url("127.0.0.1"));
            let answer = edge.get(&place).await;
            assert!(
                !answer.whole || answer.status() == 502,
                "{guest}: {answer:?}"
            );
        }
        logged(
            &acme,
            "too-large: the answer's body has more than 3072 bytes",
        )
        .await;
    });
}

#[test]
fn a_body_without_end_ends_with_the_request() {
    run(async {
        let edge = NODE.edge().await;
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let endless = Server::flooding(head, b"5\r\nagain\r\n").await;
        let acme = caller(&edge, "endless", loopback()).await;
        acme.limit(json!({"outbound_ms_max": 300, "outbound_received_kib_max": 4_194_304}))
            .await;
        for guest in GUESTS {
            let place = format!("{guest}.endless.test/?url={}", endless.url("127.0.0.1"));
            let answer = edge.get(&place).await;
            assert!(!answer.whole, "{guest}: {}", answer.status());
            until("it is closed", async || (endless.open() == 0).then_some(())).await;
        }
    });
}
