//! Clients of HTTP/2 that send what costs them little: each meets a bound, while its neighbour is served.

use std::time::{Duration, Instant};

use littoral_tests::frames::{END_STREAM, ask, fields, frame, head, kind};
use littoral_tests::http2::{Http2, get, whole};
use littoral_tests::{TestEdge, Wire, run, until};
use serde_json::json;

use crate::tenant;

/// More than any flood may send: connection windows, and a mebibyte.
const FLOOD_BYTES: usize = 64 << 20;

async fn begun(edge: &TestEdge) -> Wire {
    let mut wire = edge.wire().await;
    wire.begin_frames().await;
    wire
}

/// Sends a frame over and over until the node closes; how many bytes that took.
async fn flood(edge: &TestEdge, begin: &[u8], again: &[u8]) -> usize {
    let mut wire = begun(edge).await;
    wire.send(begin).await;
    let batch = again.repeat((64 << 10) / again.len());
    let (mut reads, mut writes) = tokio::io::split(wire.into_stream());
    let mut sent = 0;
    let sending = async {
        use tokio::io::AsyncWriteExt as _;
        while sent < FLOOD_BYTES && writes.write_all(&batch).await.is_ok() {
            sent += batch.len();
        }
    };
    let reading = async {
        use tokio::io::AsyncReadExt as _;
        let mut scratch = vec![0; 64 << 10];
        while matches!(reads.read(&mut scratch).await, Ok(count) if count > 0) {}
    };
    tokio::select! {
        () = sending => {}
        () = reading => {}
    }
    sent
}

#[test]
fn frames_that_move_nothing_are_taken_for_a_while_only() {
    run(async {
        let (edge, acme) = tenant("h2-floods", json!({}), &["hello", "echo"]).await;
        let list = ask("POST", "echo.h2-floods.test/");
        let open = head(1, 0, &list);
        for (what, begin, again) in [
            ("pings", vec![], frame(kind::PING, 0, 0, &[0; 8])),
            ("answers to pings", vec![], frame(kind::PING, 1, 0, &[0; 8])),
            ("settings", vec![], frame(kind::SETTINGS, 0, 0, &[])),
            (
                "priorities",
                vec![],
                frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
            ),
            ("unknown frames", vec![], frame(200, 0, 0, &[0; 100])),
            ("empty data", open.clone(), frame(kind::DATA, 0, 1, &[])),
            (
                "padding alone",
                open.clone(),
                frame(kind::DATA, 8, 1, &[1, 0]),
            ),
            (
                "windows of nothing much",
                vec![],
                frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
            ),
            (
                "a head without an end",
                frame(kind::HEADERS, 0, 1, &fields(&list)),
                frame(kind::CONTINUATION, 0, 1, &fields(&[("x-more", "a")])),
            ),
            (
                "a head of nothing without an end",
                frame(kind::HEADERS, 0, 1, &fields(&list)),
                frame(kind::CONTINUATION, 0, 1, &[]),
            ),
        ] {
            let sent = flood(&edge, &begin, &again).await;
            println!("{what}: {sent} bytes");
            assert!(sent < FLOOD_BYTES, "{what}: {sent} bytes were taken");
            assert_eq!(
                edge.get("hello.h2-floods.test/").await.status(),
                200,
                "{what}"
            );
        }
        until("nothing is left of them", async || {
            (acme.usage().await.concurrent_requests == 0).then_some(())
        })
        .await;
    });
}

#[test]
fn requests_that_are_reset_at_once_end_their_connection() {
    run(async {
        let limits = json!({ "concurrent_requests_max": 8, "waiting_requests_max": 8 });
        let (edge, acme) = tenant("h2-resets", limits, &["waits"]).await;
        let before = acme.usage().await.requests;
        for code in [8_u32, 0] {
            let list = ask("GET", "waits.h2-resets.test/?ms=5000");
            let mut wire = begun(&edge).await;
            let mut stream = 1;
            loop {
                let frames = [
                    head(stream, END_STREAM, &list),
                    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes()),
                ];
                if stream > 20_000 || wire.try_send(frames.concat()).await.is_err() {
                    break;
                }
                stream += 2;
            }
            println!("{} requests were taken and reset", stream / 2);
            wire.rest().await;
            assert!(stream < 20_000, "{stream}");
        }
        until("none of their guests is left", async || {
            (acme.usage().await.concurrent_requests == 0).then_some(())
        })
        .await;
        assert!(acme.usage().await.requests - before < 20_000);
        assert_eq!(edge.get("waits.h2-resets.test/").await.status(), 200);
    });
}

#[test]
fn no_more_streams_are_taken_than_were_offered() {
    run(async {
        let limits = json!({ "concurrent_requests_max": 1_000 });
        let (edge, acme) = tenant("h2-streams", limits, &["waits"]).await;
        let list = ask("GET", "waits.h2-streams.test/forever");
        let mut wire = begun(&edge).await;
        let mut frames = Vec::new();
        for number in 0..150 {
            frames.extend(head(2 * number + 1, END_STREAM, &list));
        }
        wire.send(frames).await;
        // REFUSED_STREAM (RFC 9113 §5.1.2): a client may ask again.
        let mut refused = 0;
        while refused < 50 {
            let came = wire.frame().await.expect("the connection goes on");
            if came.kind == kind::RST_STREAM {
                assert_eq!(came.payload, [0, 0, 0, 7]);
                assert!(came.stream > 200, "{}", came.stream);
                refused += 1;
            }
        }
        let usage = acme.usage().await;
        assert!(
            usage.concurrent_requests <= 100,
            "{}",
            usage.concurrent_requests
        );
        drop(wire);
        until("its guests are gone", async || {
            (acme.usage().await.concurrent_requests == 0).then_some(())
        })
        .await;
    });
}

#[test]
fn a_response_that_is_not_taken_is_reset_and_its_neighbours_go_on() {
    run(async {
        let limits = json!({
            "response_body_kib_max": 1 << 20, "request_deadline_ms_max": 1_000, "stream_idle_ms_max": 10_000,
        });
        let (edge, acme) = tenant("h2-slow", limits, &["streams", "hello"]).await;
        let mut client = Http2::to(edge.http()).await;
        let began = Instant::now();
        let ask = get("streams.h2-slow.test/endless?chunk=65536");
        let stalled = client.begin(ask, true).await.unwrap();
        let (head, body) = stalled.answer.await.unwrap().into_parts();
        until("the guest is ended", async || {
            (acme.usage().await.concurrent_requests == 0).then_some(())
        })
        .await;
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        let hello = client.get("hello.h2-slow.test/").await;
        assert_eq!(hello.status(), 200);
        assert!(!whole(head, body).await.whole);
    });
}

#[test]
fn a_client_that_takes_no_refusal_is_reset_in_time() {
    run(async {
        let edge = TestEdge::build()
            .set("http.header_read_timeout_ms", 500)
            .start()
            .await;
        // A window of nothing for every stream: no body can be sent.
        let no_window = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let mut wire = begun(&edge).await;
        wire.send(no_window).await;
        for number in 0..50 {
            let list = ask("GET", "nobody.test/");
            wire.send(head(2 * number + 1, END_STREAM, &list)).await;
        }
        let mut resets = 0;
        while let Some(came) = wire.frame().await {
            resets += u32::from(came.kind == kind::RST_STREAM);
            assert_ne!(came.kind, kind::DATA);
        }
        assert_eq!(resets, 50);
    });
}
