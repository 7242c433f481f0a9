//! What guests keep, from outside.

use control_api::auth::Scope;
use http::Method;
use serde_json::{Value, json};

use crate::support::{TestNode, refused};

const KEYS: &str = "/v1/tenants/acme/stores/default/keys";

#[tokio::test]
async fn values_are_octets_under_any_key() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let path = format!("{KEYS}/a%2Fb%20%C3%A9");
    refused(node.get(&path), 404, "store-key-not-found").await;
    let octets: Vec<u8> = (0..=255).collect();
    let put = async || {
        node.put(&path)
            .body(octets.clone())
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(put().await, 201);
    assert_eq!(put().await, 204);
    let got = node.get(&path).send().await.unwrap();
    assert_eq!(got.headers()["content-type"], "application/octet-stream");
    assert_eq!(got.bytes().await.unwrap(), octets);
    let listed: Value = node.get(KEYS).send().await.unwrap().json().await.unwrap();
    assert_eq!(listed, json!({"items": [{"key": "a/b \u{e9}"}]}));
    let gone = node.delete(&path).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    refused(node.delete(&path), 404, "store-key-not-found").await;
    refused(node.get(&path), 404, "store-key-not-found").await;
}

#[tokio::test]
async fn keys_come_page_by_page() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    for key in ["a", "b", "c"] {
        node.put(&format!("{KEYS}/{key}"))
            .body("x")
            .send()
            .await
            .unwrap();
    }
    let page = node.get(&format!("{KEYS}?limit=2")).send().await.unwrap();
    assert_eq!(
        page.headers()["link"],
        format!("<{KEYS}?limit=2&after=b>; rel=\"next\"")
    );
    let rest: Value = node
        .get(&format!("{KEYS}?after=b"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(rest, json!({"items": [{"key": "c"}]}));
}

#[tokio::test]
async fn too_much_and_wrong_names_are_refused() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let large = node
        .put(&format!("{KEYS}/large"))
        .body(vec![0; (4 << 20) + 1]);
    refused(large, 413, "body-too-large").await;
    let long = format!("{KEYS}/{}", "k".repeat(1025));
    refused(node.put(&long).body("x"), 422, "value-invalid").await;
    refused(
        node.get("/v1/tenants/acme/stores/a%20b/keys"),
        400,
        "path-invalid",
    )
    .await;
    for scope in [Scope::Deploy, Scope::Read] {
        let token = node.token(&[scope], Some("acme"));
        let get = node.request(Method::GET, KEYS, &token);
        refused(get, 403, "scope-insufficient").await;
    }
}
