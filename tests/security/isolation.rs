//! What one tenant can learn of another, or of its own earlier requests: nothing.

use control_api::auth::Scope;
use control_api::view::PageRequest;
use littoral_tests::{component, refusal, run};
use serde_json::json;

use crate::tenant;

#[test]
fn every_request_has_a_fresh_instance() {
    run(async {
        let (edge, _) = tenant("fresh", json!({}), &["remembers"]).await;
        // The same component, and so the same artifact, of another tenant.
        let (_, _) = tenant("fresh-too", json!({}), &["remembers"]).await;
        let mut wire = edge.wire().await;
        for number in 0..50 {
            let site = if number % 2 == 0 {
                "fresh"
            } else {
                "fresh-too"
            };
            wire.send(format!(
                "GET / HTTP/1.1\r\nHost: remembers.{site}.test\r\n\r\n"
            ))
            .await;
            assert_eq!(wire.answer().await.text(), "1\n");
        }
    });
}

#[test]
fn another_tenants_resources_are_not_there() {
    run(async {
        let (edge, acme) = tenant("mine", json!({}), &["hello"]).await;
        let (_, other) = tenant("theirs", json!({}), &["hello"]).await;
        let client = edge.client_as(
            &[Scope::TenantAdmin, Scope::Deploy, Scope::Read],
            Some("mine"),
        );
        client.tenant(acme.name()).await.unwrap();
        let page = PageRequest {
            after: None,
            limit: 10,
        };
        let theirs = other.name();
        let kid = other.key().kid().parse().unwrap();
        let (module, route) = (
            "hello".parse().unwrap(),
            "hello.theirs.test/".parse().unwrap(),
        );
        let refusals = [
            refusal(client.tenant(theirs).await),
            refusal(client.usage(theirs).await),
            refusal(client.logs(theirs, None, 10).await),
            refusal(client.keys(theirs, &page).await),
            refusal(client.key(theirs, &kid).await),
            refusal(client.delete_key(theirs, &kid, Default::default()).await),
            refusal(client.modules(theirs, &page).await),
            refusal(client.module(theirs, &module).await),
            refusal(
                client
                    .delete_module(theirs, &module, Default::default())
                    .await,
            ),
            refusal(client.routes(theirs, &page).await),
            refusal(client.route(theirs, &route).await),
            refusal(
                client
                    .delete_route(theirs, &route, Default::default())
                    .await,
            ),
            refusal(
                other
                    .through(&client)
                    .upload("hello", 2, component("hello"))
                    .await,
            ),
            refusal(client.job(theirs, "0123").await),
        ];
        assert!(
            refusals.iter().all(|slug| slug == "tenant-not-found"),
            "{refusals:?}"
        );
        // A tenant that is there and one that is not are answered alike, but for the id of the request.
        let bearer = format!("Bearer {}", edge.token(&[Scope::Read], Some("mine")));
        let ask = async |name: &str| {
            let path = format!("/v1/tenants/{name}");
            let answer = edge
                .admin_ask("GET", &path, &[("Authorization", &bearer)], b"")
                .await;
            let mut json = answer.json();
            json["request_id"] = json!(null);
            (answer.status(), json.to_string().replace(name, "NAME"))
        };
        assert_eq!(ask("theirs").await, ask("nobody").await);
        assert_eq!(refusal(client.tenants(&page).await), "scope-insufficient");
        assert_eq!(refusal(client.audit(&page).await), "scope-insufficient");
        assert_eq!(edge.get("hello.theirs.test/").await.status(), 200);
    });
}

#[test]
fn a_guest_that_wants_what_is_not_offered_never_runs() {
    run(async {
        let (edge, acme) = tenant("wanting", json!({}), &[]).await;
        for guest in ["wants-unknown", "not-http"] {
            acme.upload(guest, 1, component(guest)).await.unwrap_err();
            let route = acme
                .route(&format!("{guest}.wanting.test/"), guest, None)
                .await;
            assert_eq!(refusal(route), "module-not-found", "{guest}");
            assert_eq!(
                edge.get(&format!("{guest}.wanting.test/")).await.reason(),
                "no-route",
                "{guest}"
            );
        }
    });
}
