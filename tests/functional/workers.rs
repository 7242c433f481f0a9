//! The worker process: killed, replaced, drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use littoral_tests::{SOON, TestEdge, Wire, beside, run, until};
use tokio::net::TcpStream;

/// Clients that ask all the time.
const CLIENTS: u64 = 4;

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    answered: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
}

#[test]
fn a_killed_worker_refuses_no_connection_and_is_back_soon() {
    run(async {
        let edge = TestEdge::start().await;
        edge.tenant("acme").await.guest("hello").await;
        let (seen, http) = (Arc::new(Seen::default()), edge.http());
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let seen = Arc::clone(&seen);
            clients.push(beside(async move {
                while !seen.stop.load(Ordering::Relaxed) {
                    if TcpStream::connect(http).await.is_err() {
                        seen.refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let mut wire = Wire::to(http).await;
                    let asked = wire
                        .try_send(
                            "GET / HTTP/1.1\r\nHost: hello.acme.test\r\nConnection: close\r\n\r\n",
                        )
                        .await;
                    let count = match (asked, wire.try_head().await) {
                        (Ok(()), Some(head)) if head.status == 200 => &seen.answered,
                        _ => &seen.lost,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        let answered = async |more: u64| {
            let wanted = seen.answered.load(Ordering::Relaxed) + more;
            until("requests are answered", async || {
                (seen.answered.load(Ordering::Relaxed) >= wanted).then_some(())
            })
            .await;
        };
        answered(50).await;
        let killed = edge.kill_worker().await;
        let began = Instant::now();
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        let back = began.elapsed();
        answered(50).await;
        seen.stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
        println!(
            "a request sent after the kill was answered in {} ms",
            back.as_millis()
        );
        assert_eq!(
            seen.refused.load(Ordering::Relaxed),
            0,
            "connections were refused"
        );
        // Only what the dead worker had accepted is lost: at most one request a client, and the probe before it.
        let lost = seen.lost.load(Ordering::Relaxed);
        assert!(lost <= 2 * CLIENTS, "{lost} requests lost");
        let worker = edge.status().await.worker;
        assert!(
            worker.ready && worker.pid != killed && worker.restarts == 1,
            "{worker:?}"
        );
    });
}

#[test]
fn a_worker_that_dies_repeatedly_is_replaced_after_growing_waits() {
    run(async {
        let edge = TestEdge::build()
            .set("worker.restart_backoff_ms_min", 100)
            .set("worker.restart_backoff_ms_max", 400)
            .start()
            .await;
        for (deaths, least_ms) in [(1, 100), (2, 200), (3, 400), (4, 400)] {
            let killed = edge.kill_worker().await;
            let began = Instant::now();
            until("there is another worker", async || {
                let worker = edge.status().await.worker;
                (worker.ready && worker.pid != killed).then_some(())
            })
            .await;
            let took = began.elapsed();
            assert!(
                took >= Duration::from_millis(least_ms),
                "death {deaths}: {took:?}"
            );
        }
        assert_eq!(edge.status().await.worker.restarts, 4);
        assert_eq!(edge.metric("littoral_worker_restarts_total").await, 4.0);
    });
}

#[test]
fn a_node_that_is_told_to_stop_finishes_what_it_admitted() {
    run(async {
        let mut edge = TestEdge::start().await;
        edge.tenant("acme").await.guest("waits").await;
        let mut wire = edge.wire().await;
        wire.send("GET /head-then-wait?ms=1500 HTTP/1.1\r\nHost: waits.acme.test\r\n\r\n")
            .await;
        let head = wire.head().await;
        edge.control().tell_to_stop();
        until("readiness says so", async || {
            let answer = edge.admin_ask("GET", "/readyz", &[], b"").await;
            (answer.status() == 503).then_some(())
        })
        .await;
        let change = edge
            .client()
            .put_tenant(
                &"new".parse().unwrap(),
                &Default::default(),
                Default::default(),
            )
            .await;
        assert_eq!(littoral_tests::refusal(change), "draining");
        let answer = wire.body(head).await;
        assert!(
            answer.whole && answer.text().ends_with("waited 1500 ms\n"),
            "{answer:?}"
        );
        assert!(edge.control().wait().await.success());
    });
}

#[test]
fn a_drain_ends_at_its_time_limit() {
    run(async {
        let mut edge = TestEdge::build()
            .set("http.drain_ms_max", 300)
            .start()
            .await;
        edge.tenant("acme").await.guest("waits").await;
        let mut wire = edge.wire().await;
        wire.send("GET /head-then-wait?ms=9000 HTTP/1.1\r\nHost: waits.acme.test\r\n\r\n")
            .await;
        let head = wire.head().await;
        let began = Instant::now();
        assert!(edge.stop().await.success());
        assert!(
            began.elapsed() < Duration::from_secs(6),
            "{:?}",
            began.elapsed()
        );
        assert!(!wire.body(head).await.whole);
    });
}

#[test]
fn the_worker_ends_with_its_control() {
    run(async {
        let mut edge = TestEdge::start().await;
        let worker = edge.status().await.worker.pid;
        edge.kill_control();
        let gone = format!("/proc/{worker}/cmdline");
        // Empty for a process that has ended and is not waited for yet.
        littoral_tests::until_within(SOON, "the worker is gone", async || {
            std::fs::read(&gone)
                .map_or(true, |line| line.is_empty())
                .then_some(())
        })
        .await;
    });
}

#[test]
fn what_was_connected_before_a_stop_is_answered_and_what_comes_later_refused() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("hello").await;
        acme.guest("waits").await;
        let request = "GET / HTTP/1.1\r\nHost: hello.acme.test\r\n\r\n";
        // One that has not asked anything yet, one between two requests, one amid an answer.
        let mut silent = edge.wire().await;
        let mut between = edge.wire().await;
        between.send(request).await;
        assert_eq!(between.answer().await.status(), 200);
        let mut amid = edge.wire().await;
        amid.send("GET /?ms=300 HTTP/1.1\r\nHost: waits.acme.test\r\n\r\n")
            .await;
        edge.control().tell_to_stop();
        until("new connections are refused", async || {
            TcpStream::connect(edge.http()).await.is_err().then_some(())
        })
        .await;
        for wire in [&mut silent, &mut between] {
            wire.send(request).await;
            let answer = wire.answer().await;
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.header("connection"), Some("close"));
            assert_eq!(wire.rest().await, b"");
        }
        let answer = amid.answer().await;
        assert_eq!(
            (answer.status(), answer.header("connection")),
            (200, Some("close"))
        );
        assert!(edge.control().wait().await.success());
    });
}

#[test]
fn what_has_no_answer_when_the_drain_time_is_over_is_refused() {
    run(async {
        let mut edge = TestEdge::build()
            .set("http.drain_ms_max", 500)
            .start()
            .await;
        edge.tenant("acme").await.guest("waits").await;
        let mut wire = edge.wire().await;
        wire.send("GET /?ms=8000 HTTP/1.1\r\nHost: waits.acme.test\r\n\r\n")
            .await;
        until("it is under way", async || {
            (edge.status().await.worker.instances == 1).then_some(())
        })
        .await;
        edge.control().tell_to_stop();
        let answer = wire.answer().await;
        assert_eq!((answer.status(), answer.reason()), (503, "draining"));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(edge.control().wait().await.success());
    });
}
