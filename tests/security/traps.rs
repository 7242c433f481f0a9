//! Guests that fail: the client learns that they did, the tenant learns why.

use control_api::view::LogStream;
use littoral_tests::{run, until};
use serde_json::json;

use crate::tenant;

#[test]
fn a_trap_is_502_that_tells_the_outside_nothing_and_the_tenant_why() {
    run(async {
        let (edge, acme) = tenant("trapped", json!({}), &["traps", "traps-p3"]).await;
        for guest in ["traps", "traps-p3"] {
            for path in ["/", "/panic"] {
                let answer = edge.get(&format!("{guest}.trapped.test{path}")).await;
                assert_eq!(
                    (answer.status(), answer.reason()),
                    (502, "trap"),
                    "{guest}{path}"
                );
                assert_eq!(
                    answer.header("content-type"),
                    Some("application/problem+json")
                );
                let id = answer.header("x-request-id").unwrap();
                assert_eq!(
                    answer.json(),
                    json!({
                        "type": "https://littoral.dev/problems/trap",
                        "title": "The application failed",
                        "status": 502,
                        "request_id": id,
                    })
                );
                let line = until("the tenant's log says why", async || {
                    let lines = acme.logs().await;
                    lines
                        .into_iter()
                        .find(|line| line.request_id == id && line.stream == LogStream::Node)
                })
                .await;
                assert!(
                    line.text.starts_with("trap: "),
                    "{guest}{path}: {}",
                    line.text
                );
            }
            assert_eq!(
                edge.get(&format!("{guest}.trapped.test/ok")).await.text(),
                "ok\n"
            );
        }
    });
}

#[test]
fn a_guest_that_answers_nothing_or_an_error_is_502() {
    run(async {
        let (edge, _) = tenant("mute", json!({}), &["traps", "traps-p3"]).await;
        let nothing = edge.get("traps.mute.test/nothing").await;
        assert_eq!((nothing.status(), nothing.reason()), (502, "no-response"));
        let error = edge.get("traps-p3.mute.test/error").await;
        assert_eq!((error.status(), error.reason()), (502, "guest-error"));
        assert!(!error.text().contains("refuses"), "{}", error.text());
    });
}

#[test]
fn a_trap_amid_the_body_breaks_the_connection_and_is_no_clean_end() {
    run(async {
        let (edge, acme) = tenant("half", json!({}), &["traps", "traps-p3"]).await;
        for guest in ["traps", "traps-p3"] {
            let answer = edge.get(&format!("{guest}.half.test/half")).await;
            assert_eq!((answer.status(), answer.whole), (200, false), "{guest}");
            assert_eq!(
                answer.body,
                vec![b'h'; 4096],
                "{guest}: what it sent before"
            );
        }
        assert_eq!(acme.usage().await.refusals["trap"], 2);
    });
}

#[test]
fn a_trap_ends_one_request_and_nothing_else() {
    run(async {
        let (edge, _) = tenant("alone", json!({}), &["traps", "waits"]).await;
        let worker = edge.status().await.worker.pid;
        let mut wire = edge.wire().await;
        wire.send("GET /?ms=500 HTTP/1.1\r\nHost: waits.alone.test\r\n\r\n")
            .await;
        for _ in 0..20 {
            assert_eq!(edge.get("traps.alone.test/").await.status(), 502);
        }
        assert_eq!(wire.answer().await.status(), 200);
        assert_eq!(edge.status().await.worker.pid, worker);
    });
}
