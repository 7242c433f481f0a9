//! Variables: whose they are, and that a secret comes out of nothing.

use serde_json::{Value, json};

use crate::support::{TestNode, refused};

const SECRET: &str = "correct horse battery staple";

#[tokio::test]
async fn a_variable_is_the_tenants_or_one_modules() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    node.module().await;
    for (path, id, location) in [
        ("greeting", "greeting", "greeting"),
        ("hello%2Fgreeting", "hello/greeting", "hello%2Fgreeting"),
    ] {
        let path = format!("/v1/tenants/acme/variables/{path}");
        let put = |value: &str| node.put(&path).json(&json!({"value": value}));
        let made = put("one").send().await.unwrap();
        assert_eq!(made.status(), 201);
        let location = format!("/v1/tenants/acme/variables/{location}");
        assert_eq!(made.headers()["location"], location.as_str());
        let first = made.headers()["etag"].clone();
        let body: Value = made.json().await.unwrap();
        assert_eq!(
            (&body["id"], &body["secret"], &body["value"]),
            (&json!(id), &json!(false), &json!("one"))
        );
        let same = put("one").send().await.unwrap();
        assert_eq!(same.headers()["etag"], first);
        let other = put("two").send().await.unwrap();
        assert_eq!(other.status(), 200);
        assert_ne!(other.headers()["etag"], first);
    }
    let list = node.get("/v1/tenants/acme/variables?limit=1");
    let list: Value = list.send().await.unwrap().json().await.unwrap();
    assert_eq!(list["items"][0]["id"], "greeting");
    assert_eq!(list["next_after"], "greeting");
    let rest = node.get("/v1/tenants/acme/variables?after=greeting");
    let rest: Value = rest.send().await.unwrap().json().await.unwrap();
    assert_eq!(rest["items"][0]["id"], "hello/greeting");
    assert!(rest.get("next_after").is_none());

    let body = json!({"value": ""});
    let absent = node.put("/v1/tenants/acme/variables/absent%2Fgreeting");
    refused(absent.json(&body), 404, "module-not-found").await;
    for path in ["Greeting", "db-url", "hello%2F", "a%2Fb%2Fc", "Hello%2Fa"] {
        let path = format!("/v1/tenants/acme/variables/{path}");
        refused(node.put(&path).json(&body), 400, "path-invalid").await;
    }
    let none = node.get("/v1/tenants/acme/variables/none");
    refused(none, 404, "variable-not-found").await;
}

#[tokio::test]
async fn a_secret_goes_in_and_never_comes_out() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let path = "/v1/tenants/acme/variables/password";
    let body = json!({"value": SECRET, "secret": true});
    let mut tags = Vec::new();
    // To write it again is a change: "it was so already" would tell who guesses that they guessed right.
    for status in [201, 200] {
        let put = node.put(path).json(&body).send().await.unwrap();
        assert_eq!(put.status(), status);
        tags.push(put.headers()["etag"].clone());
        let text = put.text().await.unwrap();
        assert!(!text.contains(SECRET) && !text.contains("value"), "{text}");
    }
    assert_ne!(tags[0], tags[1]);
    for path in [
        path,
        "/v1/tenants/acme/variables",
        "/v1/tenants/acme/usage",
        "/v1/audit",
    ] {
        let answer = node.get(path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains(SECRET), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_refusal_does_not_repeat_the_value() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let path = "/v1/tenants/acme/variables/password";
    let put = |body: &Value| node.put(path).json(body);
    let long = SECRET.repeat(1000);
    for (body, kind) in [
        (json!({"value": 47_114_711, "secret": true}), "json-shape"),
        (json!({"value": [SECRET], "secret": true}), "json-shape"),
        (json!({"value": {"is": SECRET}}), "json-shape"),
        (json!({"secret": true}), "json-shape"),
        (json!({"value": SECRET, "hidden": true}), "json-shape"),
        (json!({"value": long, "secret": true}), "value-invalid"),
    ] {
        let said = refused(put(&body), 422, kind).await.to_string();
        assert!(!said.contains(SECRET) && !said.contains("4711"), "{said}");
    }
    let said = refused(put(&json!({"value": long})), 422, "value-invalid").await;
    assert_eq!(
        said["detail"],
        "`value`: it has 28000 bytes; allowed: 16384"
    );
    let at_most = json!({"value": "v".repeat(16 << 10)});
    assert_eq!(put(&at_most).send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn as_many_as_the_limit_says() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    node.put("/v1/tenants/acme")
        .json(&json!({"limits": {"variables_max": 1}}))
        .send()
        .await
        .unwrap();
    let put = |name: &str| {
        node.put(&format!("/v1/tenants/acme/variables/{name}"))
            .json(&json!({"value": name}))
    };
    assert_eq!(put("one").send().await.unwrap().status(), 201);
    let said = refused(put("two"), 409, "limit-reached").await;
    assert_eq!(
        (&said["limit"], &said["most"]),
        (&json!("variables_max"), &json!(1))
    );
    // Replacing is no more.
    assert_eq!(put("one").send().await.unwrap().status(), 200);
}
