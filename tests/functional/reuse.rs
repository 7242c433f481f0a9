//! Instances that serve more than one request: for how long, for whom, and when not.

use littoral_tests::{Shared, Tenant, TestEdge, component, run, until, with_section};
use serde_json::json;

static NODE: Shared = Shared::new();

/// What `remembers` counted when it answered; `None` for a refusal. Whoever is served by an instance has its answer
/// before the instance rests, which on a busy machine may take longer than the next request: that is waited for.
async fn count(edge: &TestEdge, tenant: &Tenant, place: &str) -> Option<u64> {
    let answer = edge.get(place).await;
    all_rest(tenant).await;
    (answer.head.status == 200).then(|| answer.text().trim().parse().unwrap())
}

async fn all_rest(tenant: &Tenant) {
    until("nobody is served", async || {
        (tenant.usage().await.concurrent_requests == 0).then_some(())
    })
    .await;
}

/// A tenant whose module of that guest uses its instances again.
async fn reusing(edge: &TestEdge, name: &str, guest: &str, how: serde_json::Value) -> Tenant {
    let tenant = edge.tenant(name).await;
    tenant.guest(guest).await;
    let mut how = how;
    how["mode"] = json!("reuse");
    tenant.instances(guest, how).await.unwrap();
    tenant
}

#[test]
fn an_instance_serves_as_many_requests_as_was_chosen_and_no_more() {
    run(async {
        let edge = NODE.edge().await;
        for guest in ["remembers", "remembers-p3"] {
            let name = format!("counts-{guest}");
            let tenant = edge.tenant(&name).await;
            tenant.guest(guest).await;
            let place = format!("{guest}.{name}.test/");
            for _ in 0..3 {
                assert_eq!(
                    count(&edge, &tenant, &place).await,
                    Some(1),
                    "fresh is the default"
                );
            }
            let how = json!({"mode": "reuse", "requests_max": 8});
            tenant.instances(guest, how).await.unwrap();
            let mut ends = Vec::new();
            let mut last = 0;
            for _ in 0..60 {
                let now = count(&edge, &tenant, &place).await.unwrap();
                if now == 1 && last > 0 {
                    ends.push(last);
                } else {
                    assert_eq!(now, last + 1);
                }
                last = now;
            }
            assert!(
                ends.iter().all(|end| (6..=8).contains(end)),
                "{guest}: {ends:?}"
            );
            tenant
                .instances(guest, json!({"mode": "fresh"}))
                .await
                .unwrap();
            for _ in 0..3 {
                assert_eq!(count(&edge, &tenant, &place).await, Some(1));
            }
        }
    });
}

#[test]
fn an_instance_never_serves_another_tenant_module_or_version() {
    run(async {
        let edge = NODE.edge().await;
        let first = reusing(&edge, "first", "remembers", json!({})).await;
        let second = reusing(&edge, "second", "remembers", json!({})).await;
        // The same component once more, under another name of the same tenant.
        first.version("twin", 1, component("remembers")).await;
        first
            .instances("twin", json!({"mode": "reuse"}))
            .await
            .unwrap();
        first.route("twin.first.test/", "twin", None).await.unwrap();
        for round in 1..=3 {
            for (tenant, place) in [
                (&first, "remembers.first.test/"),
                (&second, "remembers.second.test/"),
                (&first, "twin.first.test/"),
            ] {
                assert_eq!(count(&edge, tenant, place).await, Some(round), "{place}");
            }
        }
        first
            .version("remembers", 2, with_section(&component("remembers"), "2"))
            .await;
        assert_eq!(count(&edge, &first, "remembers.first.test/").await, Some(1));
        assert_eq!(
            count(&edge, &second, "remembers.second.test/").await,
            Some(4)
        );
    });
}

#[test]
fn an_instance_that_trapped_or_was_ended_is_not_used_again() {
    run(async {
        let edge = NODE.edge().await;
        for guest in ["remembers", "remembers-p3"] {
            let name = format!("fails-{guest}");
            let tenant = reusing(&edge, &name, guest, json!({})).await;
            tenant
                .limit(json!({"request_cpu_ms_max": 50, "failures_in_a_row_max": 0}))
                .await;
            let place = format!("{guest}.{name}.test");
            for bad in ["/trap", "/spin"] {
                assert_eq!(count(&edge, &tenant, &format!("{place}/")).await, Some(1));
                assert_eq!(count(&edge, &tenant, &format!("{place}/")).await, Some(2));
                assert_eq!(count(&edge, &tenant, &format!("{place}{bad}")).await, None);
                assert_eq!(
                    count(&edge, &tenant, &format!("{place}/")).await,
                    Some(1),
                    "{bad}"
                );
                assert_eq!(count(&edge, &tenant, &format!("{place}/trap")).await, None);
            }
        }
    });
}

#[test]
fn an_instance_that_grew_past_the_mark_is_not_used_again() {
    run(async {
        let edge = NODE.edge().await;
        let tenant = reusing(&edge, "grows", "remembers", json!({"memory_mib_max": 8})).await;
        let place = "remembers.grows.test";
        assert_eq!(
            count(&edge, &tenant, &format!("{place}/grow?mib=1")).await,
            Some(1)
        );
        assert_eq!(
            count(&edge, &tenant, &format!("{place}/grow?mib=8")).await,
            Some(2)
        );
        assert_eq!(count(&edge, &tenant, &format!("{place}/")).await, Some(1));
    });
}

