//! Changes to what is there: conditions, limits that take effect at once, suspension.

use control_api::view::{Precondition, RouteWrite, TenantWrite};
use littoral_tests::{Shared, component, refusal, run, with_section};
use serde_json::json;

static NODE: Shared = Shared::new();

#[test]
fn every_changeable_resource_has_a_revision_that_conditions_are_checked_against() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("tags").await;
        let (client, name) = (edge.client(), acme.name());
        let old = Precondition::Revision(9_999_999);

        let tenant = client.tenant(name).await.unwrap().revision;
        let write = TenantWrite::default();
        assert_eq!(
            refusal(client.put_tenant(name, &write, old).await),
            "revision-mismatch"
        );
        assert_eq!(
            refusal(client.put_tenant(name, &write, Precondition::Absent).await),
            "already-there"
        );
        client
            .put_tenant(name, &write, Precondition::Revision(tenant))
            .await
            .unwrap();

        let kid = acme.key().kid().parse().unwrap();
        let jwk = acme.key().public();
        assert_eq!(
            refusal(client.put_key(name, &kid, &jwk, old).await),
            "revision-mismatch"
        );
        assert_eq!(
            refusal(client.delete_key(name, &kid, old).await),
            "revision-mismatch"
        );

        acme.version("site", 1, component("hello")).await;
        let module = "site".parse().unwrap();
        let revision = client.module(name, &module).await.unwrap().revision;
        let mut next = acme.request("site", 2, with_section(&component("hello"), "tags"));
        next.precondition = old;
        assert_eq!(refusal(acme.send(&next).await), "revision-mismatch");
        next.precondition = Precondition::Absent;
        assert_eq!(refusal(acme.send(&next).await), "already-there");
        next.precondition = Precondition::Revision(revision);
        acme.send(&next).await.unwrap();
        assert_eq!(
            refusal(client.delete_module(name, &module, old).await),
            "revision-mismatch"
        );

        let id = "tags.test/".parse().unwrap();
        let write = |version| RouteWrite {
            module: "site".parse().unwrap(),
            version,
        };
        let nothing = client.put_route(name, &id, &write(None), old).await;
        assert_eq!(refusal(nothing), "revision-mismatch");
        let made = client
            .put_route(name, &id, &write(None), Precondition::Absent)
            .await
            .unwrap();
        assert!(made.created);
        let first = Precondition::Revision(made.resource.revision);
        let pinned = client
            .put_route(name, &id, &write(Some(1)), first)
            .await
            .unwrap();
        assert!(pinned.resource.revision > made.resource.revision);
        assert_eq!(
            refusal(client.delete_route(name, &id, first).await),
            "revision-mismatch"
        );
        let current = Precondition::Revision(pinned.resource.revision);
        client.delete_route(name, &id, current).await.unwrap();
    });
}

#[test]
fn an_etag_that_the_client_has_is_answered_304() {
    run(async {
        let edge = NODE.edge().await;
        edge.tenant("cached").await;
        let bearer = format!(
            "Bearer {}",
            edge.token(&[control_api::auth::Scope::NodeRead], None)
        );
        let authorization = ("Authorization", bearer.as_str());
        let first = edge
            .admin_ask("GET", "/v1/tenants/cached", &[authorization], b"")
            .await;
        let tag = first.header("etag").unwrap().to_owned();
        let known = [authorization, ("If-None-Match", &tag)];
        let second = edge
            .admin_ask("GET", "/v1/tenants/cached", &known, b"")
            .await;
        assert_eq!((second.status(), second.body.len()), (304, 0));
    });
}

