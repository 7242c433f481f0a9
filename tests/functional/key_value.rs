//! What guests keep in key-value stores: theirs alone, durable, within what the tenant may have.

use std::collections::HashSet;
use std::time::Duration;

use control_api::view::PageRequest;
use edge_config::StoreName;
use littoral_tests::{Shared, Tenant, TestEdge, component, run, run_within};
use serde_json::json;
use tokio::task::JoinSet;

static NODE: Shared = Shared::new();

/// A tenant with a guest that calls a store, granted `default`.
async fn keeper(edge: &TestEdge, tenant: &str, guest: &str) -> Tenant {
    let tenant = edge.tenant(tenant).await;
    tenant.guest(guest).await;
    let granted = json!({"key_value": ["default", "cache"]});
    tenant.grants(guest, granted).await.unwrap();
    tenant
}

/// What the guest says, and whether it says that the call went well.
async fn ask(edge: &TestEdge, place: &str) -> (u16, String) {
    let answer = edge.get(place).await;
    (answer.status(), answer.text())
}

fn well(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

fn ill(text: &str) -> (u16, String) {
    (418, text.to_owned())
}

#[test]
fn spins_counters_count_in_a_store_that_was_granted_and_in_no_other() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        for guest in ["spin5-counter", "spin7-counter"] {
            acme.guest(guest).await;
            let place = format!("{guest}.acme.test/");
            // Denied by default: the program's own error, which the newer SDK answers with an error code.
            let denied = if guest == "spin5-counter" { 500 } else { 502 };
            assert_eq!(edge.get(&place).await.status(), denied, "{guest}");
            acme.grants(guest, json!({"key_value": ["default"]}))
                .await
                .unwrap();
        }
        for visit in [1, 3] {
            for (number, guest) in ["spin5-counter", "spin7-counter"].into_iter().enumerate() {
                let said = ask(&edge, &format!("{guest}.acme.test/")).await;
                assert_eq!(said, well(&format!("Visit number: {}", visit + number)));
            }
        }
        edge.kill_worker().await;
        assert_eq!(
            ask(&edge, "spin5-counter.acme.test/").await,
            well("Visit number: 5")
        );
        edge.kill_control();
        edge.control().wait().await;
        edge.start_again().await;
        assert_eq!(
            ask(&edge, "spin7-counter.acme.test/").await,
            well("Visit number: 6")
        );
        let acme = acme.through(edge.client());
        acme.grants("spin5-counter", json!({})).await.unwrap();
        assert_eq!(edge.get("spin5-counter.acme.test/").await.status(), 500);
    });
}

#[test]
fn every_call_of_both_versions_does_what_it_says() {
    run(async {
        let edge = NODE.edge().await;
        for guest in ["spin5-keeps", "spin7-keeps"] {
            let name = guest.split('-').next().unwrap();
            keeper(&edge, name, guest).await;
            let asked = async |rest: &str| ask(&edge, &format!("{guest}.{name}.test{rest}")).await;
            assert_eq!(asked("/get?key=a").await, ill("none"));
            assert_eq!(asked("/set?key=a&value=1").await, well("set"));
            assert_eq!(asked("/get?key=a").await, well("1"));
            assert_eq!(asked("/exists?key=a").await, well("true"));
            assert_eq!(asked("/set?key=b&value=").await, well("set"));
            assert_eq!(asked("/keys").await, well("a\nb"));
            assert_eq!(asked("/get?key=a&store=cache").await, ill("none"));
            assert_eq!(asked("/delete?key=a").await, well("deleted"));
            assert_eq!(asked("/delete?key=a").await, well("deleted"));
            assert_eq!(asked("/exists?key=a").await, well("false"));
            assert_eq!(asked("/keys").await, well("b"));
            let (status, said) = asked("/get?key=a&store=other").await;
            assert_eq!(
                (status, said.contains("AccessDenied")),
                (418, true),
                "{said}"
            );
            for (rest, why) in [
                ("/get?key=", "the key is empty; allowed: 1 to 1024 bytes"),
                (
                    &*format!("/set?key={}", "k".repeat(2048)),
                    "the key has 2048 bytes; allowed: 1 to 1024",
                ),
            ] {
                let (status, said) = asked(rest).await;
                assert_eq!((status, said.contains(why)), (418, true), "{said}");
            }
            let (_, said) = asked("/variable?key=Not-One").await;
            assert!(said.contains("InvalidName"), "{said}");
            let (_, said) = asked("/variable?key=absent").await;
            assert!(said.contains("Undefined"), "{said}");
        }
        let (_, said) = ask(&edge, "spin5-keeps.spin5.test/open?times=257").await;
        assert!(said.contains("StoreTableFull"), "{said}");
        assert_eq!(
            ask(&edge, "spin5-keeps.spin5.test/open?times=256").await,
            well("256")
        );
    });
}

