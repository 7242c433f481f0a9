//! Every operation of the API document, tried with every scope, without a token, and with another tenant's.

use std::collections::{BTreeMap, BTreeSet};

use control_api::auth::Scope;
use http::Method;
use reqwest::RequestBuilder;
use serde_json::Value;

use crate::support::{TestNode, problem};

const ADMIN: &[&str] = &["node:admin"];
const NODE_READ: &[&str] = &["node:admin", "node:read"];
const SETTINGS: &[&str] = &["node:admin", "node:read", "tenant:admin", "read"];
const WORK: &[&str] = &["node:admin", "node:read", "tenant:admin", "deploy", "read"];
const DEPLOY: &[&str] = &["node:admin", "tenant:admin", "deploy"];
const OWNER: &[&str] = &["node:admin", "tenant:admin"];

/// Who may do what. A new operation needs a line here.
const ACCESS: &[(&str, &[&str])] = &[
    ("get_node", WORK),
    ("get_status", NODE_READ),
    ("reload_node", ADMIN),
    ("upgrade_node", ADMIN),
    ("list_audit", NODE_READ),
    ("take_backup", ADMIN),
    ("list_tenants", NODE_READ),
    ("list_holdings", NODE_READ),
    ("get_tenant", SETTINGS),
    ("put_tenant", ADMIN),
    ("delete_tenant", ADMIN),
    ("get_usage", WORK),
    ("give_receipt", OWNER),
    ("get_logs", WORK),
    ("list_keys", SETTINGS),
    ("get_key", SETTINGS),
    ("put_key", OWNER),
    ("delete_key", OWNER),
    ("list_certificates", SETTINGS),
    ("get_certificate", SETTINGS),
    ("put_certificate", OWNER),
    ("delete_certificate", OWNER),
    ("list_modules", WORK),
    ("get_module", WORK),
    ("upload_module", DEPLOY),
    ("delete_module", OWNER),
    ("get_module_grants", WORK),
    ("put_module_grants", OWNER),
    ("get_module_instances", WORK),
    ("put_module_instances", DEPLOY),
    ("list_store_keys", OWNER),
    ("get_store_value", OWNER),
    ("put_store_value", OWNER),
    ("delete_store_value", OWNER),
    ("list_databases", OWNER),
    ("delete_database", OWNER),
    ("query_database", OWNER),
    ("get_module_version", WORK),
    ("get_job", WORK),
    ("list_variables", SETTINGS),
    ("get_variable", SETTINGS),
    ("put_variable", OWNER),
    ("delete_variable", OWNER),
    ("list_routes", WORK),
    ("get_route", WORK),
    ("put_route", DEPLOY),
    ("delete_route", DEPLOY),
];

/// Open to everyone who reaches the listener. May only shrink.
const OPEN: &[&str] = &["get_healthz", "get_readyz", "get_metrics", "get_openapi"];

struct Operation {
    id: String,
    method: Method,
    path: String,
    open: bool,
    scopes: Vec<String>,
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(control_api::server::openapi_json()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap();
            operations.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                open: security.contains(&serde_json::json!({})),
                scopes: security
                    .iter()
                    .filter_map(|scheme| scheme["bearer"].as_array())
                    .flatten()
                    .map(|scope| scope.as_str().unwrap().to_owned())
                    .collect(),
            });
        }
    }
    operations
}

/// A path for a tenant that has a module, a key and a route; a new kind of parameter needs a line here.
fn fill(path: &str, tenant: &str, kid: &str) -> String {
    let filled = path
        .replace("{tenant}", tenant)
        .replace("{kid}", kid)
        .replace("{module}", "hello")
        .replace("{version}", "1")
        .replace("{store}", "default")
        .replace("{database}", "default")
        .replace("{key}", "visits")
        .replace("{certificate}", "shop")
        .replace("{job}", "job-1")
        .replace("{variable}", "greeting")
        .replace("{route}", "hello.localhost%2F");
    assert!(!filled.contains('{'), "{filled}");
    filled
}

fn request(node: &TestNode, operation: &Operation, tenant: &str) -> RequestBuilder {
    let path = fill(&operation.path, tenant, node.publisher.kid());
    node.http.request(operation.method.clone(), node.url(&path))
}

#[test]
fn every_operation_has_its_line() {
    let mut ids = BTreeSet::new();
    for operation in operations() {
        assert!(ids.insert(operation.id.clone()), "{} twice", operation.id);
        if operation.open {
            assert!(OPEN.contains(&operation.id.as_str()), "{}", operation.id);
            assert!(operation.scopes.is_empty());
        } else {
            let (_, scopes) = ACCESS
                .iter()
                .find(|(id, _)| *id == operation.id)
                .unwrap_or_else(|| panic!("{} has no access test", operation.id));
            assert_eq!(operation.scopes, *scopes, "{}", operation.id);
        }
    }
    let listed: BTreeSet<_> = ACCESS
        .iter()
        .map(|(id, _)| *id)
        .chain(OPEN.iter().copied())
        .map(str::to_owned)
        .collect();
    assert_eq!(ids, listed, "operations that are no more");
}