#[test]
fn limits_changed_on_a_running_tenant_hold_from_the_next_request() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("changing").await;
        acme.guest("echo").await.guest("waits").await;
        let echo = async |bytes| {
            edge.ask("POST", "echo.changing.test/")
                .body(vec![b'x'; bytes])
                .send()
                .await
        };
        assert_eq!(echo(2048).await.body.len(), 2048);
        acme.limit(json!({ "request_body_kib_max": 1, "request_deadline_ms_max": 200 }))
            .await;
        assert_eq!(echo(2048).await.status(), 413);
        assert_eq!(echo(1024).await.status(), 200);
        let slow = edge.get("waits.changing.test/?ms=5000").await;
        assert_eq!((slow.status(), slow.reason()), (504, "deadline"));
        acme.limit(json!({})).await;
        assert_eq!(echo(2048).await.status(), 200);
        assert_eq!(edge.get("waits.changing.test/?ms=300").await.status(), 200);
    });
}

#[test]
fn a_suspended_tenant_is_not_served_and_uploads_nothing() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("late-payer").await;
        acme.guest("hello").await;
        acme.settings(&TenantWrite {
            suspended: true,
            ..TenantWrite::default()
        })
        .await;
        let answer = edge.get("hello.late-payer.test/").await;
        assert_eq!((answer.status(), answer.reason()), (503, "suspended"));
        let upload = acme
            .upload("hello", 2, with_section(&component("hello"), "2"))
            .await;
        assert_eq!(refusal(upload), "tenant-suspended");
        acme.settings(&TenantWrite::default()).await;
        assert_eq!(edge.get("hello.late-payer.test/").await.status(), 200);
    });
}

#[test]
fn counts_are_limited() {
    run(async {
        let edge = NODE.edge().await;
        let limits = json!({ "modules_max": 1, "routes_max": 1, "publisher_keys_max": 1, "component_kib_max": 64 });
        let acme = edge.tenant_limited("counted", limits).await;
        acme.version("one", 1, component("hello")).await;
        let second = acme.upload("two", 1, component("hello")).await.unwrap_err();
        let problem = second.problem().unwrap();
        assert_eq!(problem.kind().unwrap().slug(), "limit-reached");
        assert_eq!(
            (&problem.more["limit"], &problem.more["most"]),
            (&json!("modules_max"), &json!(1))
        );
        acme.route("one.counted.test/", "one", None).await.unwrap();
        assert_eq!(
            refusal(acme.route("two.counted.test/", "one", None).await),
            "limit-reached"
        );
        acme.route("one.counted.test/", "one", Some(1))
            .await
            .unwrap();
        let key = control_api::keypair::PrivateKey::generate().unwrap();
        let kid = key.kid().parse().unwrap();
        let put = edge
            .client()
            .put_key(acme.name(), &kid, &key.public(), Precondition::None)
            .await;
        assert_eq!(refusal(put), "limit-reached");
        // 70,560 bytes against 64 KiB.
        assert_eq!(
            refusal(acme.upload("one", 2, component("echo")).await),
            "body-too-large"
        );
    });
}

#[test]
fn values_that_are_not_allowed_are_named() {
    run(async {
        let edge = NODE.edge().await;
        let bearer = format!(
            "Bearer {}",
            edge.token(&[control_api::auth::Scope::NodeAdmin], None)
        );
        let fields = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        for (body, problem, said) in [
            ("{", "json-syntax", "line 1"),
            (r#"{"limit":{}}"#, "json-shape", "limit"),
            (r#"{"limits":{"modules":1}}"#, "json-shape", "modules"),
            (
                r#"{"limits":{"kept_versions_max":0}}"#,
                "value-invalid",
                "kept_versions_max",
            ),
            (
                r#"{"limits":{"instance_memory_mib_max":4097}}"#,
                "value-invalid",
                "4097",
            ),
            (r#"{"hosts":["a b"]}"#, "json-shape", "a b"),
            (r#"{"suspended":"yes"}"#, "json-shape", "expected a boolean"),
        ] {
            let answer = edge
                .admin_ask("PUT", "/v1/tenants/odd", &fields, body.as_bytes())
                .await;
            assert_eq!(answer.problem(), problem, "{body}: {}", answer.text());
            assert!(
                answer.json()["detail"].as_str().unwrap().contains(said),
                "{body}: {}",
                answer.text()
            );
        }
    });
}
