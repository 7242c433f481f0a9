//! What an operator and a tenant see: logs, usage, metrics, audit.

use std::io::Write as _;
use std::process::{Command, Stdio};

use control_api::view::{LogLine, LogStream, PageRequest};
use littoral_tests::{Shared, TestEdge, component, run, until};
use serde_json::json;

static NODE: Shared = Shared::new();

#[test]
fn what_a_guest_prints_is_its_tenants_with_the_id_of_the_request() {
    run(async {
        let edge = NODE.edge().await;
        let (acme, other) = (edge.tenant("prints").await, edge.tenant("silent").await);
        acme.guest("prints").await;
        let answer = edge
            .get("prints.prints.test/?out=to-stdout&err=to-stderr")
            .await;
        let id = answer.header("x-request-id").unwrap();
        let lines = until("both lines are there", async || {
            let lines = acme.logs().await;
            (lines.len() >= 2).then_some(lines)
        })
        .await;
        for (stream, text) in [
            (LogStream::Stdout, "to-stdout"),
            (LogStream::Stderr, "to-stderr"),
        ] {
            let line = lines.iter().find(|line| line.stream == stream).unwrap();
            assert_eq!(
                (
                    line.text.as_str(),
                    line.module.as_str(),
                    line.request_id.as_str()
                ),
                (text, "prints", id)
            );
        }
        assert!(other.logs().await.is_empty());
    });
}

#[test]
fn what_a_guest_of_the_newer_interface_says_is_its_tenants_too() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("newer").await;
        acme.guest("traps-p3").await;
        assert_eq!(edge.get("traps-p3.newer.test/panic").await.status(), 502);
        until("its panic is in the log", async || {
            let lines = acme.logs().await;
            let said =
                |line: &LogLine| line.stream == LogStream::Stderr && line.text.contains("panicked");
            lines.iter().any(said).then_some(())
        })
        .await;
    });
}

#[test]
fn a_clients_own_request_id_is_not_taken() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("ids").await;
        acme.guest("hello").await;
        let answer = edge
            .ask("GET", "hello.ids.test/")
            .header("x-request-id", "forged")
            .send()
            .await;
        let id = answer.header("x-request-id").unwrap();
        assert!(id.len() == 32 && id != "forged", "{id}");
    });
}

#[test]
fn logs_can_be_followed_as_they_come() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("followed").await;
        acme.guest("prints").await;
        edge.get("prints.followed.test/?out=before").await;
        until("the first line is there", async || {
            (!acme.logs().await.is_empty()).then_some(())
        })
        .await;
        let mut follower = edge
            .client()
            .follow_logs(acme.name(), None, 10)
            .await
            .unwrap();
        let first = follower.next().await.unwrap().unwrap();
        assert_eq!(first.text, "before");
        edge.get("prints.followed.test/?out=after").await;
        let second = follower.next().await.unwrap().unwrap();
        assert_eq!(second.text, "after");
        assert!(second.seq > first.seq);
        // Removing the tenant ends the stream.
        edge.client()
            .delete_tenant(acme.name(), Default::default())
            .await
            .unwrap();
        assert_eq!(follower.next().await.unwrap(), None);
    });
}

#[test]
fn control_characters_of_a_guest_reach_no_terminal() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("escaped").await;
        acme.guest("prints").await;
        edge.get("prints.escaped.test/?out=%1b%5b2Jred").await;
        let lines = until("the line is there", async || {
            let lines = acme.logs().await;
            (!lines.is_empty()).then_some(lines)
        })
        .await;
        assert!(
            lines[0].text.ends_with("[2Jred") && !lines[0].text.contains('\u{1b}'),
            "{:?}",
            lines[0].text
        );
    });
}

#[test]
fn usage_says_what_was_used() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("used").await;
        acme.guest("echo").await;
        for _ in 0..3 {
            let answer = edge
                .ask("POST", "echo.used.test/")
                .body(vec![b'x'; 1000])
                .send()
                .await;
            assert_eq!(answer.body.len(), 1000);
        }
        edge.ask("POST", "echo.used.test/")
            .body(vec![b'x'; 2 << 20])
            .send()
            .await;
        // The last guest may still be at its end when its answer is here.
        let usage = until("nothing is under way", async || {
            let usage = acme.usage().await;
            (usage.concurrent_requests == 0 && usage.memory_bytes == 0).then_some(usage)
        })
        .await;
        assert_eq!(usage.requests, 3);
        assert_eq!(
            (usage.request_body_bytes, usage.response_body_bytes),
            (3000, 3000)
        );
        assert_eq!(usage.refusals["body"], 1);
        assert!(usage.cpu_us > 0);
        assert_eq!(
            (usage.modules, usage.routes, usage.publisher_keys),
            (1, 1, 1)
        );
        assert_eq!(usage.component_bytes, component("echo").len() as u64);
    });
}

