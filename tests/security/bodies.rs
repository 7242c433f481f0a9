//! Bodies beyond their limits.

use littoral_tests::{Wire, run, until};
use serde_json::json;

use crate::tenant;

#[test]
fn a_request_body_over_its_limit_is_413_declared_or_not() {
    run(async {
        let (edge, acme) = tenant(
            "fat",
            json!({ "request_body_kib_max": 64 }),
            &["echo", "reads-slowly"],
        )
        .await;
        let declared = edge
            .ask("POST", "echo.fat.test/")
            .body(vec![0; 65 << 10])
            .send()
            .await;
        assert_eq!((declared.status(), declared.reason()), (413, "body"));
        assert_eq!(
            acme.usage().await.requests,
            0,
            "it was refused before a guest was asked"
        );

        // Not declared: counted as it comes; this guest answers when it has read all.
        let mut wire = edge.wire().await;
        wire.send(
            "POST / HTTP/1.1\r\nHost: reads-slowly.fat.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .await;
        send_chunks(&mut wire, 128).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status(), answer.reason()), (413, "body"));

        // The head is out already: the answer cannot end well.
        let mut wire = edge.wire().await;
        wire.send("POST / HTTP/1.1\r\nHost: echo.fat.test\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        send_chunks(&mut wire, 128).await;
        let answer = wire.answer().await;
        assert!(
            answer.status() == 413 || !answer.whole,
            "{} bytes came back whole",
            answer.body.len()
        );
        assert!(answer.body.len() <= 65 << 10);
    });
}

async fn send_chunks(wire: &mut Wire, kib: usize) {
    let chunk = [b"400\r\n".as_slice(), &[0; 1024], b"\r\n"].concat();
    for _ in 0..kib {
        // It may be closed in the middle.
        if wire.try_send(&chunk).await.is_err() {
            return;
        }
    }
    let _ = wire.try_send("0\r\n\r\n").await;
}

#[test]
fn a_limit_of_nothing_lets_no_body_through() {
    run(async {
        let (edge, _) = tenant("bodiless", json!({ "request_body_kib_max": 0 }), &["echo"]).await;
        assert_eq!(
            edge.ask("POST", "echo.bodiless.test/")
                .body("x")
                .send()
                .await
                .status(),
            413
        );
        assert_eq!(
            edge.ask("POST", "echo.bodiless.test/")
                .body("")
                .send()
                .await
                .status(),
            200
        );
    });
}

#[test]
fn an_endless_answer_is_cut_off_at_its_limit() {
    run(async {
        let (edge, acme) = tenant(
            "gusher",
            json!({ "response_body_kib_max": 1024 }),
            &["streams"],
        )
        .await;
        let answer = edge.get("streams.gusher.test/endless").await;
        assert_eq!((answer.status(), answer.whole), (200, false));
        assert!(answer.body.len() <= 1 << 20, "{} bytes", answer.body.len());
        let exact = edge.get("streams.gusher.test/?kib=1024").await;
        assert_eq!((exact.whole, exact.body.len()), (true, 1 << 20));
        // A guest may be at its last steps when its whole answer is there already.
        let usage = until("all places are free", async || {
            let usage = acme.usage().await;
            (usage.concurrent_requests == 0).then_some(usage)
        })
        .await;
        assert_eq!(usage.refusals["response-body"], 1);
    });
}

#[test]
fn an_endless_answer_to_a_client_that_reads_slowly_ends_at_the_deadline() {
    run(async {
        let limits = json!({ "response_body_kib_max": 1 << 20, "request_deadline_ms_max": 800 });
        let (edge, acme) = tenant("dripping", limits, &["streams"]).await;
        let mut wire = Wire::narrow(edge.http()).await;
        wire.send("GET /endless HTTP/1.1\r\nHost: streams.dripping.test\r\n\r\n")
            .await;
        assert_eq!(wire.head().await.status, 200);
        littoral_tests::until("the guest has ended, though nobody reads", async || {
            (acme.usage().await.concurrent_requests == 0).then_some(())
        })
        .await;
        assert_eq!(acme.usage().await.refusals["deadline"], 1);
    });
}
