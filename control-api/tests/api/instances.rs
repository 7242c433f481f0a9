//! How a module's instances are used: a resource beside the module, under the module's revision.

use control_api::auth::Scope;
use control_api::view::{InstanceUse, Precondition};
use http::Method;
use serde_json::{Value, json};

use crate::support::{TestNode, component, refused};

const PATH: &str = "/v1/tenants/acme/modules/hello/instances";

async fn shown(node: &TestNode) -> (String, Value) {
    let answer = node.get(PATH).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    (tag, answer.json().await.unwrap())
}

async fn node() -> TestNode {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    node.module().await;
    node
}

#[tokio::test]
async fn instances_are_fresh_until_something_else_is_said() {
    let node = node().await;
    assert_eq!(shown(&node).await.1, json!({"mode": "fresh"}));
    let put = node.put(PATH).json(&json!({"mode": "reuse"}));
    let answer = put.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("location"));
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let defaults = json!({
        "mode": "reuse", "requests_max": 128, "idle_ms_max": 60_000, "concurrency_max": 1, "memory_mib_max": 32,
    });
    assert_eq!(answer.json::<Value>().await.unwrap(), defaults);
    assert_eq!(shown(&node).await, (tag, defaults.clone()));
    let module = node.get("/v1/tenants/acme/modules/hello").send().await;
    let module: Value = module.unwrap().json().await.unwrap();
    assert_eq!(module["instances"], defaults);

    // All of it is replaced.
    for figures in [json!({"requests_max": 7}), json!({"memory_mib_max": 1})] {
        let mut wanted = defaults.clone();
        let mut body = json!({"mode": "reuse"});
        for (name, value) in figures.as_object().unwrap() {
            wanted[name] = value.clone();
            body[name] = value.clone();
        }
        node.put(PATH).json(&body).send().await.unwrap();
        assert_eq!(shown(&node).await.1, wanted);
    }
}

#[tokio::test]
async fn the_modules_entity_tag_guards_it() {
    let node = node().await;
    let (tag, _) = shown(&node).await;
    let known = node.get(PATH).header("if-none-match", &tag);
    assert_eq!(known.send().await.unwrap().status(), 304);
    let put = || node.put(PATH).json(&json!({"mode": "reuse"}));
    let body = refused(put().header("if-none-match", "*"), 412, "already-there").await;
    assert_eq!(body["current"].to_string(), tag.trim_matches('"'));
    refused(
        put().header("if-match", "\"9999\""),
        412,
        "revision-mismatch",
    )
    .await;
    assert_eq!(shown(&node).await.0, tag);
    let changed = put().header("if-match", &tag).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    let (after, _) = shown(&node).await;
    assert_ne!(after, tag);
    refused(put().header("if-match", &tag), 412, "revision-mismatch").await;
    // Already so: nothing is written.
    assert_eq!(put().send().await.unwrap().headers()["etag"], after);

    let bytes = component(b"two");
    let next = node.upload(&node.statement(2, &bytes), &bytes);
    assert_eq!(next.send().await.unwrap().status(), 201);
    let (uploaded, kept) = shown(&node).await;
    assert_ne!(uploaded, after);
    assert_eq!(kept["mode"], "reuse", "an upload leaves it as it was");
}

#[tokio::test]
async fn what_is_not_allowed_is_named_and_changes_nothing() {
    let node = node().await;
    let before = shown(&node).await;
    for (body, field, said) in [
        (json!({"requests_max": 1}), "requests_max", "2 to 1000000"),
        (
            json!({"requests_max": 1_000_001}),
            "requests_max",
            "1000001 is out of range",
        ),
        (json!({"idle_ms_max": 99}), "idle_ms_max", "100 to 3600000"),
        (
            json!({"concurrency_max": 0}),
            "concurrency_max",
            "1 to 1000",
        ),
        (
            json!({"memory_mib_max": 65_537}),
            "memory_mib_max",
            "1 to 65536",
        ),
        (
            json!({"concurrency_max": 2}),
            "concurrency_max",
            "`wasi:http/proxy@0.2`",
        ),
    ] {
        let mut body = body;
        body["mode"] = "reuse".into();
        let refusal = refused(node.put(PATH).json(&body), 422, "value-invalid").await;
        assert_eq!(refusal["field"], field, "{body}");
        let detail = refusal["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{detail}");
    }
    for (body, said) in [
        (json!({}), "`mode`"),
        (json!({"mode": "pooled"}), "`fresh` or `reuse`"),
        (
            json!({"mode": "fresh", "requests_max": 2}),
            "`requests_max`",
        ),
        (json!({"mode": "reuse", "request_max": 2}), "`request_max`"),
        (json!({"mode": "reuse", "requests_max": "2"}), "\"2\""),
        (json!({"mode": "reuse", "requests_max": 2.5}), "2.5"),
        (json!([]), "object"),
    ] {
        let refusal = refused(node.put(PATH).json(&body), 422, "json-shape").await;
        let detail = refusal["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{detail}");
    }
    let dry = node.put(&format!("{PATH}?dry_run=true"));
    refused(dry.json(&json!({"mode": "fresh"})), 400, "query-invalid").await;
    assert_eq!(shown(&node).await, before);
}

#[tokio::test]
async fn it_goes_with_the_module() {
    let node = node().await;
    let put = || node.put(PATH).json(&json!({"mode": "reuse"}));
    put().send().await.unwrap();
    let gone = node.delete("/v1/tenants/acme/modules/hello").send().await;
    assert_eq!(gone.unwrap().status(), 204);
    refused(node.get(PATH), 404, "module-not-found").await;
    refused(put(), 404, "module-not-found").await;
    refused(put().header("if-match", "\"1\""), 404, "module-not-found").await;
    refused(node.delete(PATH), 405, "method-not-allowed").await;
    let bytes = component(b"two");
    let again = node.upload(&node.statement(2, &bytes), &bytes);
    assert_eq!(again.send().await.unwrap().status(), 201);
    assert_eq!(shown(&node).await.1, json!({"mode": "fresh"}));
}

#[tokio::test]
async fn a_publisher_may_set_it_and_a_reader_may_not() {
    let node = node().await;
    let put = |scope| {
        let token = node.token(&[scope], Some("acme"));
        let request = node.http.request(Method::PUT, node.url(PATH));
        request.bearer_auth(token).json(&json!({"mode": "reuse"}))
    };
    refused(put(Scope::Read), 403, "scope-insufficient").await;
    assert_eq!(shown(&node).await.1["mode"], "fresh");
    assert_eq!(put(Scope::Deploy).send().await.unwrap().status(), 200);
    assert_eq!(shown(&node).await.1["mode"], "reuse");
    let audit: Value = node
        .get("/v1/audit?limit=1")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(audit["items"][0]["action"], "module.instances");
}

#[tokio::test]
async fn the_client_reads_and_writes_it() {
    let node = node().await;
    let (client, tenant, module) = (
        node.client(),
        "acme".parse().unwrap(),
        "hello".parse().unwrap(),
    );
    let before = client.module_instances(&tenant, &module).await.unwrap();
    assert_eq!(before.value, InstanceUse::default());
    let precondition = Precondition::Revision(before.revision);
    let reuse = InstanceUse::reuse();
    let put = client
        .put_module_instances(&tenant, &module, &reuse, precondition)
        .await
        .unwrap();
    assert!(!put.created);
    assert_eq!(put.resource.value, reuse);
    let after = client.module(&tenant, &module).await.unwrap();
    assert_eq!(
        (after.revision, after.value.instances),
        (put.resource.revision, reuse)
    );
}
