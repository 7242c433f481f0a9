//! Requests that are not understood, entity tags, pages: the same everywhere.

use http::Method;
use serde_json::{Value, json};

use crate::support::{TestNode, component, problem, refused};

#[tokio::test]
async fn request_ids_are_the_nodes_own() {
    let node = TestNode::start().await;
    let answer = node
        .get("/v1/status")
        .header("x-request-id", "mine")
        .send()
        .await
        .unwrap();
    let id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(id.len(), 32, "{id}");
    let again = node.get("/v1/status").send().await.unwrap();
    assert_ne!(again.headers()["x-request-id"], id);
}

#[tokio::test]
async fn an_unknown_path_is_a_problem() {
    let node = TestNode::start().await;
    for path in ["/", "/v1", "/v1/tenant", "/v2/tenants", "/v1/tenants/acme/"] {
        let body = refused(node.get(path), 404, "path-unknown").await;
        assert!(body["detail"].as_str().unwrap().contains("openapi.json"));
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let node = TestNode::start().await;
    let answer = node
        .admin(Method::POST, "/v1/tenants/acme")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 405);
    let mut allowed: Vec<_> = answer.headers()["allow"]
        .to_str()
        .unwrap()
        .split(',')
        .collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "PUT"]);
    assert_eq!(problem(answer).await.0, "method-not-allowed");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let node = TestNode::start().await;
    let answer = node.admin(Method::HEAD, "/v1/status").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("x-request-id"));
    assert!(answer.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn bad_json_says_where() {
    let node = TestNode::start().await;
    let put = |body: &str| {
        node.put("/v1/tenants/acme")
            .header("content-type", "application/json")
            .body(body.to_owned())
    };
    let body = refused(put("{"), 400, "json-syntax").await;
    assert!(
        body["detail"].as_str().unwrap().contains("line 1 column 1"),
        "{body}"
    );
    refused(put(""), 400, "json-syntax").await;
    refused(put("{} {}"), 400, "json-syntax").await;
    let body = refused(put(r#"{"limts":{}}"#), 422, "json-shape").await;
    assert!(
        body["detail"].as_str().unwrap().contains("`limts`"),
        "{body}"
    );
    let body = refused(put(r#"{"suspended":"yes"}"#), 422, "json-shape").await;
    assert!(
        body["detail"].as_str().unwrap().contains("boolean"),
        "{body}"
    );
    refused(put(r#"{"hosts":["no host"]}"#), 422, "json-shape").await;
    refused(put("[]"), 422, "json-shape").await;
    let out_of_range = put(r#"{"limits":{"instance_memory_mib_max":0}}"#);
    let body = refused(out_of_range, 422, "value-invalid").await;
    assert_eq!(body["field"], "limits.instance_memory_mib_max");
}

#[tokio::test]
async fn only_json_is_taken_for_json() {
    let node = TestNode::start().await;
    let put = || node.put("/v1/tenants/acme").body("{}");
    refused(put(), 415, "content-type-unsupported").await;
    refused(
        put().header("content-type", "text/plain"),
        415,
        "content-type-unsupported",
    )
    .await;
    let zipped = put()
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    refused(zipped, 415, "content-type-unsupported").await;
    let good = put().header("content-type", "Application/JSON; charset=utf-8");
    assert_eq!(good.send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn json_bodies_are_bounded() {
    let node = TestNode::start().await;
    let put = |bytes: usize| {
        node.put("/v1/tenants/acme")
            .header("content-type", "application/json")
            .body(format!("{{}}{}", " ".repeat(bytes - 2)))
    };
    let most = control_api::server::BODY_JSON_BYTES_MAX;
    let body = refused(put(most + 1), 413, "json-too-large").await;
    assert_eq!(body["bytes_max"], most);
    assert_eq!(put(most).send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let node = TestNode::start_with(crate::support::Setup {
        change_api: |api| api.body_json_timeout = std::time::Duration::from_millis(50),
        ..crate::support::Setup::default()
    })
    .await;
    let never = reqwest::Body::wrap_stream(futures_util::stream::pending::<
        Result<bytes::Bytes, std::io::Error>,
    >());
    let put = node
        .put("/v1/tenants/acme")
        .header("content-type", "application/json")
        .body(never);
    refused(put, 408, "request-too-slow").await;
}

#[tokio::test]
async fn unknown_and_wrong_query_parameters_are_refused() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    for path in [
        "/v1/tenants?limit=0",
        "/v1/tenants?limit=1001",
        "/v1/tenants?limit=many",
        "/v1/tenants?limits=5",
        "/v1/status?verbose=1",
        "/v1/tenants/acme?dry_run=true",
        "/v1/tenants/acme/logs?follow=yes",
        "/v1/tenants/acme/logs?limit=1001",
    ] {
        refused(node.get(path), 400, "query-invalid").await;
    }
    let long = format!("/v1/tenants?after={}", "a".repeat(3000));
    refused(node.get(&long), 400, "query-invalid").await;
    let dry = node
        .put("/v1/tenants/acme/routes/a.test%2F?dry_run=maybe")
        .json(&json!({}));
    refused(dry, 400, "query-invalid").await;
}

#[tokio::test]
async fn names_in_the_path_are_checked() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    for (path, name) in [
        ("/v1/tenants/No%20Name", "tenant"),
        ("/v1/tenants/..%2Facme", "tenant"),
        ("/v1/tenants/%FF", "tenant"),
        ("/v1/tenants/acme/modules/%00", "module"),
        ("/v1/tenants/acme/modules/hello/versions/one", "version"),
        ("/v1/tenants/acme/modules/hello/versions/-1", "version"),
        ("/v1/tenants/acme/keys/a%2Fb", "kid"),
        ("/v1/tenants/acme/routes/hello.localhost", "route"),
        ("/v1/tenants/acme/jobs/a%20b", "job"),
    ] {
        let body = refused(node.get(path), 400, "path-invalid").await;
        let detail = body["detail"].as_str().unwrap();
        assert!(
            detail.starts_with(&format!("`{name}` in the path")) || path.contains("FF"),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_has_a_problem_of_its_own() {
    let node = TestNode::start().await;
    refused(node.get("/v1/tenants/acme"), 404, "tenant-not-found").await;
    node.tenant("acme").await;
    for (path, slug) in [
        ("modules/nothing", "module-not-found"),
        ("modules/nothing/instances", "module-not-found"),
        ("keys/nobody", "key-not-found"),
        ("routes/a.test%2F", "route-not-found"),
        ("jobs/none", "job-not-found"),
    ] {
        refused(node.get(&format!("/v1/tenants/acme/{path}")), 404, slug).await;
    }
    node.module().await;
    let body = refused(
        node.get("/v1/tenants/acme/modules/hello/versions/9"),
        404,
        "version-not-found",
    )
    .await;
    assert!(body["detail"].as_str().unwrap().contains("[1]"), "{body}");
}

#[tokio::test]
async fn a_resource_is_made_changed_and_left_alone() {
    let node = TestNode::start().await;
    let put = |body: Value| node.put("/v1/tenants/acme").json(&body);
    let made = put(json!({})).send().await.unwrap();
    assert_eq!(made.status(), 201);
    assert_eq!(made.headers()["location"], "/v1/tenants/acme");
    let first = made.headers()["etag"].clone();

    let same = put(json!({})).send().await.unwrap();
    assert_eq!(
        (same.status().as_u16(), &same.headers()["etag"]),
        (200, &first)
    );
    assert!(!same.headers().contains_key("location"));

    let changed = put(json!({"suspended": true})).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    assert_ne!(changed.headers()["etag"], first);
    let body: Value = changed.json().await.unwrap();
    assert_eq!(body["suspended"], true);
    assert_eq!(body["effective_limits"]["instance_memory_mib_max"], 64);
}

/// The same on every resource that can be changed.
#[tokio::test]
async fn entity_tags_guard_every_changeable_resource() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    node.module().await;
    let kid = node.publisher.kid().to_owned();
    let route = json!({"module": "hello"});
    node.put("/v1/tenants/acme/routes/hello.localhost%2F")
        .json(&route)
        .send()
        .await
        .unwrap();
    let certificate = json!({"chain": "-----BEGIN CERTIFICATE-----", "key": "secret"});
    node.put("/v1/tenants/acme/certificates/shop")
        .json(&certificate)
        .send()
        .await
        .unwrap();
    let variable = json!({"value": "hello"});
    node.put("/v1/tenants/acme/variables/greeting")
        .json(&variable)
        .send()
        .await
        .unwrap();
    // Routes and keys before what they stand on, so that the deletes at the end go through.
    for (path, body) in [
        (
            "/v1/tenants/acme/routes/hello.localhost%2F".to_owned(),
            Some(route),
        ),
        ("/v1/tenants/acme/modules/hello".to_owned(), None),
        (
            "/v1/tenants/acme/variables/greeting".to_owned(),
            Some(variable),
        ),
        (
            format!("/v1/tenants/acme/keys/{kid}"),
            Some(json!(node.publisher.public())),
        ),
        (
            "/v1/tenants/acme/certificates/shop".to_owned(),
            Some(certificate),
        ),
        (
            "/v1/tenants/acme".to_owned(),
            Some(json!({"suspended": false})),
        ),
    ] {
        let shown = node.get(&path).send().await.unwrap();
        assert_eq!(shown.status(), 200, "{path}");
        let tag = shown.headers()["etag"].to_str().unwrap().to_owned();
        let revision: u64 = tag.trim_matches('"').parse().unwrap();
        let other = format!("\"{}\"", revision + 1000);

        let known = node
            .get(&path)
            .header("if-none-match", &tag)
            .send()
            .await
            .unwrap();
        assert_eq!(known.status(), 304, "{path}");
        assert_eq!(known.headers()["etag"], tag);
        let news = node
            .get(&path)
            .header("if-none-match", &other)
            .send()
            .await
            .unwrap();
        assert_eq!(news.status(), 200, "{path}");
        refused(
            node.get(&path).header("if-match", &other),
            412,
            "revision-mismatch",
        )
        .await;

        if let Some(body) = body {
            let put = || node.put(&path).json(&body);
            let refusal = refused(put().header("if-match", &other), 412, "revision-mismatch").await;
            assert_eq!(refusal["current"], revision);
            refused(
                put().header("if-match", "\"never\""),
                412,
                "revision-mismatch",
            )
            .await;
            refused(
                put().header("if-match", format!("W/{tag}")),
                412,
                "revision-mismatch",
            )
            .await;
            let refusal = refused(put().header("if-none-match", "*"), 412, "already-there").await;
            assert_eq!(refusal["current"], revision);
            for (name, value) in [
                ("if-match", "7"),
                ("if-match", "*"),
                ("if-none-match", "\"7\""),
            ] {
                refused(put().header(name, value), 400, "header-invalid").await;
            }
            let both = put().header("if-match", &tag).header("if-none-match", "*");
            refused(both, 400, "header-invalid").await;
            let good = put().header("if-match", &tag).send().await.unwrap();
            assert_eq!(good.status(), 200, "{path}");
        }
        let delete = || node.delete(&path);
        refused(
            delete().header("if-match", &other),
            412,
            "revision-mismatch",
        )
        .await;
        refused(delete().header("if-none-match", "*"), 400, "header-invalid").await;
        let gone = delete().header("if-match", &tag).send().await.unwrap();
        assert_eq!(gone.status(), 204, "{path}");
        assert_eq!(
            node.get(&path).send().await.unwrap().status(),
            404,
            "{path}"
        );
    }
}

#[tokio::test]
async fn if_match_on_nothing_is_412() {
    let node = TestNode::start().await;
    let put = node.put("/v1/tenants/acme").json(&json!({}));
    refused(put.header("if-match", "\"1\""), 412, "revision-mismatch").await;
    let put = node.put("/v1/tenants/acme").json(&json!({}));
    let made = put.header("if-none-match", "*").send().await.unwrap();
    assert_eq!(made.status(), 201);
}

#[tokio::test]
async fn lists_come_in_pages_with_a_link_to_the_next() {
    let node = TestNode::start().await;
    for name in ["b", "a", "d", "c", "e"] {
        node.put(&format!("/v1/tenants/{name}"))
            .json(&json!({}))
            .send()
            .await
            .unwrap();
    }
    let mut path = "/v1/tenants?limit=2".to_owned();
    let mut names = Vec::new();
    let mut pages = 0;
    loop {
        let answer = node.get(&path).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let link = answer
            .headers()
            .get("link")
            .map(|link| link.to_str().unwrap().to_owned());
        let body: Value = answer.json().await.unwrap();
        names.extend(
            body["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["name"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        match (body["next_after"].as_str(), link) {
            (Some(next), Some(link)) => {
                assert_eq!(
                    link,
                    format!("</v1/tenants?limit=2&after={next}>; rel=\"next\"")
                );
                path = link[1..link.find('>').unwrap()].to_owned();
            }
            (None, None) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((names.join(""), pages), ("abcde".to_owned(), 3));
}

#[tokio::test]
async fn a_link_to_routes_is_encoded() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    node.module().await;
    for host in ["a.test", "*.b.test"] {
        let path = format!("/v1/tenants/acme/routes/{host}%2Fx");
        let put = node.put(&path).json(&json!({"module": "hello"}));
        assert_eq!(put.send().await.unwrap().status(), 201);
    }
    let answer = node
        .get("/v1/tenants/acme/routes?limit=1")
        .send()
        .await
        .unwrap();
    let link = answer.headers()["link"].to_str().unwrap();
    assert_eq!(
        link,
        "</v1/tenants/acme/routes?limit=1&after=%2A.b.test%2Fx>; rel=\"next\""
    );
    let path = link[1..link.find('>').unwrap()].to_owned();
    let rest: Value = node.get(&path).send().await.unwrap().json().await.unwrap();
    assert_eq!(rest["items"][0]["id"], "a.test/x");
}

#[tokio::test]
async fn changes_are_audited_with_who_and_request_id() {
    let node = TestNode::start().await;
    let made = node
        .put("/v1/tenants/acme")
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    let id = made.headers()["x-request-id"].to_str().unwrap().to_owned();
    let audit: Value = node
        .get("/v1/audit")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let entry = &audit["items"][0];
    assert_eq!(entry["request_id"], id);
    assert_eq!(entry["who"], "tester (littoral)");
    assert_eq!(entry["action"], "tenant.put");
}

#[tokio::test]
async fn publisher_keys_are_checked_before_they_are_trusted() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let good = json!({"kty": "OKP", "crv": "Ed25519", "x": node.issuer.public().x});
    let put = |change: Value| {
        let mut jwk = good.clone();
        for (name, value) in change.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        node.put("/v1/tenants/acme/keys/ci").json(&jwk)
    };
    for (change, field) in [
        (json!({"kty": "EC"}), "kty"),
        (json!({"crv": "X25519"}), "crv"),
        (json!({"x": "AAAA"}), "x"),
        (json!({"alg": "RS256"}), "alg"),
        (json!({"kid": "other"}), "kid"),
    ] {
        let body = refused(put(change), 422, "value-invalid").await;
        assert_eq!(body["field"], field);
    }
    // A private key sent by mistake is refused, and not repeated.
    let body = refused(put(json!({"d": "c2VjcmV0"})), 422, "json-shape").await;
    assert!(!body.to_string().contains("c2VjcmV0"), "{body}");
    assert_eq!(put(json!({})).send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn limits_and_hosts_of_a_tenant_hold() {
    let node = TestNode::start().await;
    let name = node.tenant("acme").await;
    node.module().await;
    let settings = json!({"limits": {"publisher_keys_max": 1}, "hosts": ["*.acme.test"]});
    node.put("/v1/tenants/acme")
        .json(&settings)
        .send()
        .await
        .unwrap();
    let other = node.issuer.public();
    let put = node
        .put(&format!("/v1/tenants/{name}/keys/{}", node.issuer.kid()))
        .json(&other);
    let body = refused(put, 409, "limit-reached").await;
    assert_eq!(
        (body["limit"].as_str(), body["most"].as_u64()),
        (Some("publisher_keys_max"), Some(1))
    );
    let route = |host: &str| {
        node.put(&format!("/v1/tenants/acme/routes/{host}%2F"))
            .json(&json!({"module": "hello"}))
    };
    refused(route("acme.example"), 403, "host-not-allowed").await;
    assert_eq!(route("www.acme.test").send().await.unwrap().status(), 201);
    refused(
        node.delete("/v1/tenants/acme/modules/hello"),
        409,
        "module-in-use",
    )
    .await;
}

#[tokio::test]
async fn a_dry_run_of_a_route_changes_nothing() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    node.module().await;
    let path = "/v1/tenants/acme/routes/hello.localhost%2F";
    let dry = node
        .put(&format!("{path}?dry_run=true"))
        .json(&json!({"module": "hello"}));
    let body: Value = dry.send().await.unwrap().json().await.unwrap();
    assert_eq!(body["would"], "created");
    assert_eq!(body["route"]["serves_version"], 1);
    refused(node.get(path), 404, "route-not-found").await;
}

#[tokio::test]
async fn a_node_that_is_not_ready_says_why() {
    let node = TestNode::start().await;
    node.plane.set_ready(Err("no worker answers".to_owned()));
    let answer = node.http.get(node.url("/readyz")).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    let (slug, body) = problem(answer).await;
    assert_eq!(slug, "not-ready");
    assert_eq!(body["detail"], "no worker answers");
    assert_eq!(
        node.http
            .get(node.url("/healthz"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn the_document_that_is_served_is_the_one_checked_in() {
    let node = TestNode::start().await;
    let served = node
        .http
        .get(node.url("/v1/openapi.json"))
        .send()
        .await
        .unwrap();
    assert_eq!(served.headers()["content-type"], "application/json");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let checked_in: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(served.json::<Value>().await.unwrap(), checked_in);
}

#[tokio::test]
async fn every_operation_documents_the_statuses_that_it_was_seen_with() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let bytes = component(b"one");
    let document: Value = serde_json::from_str(control_api::server::openapi_json()).unwrap();
    let documented = |path: &str, method: &str| -> Vec<String> {
        let responses = &document["paths"][path][method]["responses"];
        responses.as_object().unwrap().keys().cloned().collect()
    };
    let upload = "/v1/tenants/{tenant}/modules/{module}";
    let mut seen = Vec::new();
    let good = node.statement(1, &bytes);
    for request in [
        node.upload(&good, &bytes),
        node.upload(&good, &bytes),
        node.upload(&node.statement(2, &bytes), &bytes)
            .header("prefer", "respond-async"),
        node.upload(&node.statement(1, b"other"), b"other"),
        node.upload(&node.statement(3, b"text"), b"text"),
        node.upload(&node.statement(3, b""), b""),
        node.upload(&good, &bytes)
            .header("content-type", "text/html"),
        node.upload(&node.statement(3, &bytes), &bytes)
            .header("if-match", "\"0\""),
    ] {
        seen.push(request.send().await.unwrap().status().as_u16().to_string());
    }
    assert_eq!(
        seen,
        ["201", "200", "202", "409", "422", "422", "415", "412"]
    );
    let listed = documented(upload, "put");
    for status in seen {
        assert!(listed.contains(&status), "{status} is not documented");
    }
}
