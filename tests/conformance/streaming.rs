//! Streaming: bytes go on as they come, and a side that does not take them holds the other back.

use littoral_tests::{Tenant, Wire, run, until};
use serde_json::json;

use crate::tenant;

/// What sockets, hyper and the guest's own buffers may hold of a stream that nobody takes.
const BUFFERED_BYTES_MAX: u64 = 12 << 20;

#[test]
fn a_piece_comes_back_before_the_next_is_sent() {
    run(async {
        let (edge, _) = tenant("pieces", &["echo", "echo-p3"]).await;
        for guest in ["echo", "echo-p3"] {
            let mut wire = edge.wire().await;
            wire.send(format!(
                "POST / HTTP/1.1\r\nHost: {guest}.pieces.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
            ))
            .await;
            let mut head = wire.head().await;
            assert_eq!(head.status, 200, "{guest}");
            for (piece, next) in [("first", "6\r\nsecond\r\n"), ("second", "0\r\n\r\n")] {
                let wanted = format!("{:x}\r\n{piece}\r\n", piece.len());
                let mut came = Vec::new();
                while came.len() < wanted.len() {
                    let more = wire.some(wanted.len() - came.len()).await;
                    assert!(!more.is_empty(), "{guest}: the answer ended");
                    came.extend(more);
                }
                assert_eq!(String::from_utf8_lossy(&came), wanted, "{guest}");
                wire.send(next).await;
            }
            head.headers.retain(|(name, _)| name != "content-length");
            let end = wire.body(head).await;
            assert!(end.whole && end.body.is_empty(), "{guest}: {end:?}");
        }
    });
}

/// The bytes a tenant's guests have sent, once they stay the same between two looks.
async fn sent_bytes_at_rest(acme: &Tenant) -> u64 {
    let mut last = u64::MAX;
    let mut same = 0;
    until("the guest sends no more", async || {
        let usage = acme.usage().await;
        same = if usage.response_body_bytes == last {
            same + 1
        } else {
            0
        };
        last = usage.response_body_bytes;
        (last > 0 && same >= 20).then_some(last)
    })
    .await
}

#[test]
fn a_client_that_reads_nothing_stops_the_guest() {
    run(async {
        let (edge, acme) = tenant("stalled", &["streams"]).await;
        acme.limit(json!({ "response_body_kib_max": 1 << 20, "request_deadline_ms_max": 60_000 }))
            .await;
        let mut wire = Wire::narrow(edge.http()).await;
        wire.send("GET /endless?chunk=65536 HTTP/1.1\r\nHost: streams.stalled.test\r\n\r\n")
            .await;
        let sent = sent_bytes_at_rest(&acme).await;
        println!("{sent} bytes were on their way to a client that read none");
        assert!(sent < BUFFERED_BYTES_MAX, "{sent} bytes");
        let usage = acme.usage().await;
        assert_eq!(usage.concurrent_requests, 1);
        // It goes on once the client reads.
        assert_eq!(wire.head().await.status, 200);
        let mut taken = 0;
        while taken < sent + (1 << 20) {
            taken += wire.some(1 << 20).await.len() as u64;
        }
        assert!(acme.usage().await.response_body_bytes > sent);
    });
}

#[test]
fn a_client_that_hangs_up_ends_the_guest() {
    run(async {
        let guests = ["streams", "waits", "waits-p3", "echo"];
        let (edge, acme) = tenant("gone", &guests).await;
        acme.limit(json!({ "response_body_kib_max": 1 << 20, "request_deadline_ms_max": 60_000 }))
            .await;
        for (guest, request) in [
            (
                "streams",
                "GET /endless HTTP/1.1\r\nHost: streams.gone.test\r\n\r\n",
            ),
            (
                "waits",
                "GET /forever HTTP/1.1\r\nHost: waits.gone.test\r\n\r\n",
            ),
            (
                "waits-p3",
                "GET /forever HTTP/1.1\r\nHost: waits-p3.gone.test\r\n\r\n",
            ),
            (
                "waits",
                "GET /head-then-wait?ms=60000 HTTP/1.1\r\nHost: waits.gone.test\r\n\r\n",
            ),
            (
                "waits-p3",
                "GET /head-then-wait?ms=60000 HTTP/1.1\r\nHost: waits-p3.gone.test\r\n\r\n",
            ),
            (
                "echo",
                "POST / HTTP/1.1\r\nHost: echo.gone.test\r\nContent-Length: 100\r\n\r\nhalf",
            ),
        ] {
            let mut wire = edge.wire().await;
            wire.send(request).await;
            until("the guest runs", async || {
                (acme.usage().await.concurrent_requests == 1).then_some(())
            })
            .await;
            drop(wire);
            until(&format!("{guest} has ended: {request}"), async || {
                let usage = acme.usage().await;
                (usage.concurrent_requests == 0 && usage.memory_bytes == 0).then_some(())
            })
            .await;
        }
    });
}

