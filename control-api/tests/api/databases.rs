//! A tenant's SQL databases, from outside.

use control_api::auth::Scope;
use http::Method;
use serde_json::{Value, json};

use crate::support::{TestNode, refused};

const DATABASES: &str = "/v1/tenants/acme/databases";

#[tokio::test]
async fn databases_are_listed_asked_and_removed() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let listed = async || -> Value {
        let listed = node.get(DATABASES).send().await.unwrap();
        listed.json().await.unwrap()
    };
    let there = json!({"items": [{"name": "default", "bytes": 4096}]});
    assert_eq!(listed().await, there);
    let query = |database: &str, body: &Value| {
        let path = format!("{DATABASES}/{database}/query");
        node.post(&path).json(body)
    };
    let asked = query(
        "default",
        &json!({"statement": "SELECT 1", "parameters": [1, null]}),
    );
    let asked: Value = asked.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        asked,
        json!({"columns": ["statement"], "rows": [["SELECT 1"]], "last_insert_rowid": 0, "changes": 0})
    );
    let statement = json!({"statement": "SELECT 1"});
    refused(query("other", &statement), 404, "database-not-found").await;
    for body in [json!({}), json!({"statement": "SELECT 1", "more": 1})] {
        refused(query("default", &body), 422, "json-shape").await;
    }
    let path = format!("{DATABASES}/default");
    let gone = node.delete(&path).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    refused(node.delete(&path), 404, "database-not-found").await;
    assert_eq!(listed().await, json!({"items": []}));
    for scope in [Scope::Deploy, Scope::Read] {
        let token = node.token(&[scope], Some("acme"));
        let get = node.request(Method::GET, DATABASES, &token);
        refused(get, 403, "scope-insufficient").await;
    }
}
