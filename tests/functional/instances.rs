//! How a module's instances are used: what is said through the API, kept, and refused.

use control_api::auth::Scope;
use control_api::view::{InstanceUse, PageRequest, Precondition};
use littoral_tests::{Shared, Tenant, TestEdge, component, refusal, run, with_section};
use serde_json::{Value, json};

static NODE: Shared = Shared::new();

/// What the node shows, in both places.
async fn shown(edge: &TestEdge, tenant: &Tenant, module: &str) -> Value {
    let (client, name) = (edge.client(), module.parse().unwrap());
    let module = client.module(tenant.name(), &name).await.unwrap();
    let instances = client.module_instances(tenant.name(), &name).await.unwrap();
    assert_eq!(instances.revision, module.revision);
    assert_eq!(instances.value, module.value.instances);
    serde_json::to_value(instances.value).unwrap()
}

#[test]
fn how_instances_are_used_outlives_uploads_restarts_and_the_loss_of_the_database() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("hello").await.guest("echo").await;
        assert_eq!(shown(&edge, &acme, "hello").await, json!({"mode": "fresh"}));
        let asked = json!({"mode": "reuse", "requests_max": 10, "memory_mib_max": 8});
        let wanted = json!({
            "mode": "reuse", "requests_max": 10, "idle_ms_max": 60_000, "concurrency_max": 1, "memory_mib_max": 8,
        });
        let set = acme.instances("hello", asked).await.unwrap();
        assert_eq!(serde_json::to_value(set).unwrap(), wanted);
        assert_eq!(shown(&edge, &acme, "hello").await, wanted);

        acme.version("hello", 2, with_section(&component("hello"), "2"))
            .await;
        assert_eq!(shown(&edge, &acme, "hello").await, wanted);
        edge.kill_control();
        edge.control().wait().await;
        edge.start_again().await;
        assert_eq!(shown(&edge, &acme, "hello").await, wanted);
        assert!(edge.stop().await.success());
        let db = edge.data().join("store/sled/db");
        let bytes = std::fs::metadata(&db).unwrap().len() as usize;
        std::fs::write(&db, vec![0xa5; bytes]).unwrap();
        edge.start_again().await;
        assert_eq!(shown(&edge, &acme, "hello").await, wanted);
        assert_eq!(shown(&edge, &acme, "echo").await, json!({"mode": "fresh"}));
        for _ in 0..3 {
            assert_eq!(
                edge.get("hello.acme.test/").await.text(),
                "Hello from the edge!\n"
            );
        }
        let acme = acme.through(edge.client());
        acme.instances("hello", json!({"mode": "fresh"}))
            .await
            .unwrap();
        assert_eq!(shown(&edge, &acme, "hello").await, json!({"mode": "fresh"}));
    });
}

#[test]
fn how_instances_are_used_goes_with_the_module_and_does_not_come_back() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("leaves").await;
        acme.version("site", 1, component("hello")).await;
        acme.instances("site", json!({"mode": "reuse"}))
            .await
            .unwrap();
        acme.delete_module("site").await.unwrap();
        let set = acme.instances("site", json!({"mode": "reuse"})).await;
        assert_eq!(refusal(set), "module-not-found");
        acme.version("site", 2, component("hello")).await;
        assert_eq!(shown(&edge, &acme, "site").await, json!({"mode": "fresh"}));
    });
}