#[tokio::test]
async fn without_a_token_there_is_401_and_a_challenge() {
    let node = TestNode::start().await;
    for operation in operations().iter().filter(|operation| !operation.open) {
        let answer = request(&node, operation, "acme").send().await.unwrap();
        assert_eq!(answer.status(), 401, "{}", operation.id);
        assert_eq!(
            answer.headers()["www-authenticate"],
            r#"Bearer realm="littoral""#,
            "{}",
            operation.id
        );
        let (slug, _) = problem(answer).await;
        assert_eq!(slug, "token-missing");
    }
}

#[tokio::test]
async fn open_operations_need_no_token() {
    let node = TestNode::start().await;
    for operation in operations().iter().filter(|operation| operation.open) {
        let answer = request(&node, operation, "acme").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", operation.id);
    }
}

/// Reads that leave nothing behind answer 200 where they may; changes are tried without what they need, so that an
/// allowed one fails for another reason than access.
#[tokio::test]
async fn each_scope_opens_what_it_should_and_nothing_else() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    for operation in operations().iter().filter(|operation| !operation.open) {
        for scope in Scope::ALL {
            let token = node.token(&[*scope], scope.is_of_tenant().then_some("acme"));
            let request = match operation.method {
                Method::DELETE => request(&node, operation, "acme").header("if-match", "\"0\""),
                _ => request(&node, operation, "acme"),
            };
            let answer = request.bearer_auth(token).send().await.unwrap();
            let status = answer.status().as_u16();
            let allowed = operation.scopes.iter().any(|s| s == scope.as_str());
            let place = format!("{} with {scope}: {status}", operation.id);
            if allowed {
                assert!(![401, 403, 500].contains(&status), "{place}");
            } else {
                assert_eq!(status, 403, "{place}");
                let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
                assert!(
                    challenge.contains(r#"error="insufficient_scope""#),
                    "{place}"
                );
                assert!(challenge.contains(&operation.scopes.join(" ")), "{place}");
                let (slug, body) = problem(answer).await;
                assert_eq!(slug, "scope-insufficient");
                assert_eq!(body["scopes"], serde_json::json!(operation.scopes));
            }
        }
    }
}

#[tokio::test]
async fn another_tenants_token_sees_what_is_not_there() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    node.tenant("other").await;
    let mut tried = 0;
    for operation in operations() {
        if !operation.path.contains("{tenant}") {
            continue;
        }
        for scope in [Scope::TenantAdmin, Scope::Deploy, Scope::Read] {
            let token = node.token(&[scope], Some("other"));
            let ask = async |tenant: &str| {
                let request = request(&node, &operation, tenant).bearer_auth(&token);
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 404, "{} with {scope}", operation.id);
                let headers: BTreeMap<_, _> = answer
                    .headers()
                    .iter()
                    .filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()))
                    .map(|(name, value)| (name.to_string(), value.clone()))
                    .collect();
                let (slug, mut body) = problem(answer).await;
                assert_eq!(slug, "tenant-not-found", "{}", operation.id);
                body["request_id"] = "".into();
                (headers, body.to_string().replace(tenant, "TENANT"))
            };
            // One that is there and one that is not, of the same length: nothing tells them apart.
            assert_eq!(ask("acme").await, ask("acne").await, "{}", operation.id);
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried}");
}

#[tokio::test]
async fn a_tenants_scope_without_a_tenant_is_403() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let token = crate::tokens::sign(
        &node,
        &serde_json::json!({"alg": "EdDSA", "kid": node.issuer.kid()}),
        &crate::tokens::claims(&node, serde_json::json!({"scope": "read"})),
    );
    let answer = node
        .http
        .get(node.url("/v1/tenants/acme/usage"))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 403);
    let (slug, body) = problem(answer).await;
    assert_eq!(slug, "scope-insufficient");
    assert!(body["detail"].as_str().unwrap().contains("`tenant` claim"));
}

/// The README's table is the same as the one above.
#[test]
fn the_readme_says_the_same() {
    let mut table = String::from("| Operation | Path | Any one of |\n| --- | --- | --- |\n");
    for operation in operations() {
        let scopes: Vec<_> = operation
            .scopes
            .iter()
            .map(|scope| format!("`{scope}`"))
            .collect();
        let scopes = if operation.open {
            "open".to_owned()
        } else {
            scopes.join(", ")
        };
        table.push_str(&format!(
            "| `{}` | `{} {}` | {scopes} |\n",
            operation.id, operation.method, operation.path
        ));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- scopes -->\n", "<!-- /scopes -->\n");
    let (head, rest) = readme.split_once(begin).unwrap();
    let (found, tail) = rest.split_once(end).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, format!("{head}{begin}{table}{end}{tail}")).unwrap();
        return;
    }
    assert_eq!(found, table, "run with UPDATE=1");
}