#[test]
fn metrics_are_clean_and_count_what_happened() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("counted").await;
        acme.guest("hello").await;
        edge.get("hello.counted.test/").await;
        edge.get("nowhere.test/").await;
        acme.upload("bad", 1, component("not-http"))
            .await
            .unwrap_err();
        for (series, least) in [
            ("littoral_requests_total{tenant=\"counted\"}", 1.0),
            (
                "littoral_responses_total{tenant=\"counted\",status_class=\"2xx\"}",
                1.0,
            ),
            (
                "littoral_refusals_total{tenant=\"\",reason=\"no-route\"}",
                1.0,
            ),
            ("littoral_uploads_total{outcome=\"accepted\"}", 1.0),
            ("littoral_uploads_total{outcome=\"component\"}", 1.0),
            ("littoral_artifact_states_total{state=\"compiled\"}", 1.0),
            ("littoral_worker_ready", 1.0),
            ("littoral_tenants", 1.0),
            ("littoral_store_healthy", 1.0),
            (
                "littoral_process_resident_memory_bytes{process=\"worker\"}",
                1.0,
            ),
        ] {
            let value = edge.metric(series).await;
            assert!(value >= least, "{series} = {value}");
        }
        // Something is under way: memory and instances are those of now.
        let mut waiting = edge.wire().await;
        acme.guest("waits").await;
        waiting
            .send("GET /forever HTTP/1.1\r\nHost: waits.counted.test\r\n\r\n")
            .await;
        until("it is counted", async || {
            (edge.metric("littoral_instances").await == 1.0).then_some(())
        })
        .await;
        for series in [
            "littoral_request_duration_seconds_count{tenant=\"counted\"}",
            "littoral_request_duration_seconds_sum{tenant=\"counted\"}",
            "littoral_response_body_bytes_total{tenant=\"counted\"}",
            "littoral_guest_cpu_seconds_total{tenant=\"counted\"}",
            "littoral_guest_memory_bytes{tenant=\"counted\"}",
            "littoral_concurrent_requests{tenant=\"counted\"}",
            "littoral_compile_duration_seconds_count{outcome=\"accepted\"}",
            "littoral_compile_duration_seconds_sum{outcome=\"accepted\"}",
        ] {
            let value = edge.metric(series).await;
            assert!(value > 0.0, "{series} = {value}");
        }
        let page = edge.client().metrics().await.unwrap();
        for word in ["hello.counted.test", "nowhere.test"] {
            assert!(!page.contains(word), "a hostname is a label: {word}");
        }
        promtool(&page);
    });
}

/// `promtool check metrics`, where there is one; where CI runs, there must be one.
fn promtool(page: &str) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(
                !in_ci,
                "promtool: {error} (Debian's package `prometheus` has it)"
            );
            eprintln!("skipped: promtool is not there (Debian's package `prometheus` has it)");
            return;
        }
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn every_change_is_in_the_audit_log_with_who_what_before_and_after() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("audited").await;
        acme.guest("hello").await;
        acme.limit(json!({ "routes_max": 5 })).await;
        acme.unroute("hello.audited.test/").await.unwrap();
        let page = PageRequest {
            after: None,
            limit: 100,
        };
        let entries = edge.client().audit(&page).await.unwrap().items;
        let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(
            actions,
            [
                "route.delete",
                "tenant.put",
                "route.put",
                "module.upload",
                "key.put",
                "tenant.put"
            ]
        );
        assert!(entries.windows(2).all(|two| two[0].seq > two[1].seq));
        for entry in &entries {
            assert_eq!(entry.who, "operator (littoral)");
            assert_eq!(entry.tenant.as_ref().unwrap().as_str(), "audited");
            assert_eq!(entry.request_id.len(), 32);
        }
        let limits = |state: &Option<serde_json::Value>| {
            state.as_ref().unwrap()["limits"]["routes_max"].clone()
        };
        assert_eq!(
            (limits(&entries[1].before), limits(&entries[1].after)),
            (json!(null), json!(5))
        );
        assert_eq!(
            entries[0].before.as_ref().unwrap()["id"],
            "hello.audited.test/"
        );
        assert_eq!((&entries[0].after, &entries[2].before), (&None, &None));
        // A change that changes nothing is none.
        acme.limit(json!({ "routes_max": 5 })).await;
        assert_eq!(
            edge.client().audit(&page).await.unwrap().items.len(),
            entries.len()
        );

        // Of modules there is what they were, and not all that they are made of.
        let component = &entries[3].after.as_ref().unwrap()["digest"];
        let kid = acme.key().kid().parse().unwrap();
        acme.delete_module("hello").await.unwrap();
        let client = edge.client();
        let key = client.delete_key(acme.name(), &kid, Default::default());
        key.await.unwrap();
        let tenant = client.delete_tenant(acme.name(), Default::default());
        tenant.await.unwrap();
        let all = client.audit(&page).await.unwrap().items;
        let removed: Vec<_> = all[..3]
            .iter()
            .map(|entry| {
                (
                    entry.action.as_str(),
                    entry.before.clone().unwrap(),
                    &entry.after,
                )
            })
            .collect();
        let [tenant, key, module] = removed.as_slice() else {
            panic!("{all:?}");
        };
        assert_eq!(
            [tenant.0, key.0, module.0],
            ["tenant.delete", "key.delete", "module.delete"]
        );
        assert_eq!([tenant.2, key.2, module.2], [&None; 3]);
        assert_eq!(tenant.1["limits"]["routes_max"], 5);
        assert_eq!(key.1["kid"], acme.key().kid());
        assert_eq!(&module.1["versions"][0]["digest"], component);
        assert_eq!(module.1["versions"][0].get("inspection"), None);
    });
}

#[test]
fn the_api_describes_itself() {
    run(async {
        let edge = NODE.edge().await;
        let document = edge.client().openapi().await.unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
        let checked_in = include_str!("../../control-api/openapi.json");
        assert_eq!(
            document,
            serde_json::from_str::<serde_json::Value>(checked_in).unwrap()
        );
    });
}

#[test]
fn the_nodes_log_can_be_json() {
    run(async {
        let edge = TestEdge::build().set("log.format", "json").start().await;
        edge.tenant("logged").await;
        let log = edge.log();
        let lines: Vec<serde_json::Value> = log
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect();
        let change = lines
            .iter()
            .find(|line| line["message"] == "change" && line["action"] == "tenant.put");
        assert_eq!(change.unwrap()["tenant"], "logged");
    });
}