#[test]
fn what_is_not_allowed_of_instances_is_named_and_leaves_nothing_changed() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("strict").await;
        acme.version("site", 1, component("hello")).await;
        let before = json!({
            "mode": "reuse", "requests_max": 2, "idle_ms_max": 100, "concurrency_max": 1, "memory_mib_max": 1,
        });
        acme.instances("site", before.clone()).await.unwrap();
        let (client, name) = (edge.client(), "site".parse().unwrap());
        let revision = client.module(acme.name(), &name).await.unwrap().revision;
        let bearer = format!("Bearer {}", edge.token(&[Scope::Deploy], Some("strict")));
        let fields = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        for (body, problem, said) in [
            ("{", "json-syntax", "line 1"),
            (r#"{"requests_max":9}"#, "json-shape", "`mode`"),
            (r#"{"mode":"pooled"}"#, "json-shape", "`fresh` or `reuse`"),
            (
                r#"{"mode":"fresh","idle_ms_max":500}"#,
                "json-shape",
                "`idle_ms_max`",
            ),
            (
                r#"{"mode":"reuse","idle_s_max":5}"#,
                "json-shape",
                "`idle_s_max`, expected one of `requests_max`",
            ),
            (
                r#"{"mode":"reuse","requests_max":1}"#,
                "value-invalid",
                "`requests_max`: 1 is out of range; allowed: 2 to 1000000",
            ),
            (
                r#"{"mode":"reuse","idle_ms_max":3600001}"#,
                "value-invalid",
                "`idle_ms_max`: 3600001 is out of range; allowed: 100 to 3600000",
            ),
            (
                r#"{"mode":"reuse","concurrency_max":1001}"#,
                "value-invalid",
                "`concurrency_max`: 1001 is out of range; allowed: 1 to 1000",
            ),
            (
                r#"{"mode":"reuse","memory_mib_max":18446744073709551615}"#,
                "value-invalid",
                "`memory_mib_max`: 18446744073709551615 is out of range; allowed: 1 to 65536",
            ),
            (
                r#"{"mode":"reuse","concurrency_max":2}"#,
                "value-invalid",
                "the active version, 1, which serves `wasi:http/proxy@0.2`",
            ),
        ] {
            let path = "/v1/tenants/strict/modules/site/instances";
            let answer = edge.admin_ask("PUT", path, &fields, body.as_bytes()).await;
            assert_eq!(answer.problem(), problem, "{body}: {}", answer.text());
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(said), "{body}: {detail}");
        }
        let reuse = InstanceUse::reuse();
        for (precondition, problem) in [
            (Precondition::Revision(9_999_999), "revision-mismatch"),
            (Precondition::Absent, "already-there"),
        ] {
            let put = client.put_module_instances(acme.name(), &name, &reuse, precondition);
            assert_eq!(refusal(put.await), problem);
        }
        // The same again writes nothing.
        let precondition = Precondition::Revision(revision);
        let same = serde_json::from_value(before.clone()).unwrap();
        let put = client.put_module_instances(acme.name(), &name, &same, precondition);
        assert_eq!(put.await.unwrap().resource.revision, revision);
        assert_eq!(shown(&edge, &acme, "site").await, before);
    });
}

#[test]
fn more_than_one_request_at_once_is_for_modules_of_the_newer_interface() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("newer").await;
        acme.guest("hello-p3").await;
        let asked = json!({
            "mode": "reuse", "requests_max": 50, "idle_ms_max": 1_000, "concurrency_max": 16, "memory_mib_max": 4,
        });
        acme.instances("hello-p3", asked.clone()).await.unwrap();
        // An older interface later: what was set stays, and its instances serve one request at a time.
        acme.version("hello-p3", 2, component("hello")).await;
        assert_eq!(shown(&edge, &acme, "hello-p3").await, asked);
        assert_eq!(edge.get("hello-p3.newer.test/").await.status(), 200);
        let again = acme.instances("hello-p3", asked).await;
        assert_eq!(refusal(again), "value-invalid");
    });
}

#[test]
fn how_another_tenants_instances_are_used_is_neither_shown_nor_set() {
    run(async {
        let edge = NODE.edge().await;
        let (mine, theirs) = (edge.tenant("mine").await, edge.tenant("theirs").await);
        theirs.version("site", 1, component("hello")).await;
        let site = "site".parse().unwrap();
        let deploy = edge.client_as(&[Scope::Deploy], Some("mine"));
        let read = deploy.module_instances(theirs.name(), &site).await;
        assert_eq!(refusal(read), "tenant-not-found");
        let set = theirs.through(&deploy);
        let set = set.instances("site", json!({"mode": "reuse"})).await;
        assert_eq!(refusal(set), "tenant-not-found");
        // Nor under the caller's own name.
        let read = deploy.module_instances(mine.name(), &site).await;
        assert_eq!(refusal(read), "module-not-found");
        let set = mine.through(&deploy);
        let set = set.instances("site", json!({"mode": "reuse"})).await;
        assert_eq!(refusal(set), "module-not-found");
        assert_eq!(
            shown(&edge, &theirs, "site").await,
            json!({"mode": "fresh"})
        );
    });
}

#[test]
fn how_instances_are_used_is_audited_before_and_after() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("audited").await;
        acme.version("site", 1, component("hello")).await;
        acme.instances("site", json!({"mode": "reuse"}))
            .await
            .unwrap();
        acme.delete_module("site").await.unwrap();
        let page = PageRequest {
            after: None,
            limit: 2,
        };
        let entries = edge.client().audit(&page).await.unwrap().items;
        let [deleted, set] = entries.as_slice() else {
            panic!("{entries:?}");
        };
        assert_eq!(
            (set.action.as_str(), set.resource.as_str()),
            ("module.instances", "site")
        );
        assert_eq!(set.before, Some(json!({"mode": "fresh"})));
        let after = set.after.as_ref().unwrap();
        assert_eq!(
            (&after["mode"], &after["requests_max"]),
            (&json!("reuse"), &json!(128))
        );
        assert_eq!(deleted.action, "module.delete");
        assert_eq!(&deleted.before.as_ref().unwrap()["instances"], after);
    });
}
