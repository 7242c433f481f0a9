//! Rates, places, queues, connections, sizes, and the tenant that fails over and over.

use std::time::{Duration, Instant};

use littoral_tests::{Ask, Wire, beside, run, until};
use serde_json::json;

use crate::tenant;

#[test]
fn requests_above_the_rate_are_told_when_to_come_again() {
    run(async {
        let limits = json!({ "requests_per_s_max": 1, "requests_burst_max": 3 });
        let (edge, acme) = tenant("rate", limits, &["hello"]).await;
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.push(edge.get("hello.rate.test/").await);
        }
        let refused: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status() != 200)
            .collect();
        // One more may have been earned meanwhile.
        assert!((1..=2).contains(&refused.len()), "{}", refused.len());
        let last = refused[refused.len() - 1];
        assert_eq!(
            (last.status(), last.reason(), last.problem().as_str()),
            (429, "rate", "rate")
        );
        let retry_s: u64 = last.header("retry-after").unwrap().parse().unwrap();
        assert_eq!(retry_s, 1);
        assert_eq!(
            last.header("ratelimit-policy"),
            Some("\"requests\";q=3;w=3")
        );
        let state = last.header("ratelimit").unwrap();
        assert!(state.starts_with("\"requests\";r=0;t="), "{state}");
        assert_eq!(acme.usage().await.refusals["rate"], refused.len() as u64);
        until("the wait was true", async || {
            (edge.get("hello.rate.test/").await.status() == 200).then_some(())
        })
        .await;
    });
}

#[test]
fn a_request_without_a_place_waits_for_one_and_not_for_ever() {
    run(async {
        let limits = json!({
            "concurrent_requests_max": 1, "waiting_requests_max": 1, "waiting_ms_max": 1_500,
        });
        let (edge, acme) = tenant("queue", limits, &["waits", "hello"]).await;
        let node = edge.http();
        let first = beside(Ask::new(node, "GET", "waits.queue.test/?ms=600").send());
        until("the place is taken", async || {
            (acme.usage().await.concurrent_requests == 1).then_some(())
        })
        .await;
        let queued = beside(Ask::new(node, "GET", "hello.queue.test/").send());
        until("one waits", async || {
            (acme.usage().await.waiting_requests == 1).then_some(())
        })
        .await;
        let refused = edge.get("hello.queue.test/").await;
        assert_eq!((refused.status(), refused.reason()), (503, "concurrency"));
        assert_eq!(queued.await.unwrap().status(), 200);
        assert_eq!(first.await.unwrap().status(), 200);

        let long = beside(Ask::new(node, "GET", "waits.queue.test/?ms=8000").send());
        until("the place is taken again", async || {
            (acme.usage().await.concurrent_requests == 1).then_some(())
        })
        .await;
        let began = Instant::now();
        let late = edge.get("hello.queue.test/").await;
        assert_eq!((late.status(), late.reason()), (503, "concurrency"));
        assert!(began.elapsed() >= Duration::from_millis(1_500));
        long.abort();
    });
}

#[test]
fn whoever_gives_up_waiting_leaves_the_queue() {
    run(async {
        let limits = json!({
            "concurrent_requests_max": 1, "waiting_requests_max": 1, "waiting_ms_max": 60_000,
        });
        let (edge, acme) = tenant("gives-up", limits, &["waits", "hello"]).await;
        let holding = beside(Ask::new(edge.http(), "GET", "waits.gives-up.test/?ms=9000").send());
        until("the place is taken", async || {
            (acme.usage().await.concurrent_requests == 1).then_some(())
        })
        .await;
        let mut wire = edge.wire().await;
        wire.send("GET / HTTP/1.1\r\nHost: hello.gives-up.test\r\n\r\n")
            .await;
        until("one waits", async || {
            (acme.usage().await.waiting_requests == 1).then_some(())
        })
        .await;
        drop(wire);
        until("nobody waits", async || {
            (acme.usage().await.waiting_requests == 0).then_some(())
        })
        .await;
        holding.abort();
    });
}

