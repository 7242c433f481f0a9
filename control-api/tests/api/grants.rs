//! What a module's guests are granted: a resource beside the module, under the module's revision.

use control_api::auth::Scope;
use http::Method;
use serde_json::{Value, json};

use crate::support::{TestNode, refused};

const PATH: &str = "/v1/tenants/acme/modules/hello/grants";

async fn node() -> TestNode {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    node.module().await;
    node
}

async fn shown(node: &TestNode) -> Value {
    let answer = node.get(PATH).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

#[tokio::test]
async fn nothing_is_granted_until_it_is_and_all_of_it_is_replaced() {
    let node = node().await;
    let nothing = json!({
        "key_value": [], "databases": [], "variables": [], "outbound": [], "networks": [], "environment": {},
    });
    assert_eq!(shown(&node).await, nothing);
    let mut wanted = nothing.clone();
    for (field, value) in [
        ("key_value", json!(["default", "cache"])),
        ("databases", json!(["default", "orders"])),
        (
            "outbound",
            json!(["https://*.example.com", "redis://10.0.0.1"]),
        ),
        ("networks", json!(["10.0.0.0/8"])),
        ("variables", json!(["db_url"])),
        ("environment", json!({"A": "b"})),
    ] {
        let put = node
            .put(PATH)
            .json(&json!({field: value}))
            .send()
            .await
            .unwrap();
        assert_eq!(put.status(), 200, "{field}");
        wanted = nothing.clone();
        wanted[field] = value;
        assert_eq!(put.json::<Value>().await.unwrap(), wanted);
        assert_eq!(shown(&node).await, wanted);
    }
    let module = node
        .get("/v1/tenants/acme/modules/hello")
        .send()
        .await
        .unwrap();
    assert_eq!(module.json::<Value>().await.unwrap()["grants"], wanted);
}

#[tokio::test]
async fn what_is_no_grant_is_named() {
    let node = node().await;
    for (body, status, problem, said) in [
        (
            json!({"sockets": true}),
            422,
            "json-shape",
            "`sockets`, expected one of `key_value`",
        ),
        (
            json!({"key_value": ["a/b"]}),
            422,
            "json-shape",
            "store name \"a/b\" contains '/'",
        ),
        (
            json!({"outbound": ["example.com"]}),
            422,
            "json-shape",
            "has no scheme",
        ),
        (
            json!({"networks": ["10.0.0.1/8"]}),
            422,
            "json-shape",
            "has bits set beyond",
        ),
        (
            json!({"key_value": ["a", "a"]}),
            422,
            "value-invalid",
            "is there twice",
        ),
    ] {
        let body = refused(node.put(PATH).json(&body), status, problem).await;
        assert!(body["detail"].as_str().unwrap().contains(said), "{body}");
    }
}

/// Who may deploy may not give what is deployed more than it has.
#[tokio::test]
async fn a_deployers_token_grants_nothing() {
    let node = node().await;
    let deploy = node.token(&[Scope::Deploy], Some("acme"));
    let put = node.request(Method::PUT, PATH, &deploy);
    refused(
        put.json(&json!({"key_value": ["default"]})),
        403,
        "scope-insufficient",
    )
    .await;
    let get = node
        .request(Method::GET, PATH, &deploy)
        .send()
        .await
        .unwrap();
    assert_eq!(get.status(), 200);
}