#[test]
fn an_instance_that_rests_too_long_ends_and_its_memory_is_given_back() {
    run(async {
        let edge = NODE.edge().await;
        let how = json!({"idle_ms_max": 100});
        let tenant = reusing(&edge, "rests", "remembers", how).await;
        assert_eq!(
            count(&edge, &tenant, "remembers.rests.test/").await,
            Some(1)
        );
        until("its memory is given back", async || {
            (tenant.usage().await.memory_bytes == 0).then_some(())
        })
        .await;
        assert_eq!(
            count(&edge, &tenant, "remembers.rests.test/").await,
            Some(1)
        );
    });
}

#[test]
fn an_instance_that_rests_gives_way_to_one_that_needs_its_tenants_memory() {
    run(async {
        let edge = NODE.edge().await;
        let how = json!({"memory_mib_max": 64});
        let tenant = reusing(&edge, "gives-way", "remembers", how).await;
        tenant
            .limit(json!({"memory_mib_max": 32, "instance_memory_mib_max": 32}))
            .await;
        tenant.version("fresh", 1, component("remembers")).await;
        tenant
            .route("fresh.gives-way.test/", "fresh", None)
            .await
            .unwrap();
        let resting = "remembers.gives-way.test";
        assert_eq!(
            count(&edge, &tenant, &format!("{resting}/grow?mib=20")).await,
            Some(1)
        );
        assert!(tenant.usage().await.memory_bytes >= 20 << 20);
        assert_eq!(
            count(&edge, &tenant, "fresh.gives-way.test/grow?mib=20").await,
            Some(1)
        );
        assert_eq!(count(&edge, &tenant, &format!("{resting}/")).await, Some(1));
    });
}

#[test]
fn what_an_instance_prints_is_of_the_request_that_it_is_at() {
    run(async {
        let edge = NODE.edge().await;
        let tenant = reusing(&edge, "prints", "remembers", json!({})).await;
        let mut ids = Vec::new();
        for round in 1..=3 {
            let answer = edge.get("remembers.prints.test/print").await;
            assert_eq!(answer.text(), format!("{round}\n"));
            all_rest(&tenant).await;
            ids.push(answer.head.header("x-request-id").unwrap().to_owned());
        }
        let lines = until("three lines", async || {
            let lines = tenant.logs().await;
            (lines.len() >= 3).then_some(lines)
        })
        .await;
        let lines: Vec<_> = lines
            .iter()
            .map(|line| (line.request_id.as_str(), line.text.as_str()))
            .collect();
        let expected: Vec<_> = ids
            .iter()
            .zip(["request 1", "request 2", "request 3"])
            .map(|(id, text)| (id.as_str(), text))
            .collect();
        assert_eq!(lines, expected);
    });
}

#[test]
fn an_instance_of_the_newer_interface_serves_as_many_at_once_as_was_chosen() {
    run(async {
        let edge = NODE.edge().await;
        let how = json!({"concurrency_max": 4, "requests_max": 1000});
        let tenant = reusing(&edge, "shares", "remembers-p3", how).await;
        let place = "remembers-p3.shares.test";
        let wait = format!("{place}/wait?ms=200");
        // One after another they are in one instance.
        for round in 1..=3 {
            assert_eq!(
                count(&edge, &tenant, &format!("{place}/")).await,
                Some(round)
            );
        }
        let get = || edge.get(&wait);
        let answers = tokio::join!(get(), get(), get(), get(), get(), get(), get(), get());
        let answers: [_; 8] = answers.into();
        let most: Vec<u64> = answers
            .iter()
            .map(|answer| {
                assert_eq!(answer.head.status, 200, "{}", answer.text());
                let text = answer.text();
                text.trim().split_once(' ').unwrap().1.parse().unwrap()
            })
            .collect();
        assert!(most.iter().all(|most| *most <= 4), "{most:?}");
        assert!(most.iter().any(|most| *most > 1), "{most:?}");
        // A trap ends those that are with it, and no other instance.
        let waiting = edge.get(&wait);
        let trap = async {
            until("the other is in", async || {
                (tenant.usage().await.concurrent_requests > 0).then_some(())
            })
            .await;
            edge.get(&format!("{place}/trap")).await
        };
        let (_, trapped) = tokio::join!(waiting, trap);
        assert_eq!(trapped.head.status, 502);
        assert_eq!(trapped.head.header("x-littoral-reason"), Some("trap"));
        assert_eq!(edge.get(&wait).await.head.status, 200);
    });
}

#[test]
fn a_client_that_hangs_up_costs_the_others_in_its_instance_nothing() {
    run(async {
        let edge = NODE.edge().await;
        let how = json!({"concurrency_max": 8});
        let tenant = reusing(&edge, "hangs-up", "remembers-p3", how).await;
        let place = "remembers-p3.hangs-up.test";
        let mut quitter = edge.wire().await;
        quitter
            .send(format!(
                "GET /wait?ms=60000 HTTP/1.1\r\nHost: {place}\r\n\r\n"
            ))
            .await;
        until("it is in", async || {
            (tenant.usage().await.concurrent_requests == 1).then_some(())
        })
        .await;
        let wait = format!("{place}/wait?ms=300");
        let other = edge.get(&wait);
        let quits = async {
            until("the other is in too", async || {
                (tenant.usage().await.concurrent_requests == 2).then_some(())
            })
            .await;
            drop(quitter);
        };
        let (other, ()) = tokio::join!(other, quits);
        assert_eq!(other.head.status, 200, "{}", other.text());
        until("the one that hung up is gone", async || {
            (tenant.usage().await.concurrent_requests == 0).then_some(())
        })
        .await;
        assert_eq!(count(&edge, &tenant, &format!("{place}/")).await, Some(1));
    });
}