#[test]
fn two_tenants_with_the_same_keys_never_see_each_others() {
    run(async {
        let edge = NODE.edge().await;
        for tenant in ["mine", "theirs"] {
            keeper(&edge, tenant, "spin5-keeps").await;
            let place = format!("spin5-keeps.{tenant}.test/set?key=key&value={tenant}");
            assert_eq!(ask(&edge, &place).await, well("set"));
        }
        for tenant in ["mine", "theirs"] {
            let place = format!("spin5-keeps.{tenant}.test");
            assert_eq!(
                ask(&edge, &format!("{place}/get?key=key")).await,
                well(tenant)
            );
            assert_eq!(ask(&edge, &format!("{place}/keys")).await, well("key"));
        }
    });
}

#[test]
fn what_a_tenant_may_keep_holds_at_once_and_by_the_byte() {
    run(async {
        let edge = NODE.edge().await;
        let small = keeper(&edge, "small", "spin5-keeps").await;
        let asked = async |rest: &str| ask(&edge, &format!("spin5-keeps.small.test{rest}")).await;
        small.limit(json!({"key_value_keys_max": 2, "key_value_kib_max": 2, "key_value_value_kib_max": 1})).await;
        let value = |bytes: usize| "v".repeat(bytes);
        assert_eq!(
            asked(&format!("/set?key=a&value={}", value(1024))).await,
            well("set")
        );
        for (rest, why) in [
            (
                format!("/set?key=b&value={}", value(1025)),
                "the value has 1025 bytes; allowed: 1024",
            ),
            (
                format!("/set?key=b&value={}", value(1023)),
                "would have 2049 bytes; allowed: 2048",
            ),
            (
                "/set?key=b&times=2&value=".to_owned(),
                "would have 3 keys; allowed: 2",
            ),
        ] {
            let (status, said) = asked(&rest).await;
            assert_eq!((status, said.contains(why)), (418, true), "{said}");
        }
        small.limit(json!({"key_value_calls_per_s_max": 0})).await;
        let (_, said) = asked("/get?key=a").await;
        assert!(
            said.contains("more key-value calls than the tenant may make"),
            "{said}"
        );
    });
}

#[test]
fn a_tenant_that_comes_again_finds_nothing_of_the_one_before() {
    run(async {
        let edge = NODE.edge().await;
        let gone = keeper(&edge, "gone", "spin5-keeps").await;
        let place = "spin5-keeps.gone.test";
        assert_eq!(
            ask(&edge, &format!("{place}/set?key=a&value=1")).await,
            well("set")
        );
        gone.unroute(&format!("{place}/")).await.unwrap();
        gone.delete_module("spin5-keeps").await.unwrap();
        let client = edge.client();
        let condition = control_api::view::Precondition::None;
        client.delete_tenant(gone.name(), condition).await.unwrap();
        let again = edge.tenant("gone").await;
        again.version("keeps", 2, component("spin5-keeps")).await;
        again
            .route(&format!("{place}/"), "keeps", None)
            .await
            .unwrap();
        again
            .grants("keeps", json!({"key_value": ["default"]}))
            .await
            .unwrap();
        assert_eq!(ask(&edge, &format!("{place}/get?key=a")).await, ill("none"));
    });
}

#[test]
fn both_drafts_of_wasi_keyvalue_reach_the_same_stores() {
    run(async {
        let edge = NODE.edge().await;
        let drafts = edge.tenant("drafts").await;
        for guest in ["keeps-draft", "keeps-draft2"] {
            drafts.guest(guest).await;
            let denied = ask(&edge, &format!("{guest}.drafts.test/get?key=a")).await;
            assert!(denied.1.contains("AccessDenied"), "{denied:?}");
            drafts
                .grants(guest, json!({"key_value": ["default"]}))
                .await
                .unwrap();
        }
        let older = async |rest: &str| ask(&edge, &format!("keeps-draft.drafts.test{rest}")).await;
        let newer = async |rest: &str| ask(&edge, &format!("keeps-draft2.drafts.test{rest}")).await;
        assert_eq!(older("/set?key=a&value=1").await, well("set"));
        assert_eq!(newer("/get?key=a").await, well("1"));
        assert_eq!(newer("/exists?key=a").await, well("true"));
        assert_eq!(older("/increment?key=a&delta=41").await, well("42"));
        assert_eq!(newer("/increment?key=a&delta=-43").await, well("-1"));
        assert_eq!(older("/increment?key=a&delta=0").await.0, 418);
        assert_eq!(
            older("/many").await.1,
            r#"[Some(("m1", [49])), None, Some(("m2", [50]))]"#
        );
        assert_eq!(
            newer("/many").await.1,
            r#"[("m1", Some([49])), ("none", None), ("m2", Some([50]))]"#
        );
        assert_eq!(newer("/swap?key=s&value=first").await, well("swapped none"));
        assert_eq!(
            newer("/swap?key=s&value=second").await,
            well("swapped first")
        );
        let late = newer("/swap?key=s&value=third&late=1").await;
        assert_eq!(late, well("not swapped: another came first"));
        assert_eq!(older("/keys").await, well("a s"));
        assert_eq!(newer("/keys").await, well("a s"));
        assert_eq!(newer("/delete?key=s").await, well("deleted"));
        assert_eq!(older("/keys").await, well("a"));
    });
}