#[test]
fn a_guest_that_reads_slowly_holds_a_fast_client_back() {
    run(async {
        let (edge, acme) = tenant("slow-reader", &["reads-slowly"]).await;
        acme.limit(json!({ "request_body_kib_max": 1 << 20, "request_deadline_ms_max": 60_000 }))
            .await;
        let mut wire = edge.wire().await;
        wire.send(
            "POST /?ms=3600000 HTTP/1.1\r\nHost: reads-slowly.slow-reader.test\r\nContent-Length: 104857600\r\n\r\n",
        )
        .await;
        let chunk = vec![0; 1 << 20];
        let mut sent = 0_u64;
        // Each mebibyte that is taken is taken soon; the first that is not shows where the sender is held.
        let patience = std::time::Duration::from_secs(2);
        while sent < 100 << 20
            && tokio::time::timeout(patience, wire.send(&chunk))
                .await
                .is_ok()
        {
            sent += 1 << 20;
        }
        println!("{sent} bytes were taken from a client whose guest read none");
        assert!(sent < BUFFERED_BYTES_MAX, "{sent} bytes");
        assert!(acme.usage().await.request_body_bytes < BUFFERED_BYTES_MAX);
    });
}

/// The newer interface hands streams on by another way: it holds back as well, in both directions at once.
#[test]
fn an_echo_of_the_newer_interface_that_nobody_reads_holds_the_sender_back() {
    run(async {
        for path in ["/", "/pass"] {
            let name = if path == "/" { "echoed" } else { "passed" };
            let (edge, acme) = tenant(name, &["echo-p3"]).await;
            acme.limit(json!({
                "request_body_kib_max": 1 << 20, "response_body_kib_max": 1 << 20, "request_deadline_ms_max": 60_000,
            }))
            .await;
            let mut wire = Wire::narrow(edge.http()).await;
            wire.send(format!(
                "POST {path} HTTP/1.1\r\nHost: echo-p3.{name}.test\r\nContent-Length: 104857600\r\n\r\n"
            ))
            .await;
            let chunk = vec![0; 1 << 20];
            let mut sent = 0_u64;
            let patience = std::time::Duration::from_secs(2);
            while sent < 100 << 20
                && tokio::time::timeout(patience, wire.send(&chunk))
                    .await
                    .is_ok()
            {
                sent += 1 << 20;
            }
            println!("{sent} bytes were taken from a client that read no echo, {path}");
            assert!(sent < 2 * BUFFERED_BYTES_MAX, "{path}: {sent} bytes");
            let usage = acme.usage().await;
            assert!(
                usage.response_body_bytes < BUFFERED_BYTES_MAX,
                "{path}: {usage:?}"
            );
            assert_eq!(usage.concurrent_requests, 1, "{path}");
        }
    });
}

#[test]
fn a_slow_reader_gets_every_byte() {
    run(async {
        let (edge, _) = tenant("patient", &["reads-slowly"]).await;
        let body: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        let hash = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let place = "reads-slowly.patient.test/?ms=1&chunk=5000";
        let answer = edge.ask("POST", place).body(body).send().await;
        assert_eq!(
            answer.text(),
            format!("300000 bytes, fnv1a64 {hash:016x}\n")
        );
    });
}
