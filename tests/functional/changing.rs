//! The node changed while it serves: its configuration read anew, its worker replaced, its program upgraded.

mod traffic;

use std::time::Duration;

use control_api::view::PageRequest;
use littoral_tests::{TestEdge, end, refusal, run, run_within, until};
use rustix::process::Signal;
use traffic::Traffic;

/// Longer than most: every change waits for what the one before left to finish.
const MANY_CHANGES_MAX: Duration = Duration::from_secs(400);

async fn with_guests(edge: &TestEdge) {
    let acme = edge.tenant("acme").await;
    acme.guest("hello").await;
    acme.guest("waits").await;
}

#[test]
fn twenty_reloads_that_replace_the_worker_lose_no_request() {
    run_within(MANY_CHANGES_MAX, async {
        let edge = TestEdge::start().await;
        with_guests(&edge).await;
        let traffic = Traffic::begin(edge.http());
        traffic.answered(20).await;
        let mut workers = vec![edge.status().await.worker.pid];
        for number in 1..=20 {
            edge.configure("http.connections_max", 5000 + number);
            let reloaded = edge.client().reload().await.unwrap();
            assert!(reloaded.worker_replaced);
            assert_eq!(reloaded.changed.len(), 1, "{reloaded:?}");
            assert_eq!(reloaded.changed[0].key, "http.connections_max");
            assert_eq!(reloaded.changed[0].after, 5000 + number);
            let worker = edge.status().await.worker;
            assert!(worker.ready);
            workers.push(worker.pid);
            traffic.answered(20).await;
        }
        workers.sort_unstable();
        workers.dedup();
        assert_eq!(workers.len(), 21, "each reload brought another worker");
        assert_eq!(edge.status().await.worker.restarts, 0);
        let (answered, streamed) = traffic.end().await;
        println!("{answered} requests answered, and {streamed} slow ones, over 20 reloads");
        // What relieved workers did counts, and they are gone.
        until("the last relieved worker has ended", async || {
            let all = edge
                .metric("littoral_requests_total{tenant=\"acme\"}")
                .await;
            (all >= (answered + streamed) as f64).then_some(())
        })
        .await;
    });
}

#[test]
fn a_reload_applies_what_can_change_and_says_what_changed() {
    run(async {
        let edge = TestEdge::start().await;
        with_guests(&edge).await;
        let before = edge.status().await;
        edge.configure("log.level", "debug");
        edge.configure("limits.request_deadline_ms_max", 300);
        edge.configure("limits.response_head_ms_max", 300);
        let reloaded = edge.client().reload().await.unwrap();
        let keys: Vec<_> = reloaded
            .changed
            .iter()
            .map(|key| key.key.as_str())
            .collect();
        assert_eq!(
            keys,
            [
                "limits.request_deadline_ms_max",
                "limits.response_head_ms_max",
                "log.level"
            ]
        );
        assert_eq!(reloaded.changed[0].before, 10_000);
        let acme = "acme".parse().unwrap();
        let tenant = edge.client().tenant(&acme).await.unwrap().value;
        assert_eq!(tenant.effective_limits.request_deadline_ms_max, 300);
        until("the worker has learnt of it", async || {
            let answer = edge.get("waits.acme.test/?ms=2000").await;
            (answer.status() == 504).then_some(())
        })
        .await;
        let page = PageRequest {
            limit: 10,
            after: None,
        };
        let audit = edge.client().audit(&page).await.unwrap();
        let entry = &audit.items[0];
        assert_eq!(entry.action, "node.reload");
        assert_eq!(entry.after.as_ref().unwrap()["log.level"], "debug");
        assert_eq!(entry.before.as_ref().unwrap()["log.level"], "info");
        assert_eq!(edge.status().await.pid, before.pid);
        // Nothing more to do, and nothing is done.
        let again = edge.client().reload().await.unwrap();
        assert!(again.changed.is_empty() && !again.worker_replaced);
        assert_eq!(edge.status().await.revision, entry.seq);
    });
}

#[test]
fn a_reload_that_is_refused_names_all_that_stands_against_it_and_changes_nothing() {
    run(async {
        let edge = TestEdge::start().await;
        let before = edge.status().await;
        edge.configure("log.level", "debug");
        edge.configure("node.data_dir", "/elsewhere");
        edge.configure("store.cache_mib", 9);
        let error = edge.client().reload().await.unwrap_err().to_string();
        for wanted in [
            "node.data_dir cannot change",
            "\"/elsewhere\"",
            "store.cache_mib",
        ] {
            assert!(error.contains(wanted), "{error}");
        }
        assert!(!error.contains("log.level"), "{error}");
        edge.configure("http.threads", 1000);
        let error = edge.client().reload().await.unwrap_err().to_string();
        assert!(
            error.contains("http.threads") && error.contains("256"),
            "{error}"
        );
        edge.configure("outbound.ca_files", serde_json::json!(["/not/there.pem"]));
        edge.configure("http.threads", 0);
        edge.configure("store.cache_mib", 8);
        edge.configure("node.data_dir", edge.data().to_str().unwrap());
        let refused = edge.client().reload().await;
        assert_eq!(refusal(refused), "configuration-refused");
        let after = edge.status().await;
        assert_eq!(
            (after.revision, after.worker.pid),
            (before.revision, before.worker.pid)
        );
        assert!(!edge.log().contains("DEBUG"), "the log's level stayed");
    });
}

#[test]
fn a_signal_reloads_as_the_api_does() {
    run(async {
        let edge = TestEdge::start().await;
        let worker = edge.status().await.worker.pid;
        edge.configure("http.header_kib_max", 16);
        end(edge.pid(), Signal::HUP);
        until("another worker serves", async || {
            let now = edge.status().await.worker;
            (now.ready && now.pid != worker).then_some(())
        })
        .await;
        edge.configure("admin.body_json_kib_max", 1);
        end(edge.pid(), Signal::HUP);
        until("the log says what is refused", async || {
            edge.log()
                .contains("admin.body_json_kib_max cannot change")
                .then_some(())
        })
        .await;
    });
}