#[test]
fn a_thousand_increments_at_once_from_many_instances_lose_none() {
    run(async {
        let edge = NODE.edge().await;
        let many = keeper(&edge, "many", "keeps-draft2").await;
        many.limit(json!({"concurrent_requests_max": 100, "waiting_requests_max": 1000, "waiting_ms_max": 60_000, "request_deadline_ms_max": 60_000, "response_head_ms_max": 60_000})).await;
        let place = "keeps-draft2.many.test/increment?key=n";
        let asked = (0..1000).map(|_| async {
            let answer = edge.get(place).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
        });
        futures_util::future::join_all(asked).await;
        let get = "keeps-draft2.many.test/get?key=n";
        assert_eq!(ask(&edge, get).await, well("1000"));
    });
}

#[test]
fn what_guests_keep_is_seen_and_changed_from_outside() {
    run(async {
        let edge = NODE.edge().await;
        let seen = keeper(&edge, "seen", "spin5-keeps").await;
        let asked = async |rest: &str| ask(&edge, &format!("spin5-keeps.seen.test{rest}")).await;
        asked("/set?key=a&value=of+a+guest").await;
        let (client, store): (_, StoreName) = (edge.client(), "default".parse().unwrap());
        let got = client.store_value(seen.name(), &store, "a").await.unwrap();
        assert_eq!(got, b"of a guest");
        let odd = "b/\u{e9} ";
        client
            .put_store_value(seen.name(), &store, odd, "outside".into())
            .await
            .unwrap();
        assert_eq!(asked("/get?key=b/%C3%A9+").await, well("outside"));
        let usage = seen.usage().await;
        assert_eq!((usage.key_value_keys, usage.key_value_bytes), (2, 11 + 12));
        let page = PageRequest {
            after: None,
            limit: 1,
        };
        let listed = client.store_keys(seen.name(), &store, &page).await.unwrap();
        assert_eq!(listed.next_after.as_deref(), Some("a"));
        client
            .delete_store_value(seen.name(), &store, "a")
            .await
            .unwrap();
        assert_eq!(asked("/exists?key=a").await, well("false"));
        seen.limit(json!({"key_value_value_kib_max": 1})).await;
        let large = client
            .put_store_value(seen.name(), &store, "l", vec![0; 1025].into())
            .await;
        let said = large.unwrap_err().to_string();
        assert!(
            said.contains("the value has 1025 bytes; allowed: 1024"),
            "{said}"
        );
    });
}

/// Each request sets this many keys, one after another.
const KEYS_A_REQUEST: usize = 100;

#[test]
fn a_hundred_thousand_acknowledged_writes_outlive_control_killed_amid_them() {
    run_within(Duration::from_secs(400), async {
        let mut edge = TestEdge::start().await;
        let acme = keeper(&edge, "acme", "spin5-keeps").await;
        acme.limit(json!({
            "key_value_keys_max": 1_000_000, "concurrent_requests_max": 100, "waiting_requests_max": 1000,
            "waiting_ms_max": 600_000, "request_deadline_ms_max": 600_000, "response_head_ms_max": 600_000,
            "request_cpu_ms_max": 60_000, "key_value_calls_per_s_max": 10_000_000,
        }))
        .await;
        let mut acknowledged = HashSet::new();
        let mut next = 0;
        // Killed three times amid a burst, then left to finish the rest.
        for answers in [150, 400, 700, 1000] {
            let mut asked = JoinSet::new();
            while acknowledged.len() < answers {
                while asked.len() < 64 {
                    let (number, key) =
                        (next, format!("key=k{next}.&value=v&times={KEYS_A_REQUEST}"));
                    let ask = edge.ask("GET", &format!("spin5-keeps.acme.test/set?{key}"));
                    asked.spawn(async move { (number, ask.send().await) });
                    next += 1;
                }
                let (number, answer) = asked.join_next().await.unwrap().unwrap();
                assert_eq!(answer.status(), 200, "{}", answer.text());
                acknowledged.insert(number);
            }
            edge.kill_control();
            edge.control().wait().await;
            // Those under way are not answered, whatever was written of them.
            asked.abort_all();
            edge.start_again().await;
        }
        let (client, store): (_, StoreName) = (edge.client(), "default".parse().unwrap());
        let mut there = HashSet::new();
        let mut page = PageRequest {
            after: None,
            limit: 1000,
        };
        loop {
            let listed = client.store_keys(acme.name(), &store, &page).await.unwrap();
            there.extend(listed.items.into_iter().map(|key| key.key));
            match listed.next_after {
                Some(after) => page.after = Some(after),
                None => break,
            }
        }
        assert!(acknowledged.len() * KEYS_A_REQUEST >= 100_000);
        for number in acknowledged {
            for time in 0..KEYS_A_REQUEST {
                let key = if time == 0 {
                    format!("k{number}.")
                } else {
                    format!("k{number}.{time}")
                };
                assert!(there.contains(&key), "{key} was acknowledged");
            }
        }
        let usage = acme.through(client).usage().await;
        assert_eq!(usage.key_value_keys, there.len() as u64);
    });
}