#[test]
fn connections_are_counted_by_tenant() {
    run(async {
        let (edge, acme) = tenant("connected", json!({ "connections_max": 2 }), &["hello"]).await;
        let (_, other) = tenant("connected-other", json!({}), &["hello"]).await;
        let ask = "GET / HTTP/1.1\r\nHost: hello.connected.test\r\n\r\n";
        let mut wires = Vec::new();
        for _ in 0..2 {
            let mut wire = edge.wire().await;
            wire.send(ask).await;
            assert_eq!(wire.answer().await.status(), 200);
            wires.push(wire);
        }
        let mut third = edge.wire().await;
        third.send(ask).await;
        let refused = third.answer().await;
        assert_eq!(
            (
                refused.status(),
                refused.reason(),
                refused.header("connection")
            ),
            (503, "connections", Some("close"))
        );
        assert!(third.rest().await.is_empty());
        until("both show", async || {
            (acme.usage().await.connections == 2).then_some(())
        })
        .await;
        // A connection is on the account of whom its last request was for.
        wires[0]
            .send("GET / HTTP/1.1\r\nHost: hello.connected-other.test\r\n\r\n")
            .await;
        assert_eq!(wires[0].answer().await.status(), 200);
        let mut fourth = edge.wire().await;
        fourth.send(ask).await;
        assert_eq!(fourth.answer().await.status(), 200);
        assert_eq!(other.usage().await.refusals.get("connections"), None);
    });
}

#[test]
fn targets_and_headers_are_bounded_both_ways() {
    run(async {
        let limits = json!({
            "url_bytes_max": 64, "request_header_kib_max": 1, "response_header_kib_max": 1,
        });
        let (edge, acme) = tenant("sizes", limits, &["inspect-request", "hello"]).await;
        let long = format!("hello.sizes.test/{}", "a".repeat(64));
        let answer = edge.get(&long).await;
        assert_eq!((answer.status(), answer.reason()), (414, "url"));
        let answer = edge
            .ask("GET", "hello.sizes.test/")
            .header("x-large", &"a".repeat(1_024))
            .send()
            .await;
        assert_eq!((answer.status(), answer.reason()), (431, "header"));
        acme.upload(
            "large",
            1,
            littoral_tests::component("hostile/sends-a-huge-header"),
        )
        .await
        .unwrap();
        acme.route("large.sizes.test/", "large", None)
            .await
            .unwrap();
        let answer = edge.get("large.sizes.test/under").await;
        assert_eq!((answer.status(), answer.reason()), (502, "response-header"));
        assert_eq!(edge.get("hello.sizes.test/").await.status(), 200);
    });
}

#[test]
fn bodies_are_paced_to_their_rate() {
    run(async {
        let limits = json!({ "response_kib_per_s_max": 100, "request_kib_per_s_max": 100 });
        let (edge, _) = tenant("paced", limits, &["streams", "reads-slowly"]).await;
        let began = Instant::now();
        let answer = edge.get("streams.paced.test/?kib=250&chunk=8192").await;
        assert_eq!((answer.status(), answer.body.len()), (200, 250 << 10));
        // The first 100 KiB are there at once; a chunk more may be on its way before the bucket is asked again.
        let least = Duration::from_millis(1_300);
        assert!(began.elapsed() >= least, "{:?}", began.elapsed());

        let began = Instant::now();
        let answer = edge
            .ask("POST", "reads-slowly.paced.test/?ms=0&chunk=16384")
            .body(vec![b'x'; 250 << 10])
            .send()
            .await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    });
}

#[test]
fn a_stream_that_stands_still_is_ended_and_one_that_moves_is_not() {
    run(async {
        let limits = json!({ "stream_idle_ms_max": 800, "request_deadline_ms_max": 20_000 });
        let (edge, acme) = tenant("idle", limits, &["waits", "streams"]).await;
        let still = edge.get("waits.idle.test/head-then-wait?ms=15000").await;
        assert_eq!((still.status(), still.whole), (200, false));
        assert_eq!(acme.usage().await.refusals["idle"], 1);
        let moves = edge.get("waits.idle.test/head-then-wait?ms=300").await;
        assert!(moves.whole);
    });
}

