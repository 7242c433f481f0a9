//! Guests that never end.

use std::time::{Duration, Instant};

use littoral_tests::{Answer, TestEdge, beside, run, until};
use serde_json::json;

use crate::tenant;

const DEADLINE_MS: u64 = 1000;
/// A deadline is noticed at the next epoch, or when the thread is free.
const LATE_MAX: Duration = Duration::from_millis(1500);

fn limits() -> serde_json::Value {
    // Time on the clock is what is asked about here: of CPU time there is enough.
    json!({ "request_deadline_ms_max": DEADLINE_MS, "request_cpu_ms_max": 60_000 })
}

/// Asks, and makes sure that the deadline came when it was due.
async fn at_the_deadline(edge: &TestEdge, place: &str) -> Answer {
    let began = Instant::now();
    let answer = edge.get(place).await;
    let (took, due) = (began.elapsed(), Duration::from_millis(DEADLINE_MS));
    assert!(took >= due && took < due + LATE_MAX, "{place}: {took:?}");
    answer
}

#[test]
fn a_guest_that_spins_is_ended_at_its_deadline_and_so_is_one_that_waits() {
    run(async {
        let guests = ["spins-forever", "spins-in-start", "waits", "waits-p3"];
        let (edge, acme) = tenant("endless", limits(), &guests).await;
        for place in [
            "spins-forever.endless.test/",
            "spins-in-start.endless.test/",
            "waits.endless.test/forever",
            "waits-p3.endless.test/forever",
        ] {
            let answer = at_the_deadline(&edge, place).await;
            assert_eq!(
                (answer.status(), answer.reason(), answer.problem().as_str()),
                (504, "deadline", "deadline"),
                "{place}"
            );
        }
        let usage = until("all of them have ended", async || {
            let usage = acme.usage().await;
            (usage.concurrent_requests == 0).then_some(usage)
        })
        .await;
        assert_eq!((usage.memory_bytes, usage.refusals["deadline"]), (0, 4));
        // Two spun for a second each, on the tenant's account: as much of it as other processes left them.
        assert!(
            (50_000..=2_200_000).contains(&usage.cpu_us),
            "{} us",
            usage.cpu_us
        );
    });
}

#[test]
fn a_guest_that_spins_after_its_head_breaks_the_connection_at_its_deadline() {
    run(async {
        let (edge, _) = tenant("late-spin", limits(), &["spins-forever"]).await;
        let answer = at_the_deadline(&edge, "spins-forever.late-spin.test/after-head").await;
        assert_eq!((answer.status(), answer.whole), (200, false));
    });
}

#[test]
fn neighbours_on_the_same_thread_are_served_while_a_guest_spins() {
    run(async {
        // One thread: whoever is served, is served beside the spinner.
        let edge = TestEdge::build().set("http.threads", 1).start().await;
        let spinner = edge
            .tenant_limited(
                "spinner",
                json!({ "request_deadline_ms_max": 3000, "request_cpu_ms_max": 60_000 }),
            )
            .await;
        spinner.guest("spins-forever").await;
        edge.tenant("neighbour").await.guest("hello").await;
        assert_eq!(edge.get("hello.neighbour.test/").await.status(), 200);
        let ask = edge.ask("GET", "spins-forever.spinner.test/");
        let spinning = beside(ask.send());
        until("it spins", async || {
            (spinner.usage().await.concurrent_requests == 1).then_some(())
        })
        .await;
        let (mut served, mut slowest) = (0, Duration::ZERO);
        while !spinning.is_finished() {
            let began = Instant::now();
            assert_eq!(
                edge.get("hello.neighbour.test/").await.text(),
                "Hello from the edge!\n"
            );
            slowest = slowest.max(began.elapsed());
            served += 1;
        }
        assert_eq!(spinning.await.unwrap().reason(), "deadline");
        println!(
            "{served} requests served beside a spinner on one thread, the slowest in {slowest:?}"
        );
        assert!(
            served >= 5 && slowest < Duration::from_millis(1000),
            "{served}, {slowest:?}"
        );
    });
}

#[test]
fn requests_at_once_are_bounded_by_tenant_and_the_neighbour_has_its_own_places() {
    run(async {
        let (edge, acme) = tenant(
            "crowd",
            json!({ "concurrent_requests_max": 3, "waiting_requests_max": 0 }),
            &["waits", "hello"],
        )
        .await;
        let (_, other) = tenant("crowd-other", json!({}), &["hello"]).await;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let mut wire = edge.wire().await;
            wire.send("GET /?ms=8000 HTTP/1.1\r\nHost: waits.crowd.test\r\n\r\n")
                .await;
            waiting.push(wire);
        }
        until("all places are taken", async || {
            (acme.usage().await.concurrent_requests == 3).then_some(())
        })
        .await;
        let refused = edge.get("hello.crowd.test/").await;
        assert_eq!(
            (
                refused.status(),
                refused.reason(),
                refused.header("retry-after")
            ),
            (503, "concurrency", Some("1"))
        );
        assert_eq!(edge.get("hello.crowd-other.test/").await.status(), 200);
        assert_eq!(other.usage().await.refusals.get("concurrency"), None);
        waiting.pop();
        until("a place is free again", async || {
            (edge.get("hello.crowd.test/").await.status() == 200).then_some(())
        })
        .await;
    });
}

#[test]
fn a_place_is_held_to_the_last_byte_and_not_to_the_head() {
    run(async {
        let (edge, _) = tenant(
            "place",
            json!({ "concurrent_requests_max": 1, "waiting_requests_max": 0 }),
            &["waits", "hello"],
        )
        .await;
        let mut wire = edge.wire().await;
        wire.send("GET /head-then-wait?ms=700 HTTP/1.1\r\nHost: waits.place.test\r\n\r\n")
            .await;
        let head = wire.head().await;
        assert_eq!(edge.get("hello.place.test/").await.reason(), "concurrency");
        assert!(wire.body(head).await.whole);
        until("the place is free", async || {
            (edge.get("hello.place.test/").await.status() == 200).then_some(())
        })
        .await;
    });
}
