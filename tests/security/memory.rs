//! Memory and logs: what one guest may hold and say.

use littoral_tests::{TestEdge, run, until};
use serde_json::json;

use crate::tenant;

#[test]
fn a_guest_gets_the_memory_it_may_have_and_no_more() {
    run(async {
        let (edge, acme) = tenant(
            "grower",
            json!({ "instance_memory_mib_max": 16 }),
            &["grows-memory"],
        )
        .await;
        let little = edge.get("grows-memory.grower.test/?mib=8").await;
        assert_eq!(
            (little.status(), little.text().as_str()),
            (200, "allocated 8 MiB\n")
        );
        // memory.grow answers -1, and this guest lives with that.
        let much = edge.get("grows-memory.grower.test/?mib=64").await;
        assert_eq!(much.status(), 507, "{}", much.text());
        let held: u64 = much.text().split(' ').nth(2).unwrap().parse().unwrap();
        assert!((8..=16).contains(&held), "{held} MiB");
        assert_eq!(acme.usage().await.memory_bytes, 0);
    });
}

#[test]
fn memory_that_is_held_shows_in_usage_and_goes_with_the_instance() {
    run(async {
        let (edge, acme) = tenant("holder", json!({}), &["grows-memory"]).await;
        let mut wire = edge.wire().await;
        wire.send("GET /?mib=20&hold_ms=1500 HTTP/1.1\r\nHost: grows-memory.holder.test\r\n\r\n")
            .await;
        until("the memory shows", async || {
            (acme.usage().await.memory_bytes >= 20 << 20).then_some(())
        })
        .await;
        assert_eq!(wire.answer().await.status(), 200);
        until("it is gone", async || {
            (acme.usage().await.memory_bytes == 0).then_some(())
        })
        .await;
    });
}

#[test]
fn a_component_that_declares_more_memory_than_it_may_have_is_refused() {
    run(async {
        // The guests of Rust's std declare 17 pages at least: more than 1 MiB.
        let (_edge, acme) = tenant("declares", json!({ "instance_memory_mib_max": 1 }), &[]).await;
        let refused = acme
            .upload("hello", 1, littoral_tests::component("hello"))
            .await
            .unwrap_err();
        let problem = refused.problem().unwrap_or_else(|| panic!("{refused:?}"));
        assert_eq!(problem.kind().unwrap().slug(), "memory-does-not-fit");
        assert_eq!(problem.more["bytes_max"], 1 << 20);
    });
}

#[test]
fn a_flood_of_log_lines_is_bounded_counted_and_slows_nobody() {
    run(async {
        let limits = json!({
            "log_bytes_per_s_max": 1000, "log_burst_bytes_max": 5000, "log_line_bytes_max": 100, "log_ring_kib_max": 4,
        });
        let (edge, acme) = tenant("flood", limits, &["prints"]).await;
        let (_, other) = tenant("flood-other", json!({}), &["prints"]).await;
        let answer = edge
            .get("prints.flood.test/?out=flood&lines=20000&bytes=50")
            .await;
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "printed\n")
        );
        let dropped = acme.usage().await.log_bytes_dropped;
        assert!(dropped > 900_000, "{dropped} bytes dropped");
        let kept: usize = acme.logs().await.iter().map(|line| line.text.len()).sum();
        assert!(kept > 0 && kept <= 4096, "{kept} bytes kept");

        edge.get("prints.flood-other.test/?out=quiet").await;
        until("the neighbour's line is there", async || {
            (other.logs().await.len() == 1).then_some(())
        })
        .await;
    });
}

/// By the largest limits there are, a tenant's lines once made a message that control did not take: the link ended, and
/// the worker of all with it.
#[test]
fn a_flood_of_the_longest_lines_costs_nobody_the_worker() {
    run(async {
        let limits = json!({
            "log_bytes_per_s_max": 16_777_216, "log_burst_bytes_max": 16_777_216, "log_line_bytes_max": 65_536,
            "log_ring_kib_max": 16_384,
        });
        let (edge, acme) = tenant("long-lines", limits, &["prints"]).await;
        let worker = edge.status().await.worker;
        let answer = edge
            .get("prints.long-lines.test/?out=flood&lines=1000&bytes=16000")
            .await;
        assert_eq!(answer.status(), 200);
        until("lines are there", async || {
            (acme.logs().await.len() >= 100).then_some(())
        })
        .await;
        let now = edge.status().await.worker;
        assert_eq!((now.pid, now.restarts), (worker.pid, worker.restarts));
    });
}

#[test]
fn a_line_that_never_ends_is_cut() {
    run(async {
        let (edge, acme) = tenant(
            "one-line",
            json!({ "log_line_bytes_max": 100 }),
            &["prints"],
        )
        .await;
        edge.get("prints.one-line.test/?out=x&bytes=1000000").await;
        let lines = until("something is there", async || {
            let lines = acme.logs().await;
            (!lines.is_empty()).then_some(lines)
        })
        .await;
        assert!(lines.iter().all(|line| line.text.len() <= 100));
    });
}

#[test]
fn a_node_without_an_instance_left_says_so_and_serves_again_when_there_is_one() {
    run(async {
        let edge = TestEdge::build()
            .set("worker.instances_max", 1)
            .start()
            .await;
        let (acme, other) = (edge.tenant("holder").await, edge.tenant("other").await);
        acme.guest("waits").await;
        other.guest("hello").await;
        let mut wire = edge.wire().await;
        wire.send("GET /forever HTTP/1.1\r\nHost: waits.holder.test\r\n\r\n")
            .await;
        until("the instance is taken", async || {
            (acme.usage().await.memory_bytes > 0).then_some(())
        })
        .await;
        let answer = edge.get("hello.other.test/").await;
        assert_eq!(
            (answer.status(), answer.reason(), answer.problem().as_str()),
            (503, "instances", "instances")
        );
        assert!(answer.header("retry-after").is_some());
        assert_eq!(other.usage().await.refusals["instances"], 1);
        drop(wire);
        until("it is free again", async || {
            (edge.get("hello.other.test/").await.status() == 200).then_some(())
        })
        .await;
    });
}