#[test]
fn the_head_of_a_response_has_a_time_of_its_own() {
    run(async {
        let limits = json!({ "response_head_ms_max": 500, "request_deadline_ms_max": 20_000 });
        let (edge, _) = tenant("head", limits, &["waits"]).await;
        let began = Instant::now();
        let late = edge.get("waits.head.test/?ms=15000").await;
        assert_eq!((late.status(), late.reason()), (504, "deadline"));
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(500) && took < Duration::from_secs(10),
            "{took:?}"
        );
        // The body may take longer than that.
        let slow = edge.get("waits.head.test/head-then-wait?ms=1000").await;
        assert!(slow.whole);
    });
}

#[test]
fn a_tenant_that_fails_over_and_over_rests_and_comes_back() {
    run(async {
        let limits = json!({ "failures_in_a_row_max": 3 });
        let (edge, acme) = tenant("fails", limits, &["traps", "hello"]).await;
        let (_, _other) = tenant("fails-other", json!({}), &["hello"]).await;
        for _ in 0..3 {
            assert_eq!(edge.get("traps.fails.test/").await.reason(), "trap");
        }
        let rests = edge.get("hello.fails.test/").await;
        assert_eq!((rests.status(), rests.reason()), (503, "quarantined"));
        assert_eq!(rests.header("retry-after"), Some("1"));
        assert!(acme.usage().await.quarantine_left_ms > 0);
        let lines = acme.logs().await;
        assert!(
            lines
                .iter()
                .any(|line| line.text.starts_with("quarantined: ")),
            "{lines:?}"
        );
        assert!(
            edge.log().contains("failed over and over"),
            "{}",
            edge.log()
        );
        assert_eq!(edge.get("hello.fails-other.test/").await.status(), 200);
        until("it is served again", async || {
            (edge.get("hello.fails.test/").await.status() == 200).then_some(())
        })
        .await;
        assert_eq!(edge.get("traps.fails.test/").await.reason(), "trap");
        assert_eq!(edge.get("hello.fails.test/").await.status(), 200);
    });
}

#[test]
fn quotas_that_change_under_load_hold_within_a_second_and_lose_nothing() {
    run(async {
        let limits = json!({ "concurrent_requests_max": 8, "waiting_requests_max": 1_000 });
        let (edge, acme) = tenant("changing", limits, &["hello"]).await;
        let node = edge.http();
        let ends = Instant::now() + Duration::from_secs(4);
        let load: Vec<_> = (0..6)
            .map(|_| {
                beside(async move {
                    let mut wire = Wire::to(node).await;
                    let (mut served, mut refused) = (0, Vec::new());
                    while Instant::now() < ends {
                        wire.send("GET / HTTP/1.1\r\nHost: hello.changing.test\r\n\r\n")
                            .await;
                        let answer = wire.answer().await;
                        match answer.status() {
                            200 => served += 1,
                            _ => refused.push(answer.reason().to_owned()),
                        }
                    }
                    (served, refused)
                })
            })
            .collect();
        for places in [1, 4, 2, 8, 3] {
            acme.limit(json!({
                "concurrent_requests_max": places, "waiting_requests_max": 1_000, "waiting_ms_max": 20_000,
                "cpu_share": places * 100, "memory_mib_max": 64 * places,
            }))
            .await;
        }
        let began = Instant::now();
        acme.limit(json!({ "requests_per_s_max": 1, "requests_burst_max": 1 }))
            .await;
        until("the new rate holds", async || {
            (edge.get("hello.changing.test/").await.status() == 429).then_some(())
        })
        .await;
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        let mut served = 0;
        for task in load {
            let (ok, refused) = task.await.unwrap();
            served += ok;
            assert!(refused.iter().all(|reason| reason == "rate"), "{refused:?}");
        }
        assert!(served > 20, "{served}");
    });
}
