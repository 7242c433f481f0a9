//! Uploads: statement first, bytes only when asked for, changes that outlive their client.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use control_api::auth::Scope;
use control_api::client::{Component, UploadAnswer, UploadRequest};
use control_api::keypair::PrivateKey;
use control_api::statement::sign;
use control_api::view::{JobState, Precondition};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::{NOW, PATIENCE, TestNode, component, problem, refused};

#[tokio::test]
async fn an_upload_is_accepted_and_repeating_it_is_harmless() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let bytes = component(b"one");
    let statement = node.statement(7, &bytes);
    let made = node.upload(&statement, &bytes).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let place = "/v1/tenants/acme/modules/hello/versions/7";
    assert_eq!(made.headers()["location"], place);
    assert_eq!(made.headers()["content-location"], place);
    let tag = made.headers()["etag"].clone();
    let version: Value = made.json().await.unwrap();
    assert_eq!(version["digest"], statement.digest.to_string());

    let again = node.upload(&statement, &bytes).send().await.unwrap();
    assert_eq!(again.status(), 200);
    assert_eq!(again.headers()["etag"], tag);
    let shown = node.get(place).send().await.unwrap();
    assert_eq!(shown.headers()["etag"], tag);
    assert_eq!(shown.json::<Value>().await.unwrap(), version);
}

#[tokio::test]
async fn each_bad_statement_has_its_own_problem() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let bytes = component(b"one");
    let good = node.statement(5, &bytes);
    let stranger = PrivateKey::generate().unwrap();
    let with = |text: String| {
        node.put("/v1/tenants/acme/modules/hello")
            .header("module-signature", text)
            .body(bytes.clone())
    };
    let change = |change: &dyn Fn(&mut control_api::statement::Statement)| {
        let mut statement = good.clone();
        change(&mut statement);
        with(sign(&node.publisher, &statement))
    };
    let bare = node
        .put("/v1/tenants/acme/modules/hello")
        .body(bytes.clone());
    refused(bare, 400, "statement-missing").await;
    refused(with("x.y".to_owned()), 400, "statement-malformed").await;
    let text = sign(&node.publisher, &good);
    let twice = with(text.clone()).header("module-signature", &text);
    refused(twice, 400, "statement-malformed").await;
    refused(with("a".repeat(9000)), 400, "statement-malformed").await;
    let (_, rest) = text.split_once('.').unwrap();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"k"}"#);
    refused(with(format!("{none}.{rest}")), 400, "statement-algorithm").await;
    refused(with(sign(&stranger, &good)), 403, "publisher-unknown").await;
    let (head, _) = text.rsplit_once('.').unwrap();
    let forged = sign(&stranger, &good);
    let forged = format!("{head}.{}", forged.rsplit_once('.').unwrap().1);
    refused(with(forged), 403, "signature-invalid").await;
    refused(
        change(&|s| s.tenant = "other".parse().unwrap()),
        403,
        "statement-wrong-tenant",
    )
    .await;
    refused(
        change(&|s| s.module = "other".parse().unwrap()),
        403,
        "statement-wrong-module",
    )
    .await;
    refused(
        change(&|s| (s.iat, s.exp) = (NOW - 900, NOW - 300)),
        403,
        "statement-expired",
    )
    .await;
    refused(
        change(&|s| s.iat = NOW + 300),
        403,
        "statement-not-yet-valid",
    )
    .await;
    refused(change(&|s| s.exp = NOW + 90_000), 403, "statement-lifetime").await;
    assert_eq!(
        node.upload(&good, &bytes).send().await.unwrap().status(),
        201
    );
    let other = component(b"two");
    let body = refused(
        node.upload(&node.statement(5, &other), &other),
        409,
        "version-not-above",
    )
    .await;
    assert_eq!(body["highest"], 5);
    let body = refused(
        node.upload(&node.statement(6, &other), &bytes),
        422,
        "digest-mismatch",
    )
    .await;
    assert_eq!(body["actual"], good.digest.to_string());
}

#[tokio::test]
async fn bodies_that_are_no_components_are_refused() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    for (bytes, slug) in [
        (&b""[..], "body-empty"),
        (b"hello", "not-a-component"),
        (b"\0asm\x01\0\0\0", "not-a-component"),
        (b"\0asm", "not-a-component"),
    ] {
        refused(node.upload(&node.statement(1, bytes), bytes), 422, slug).await;
    }
}

#[tokio::test]
async fn only_wasm_is_taken_for_wasm() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let bytes = component(b"one");
    let good = node.statement(1, &bytes);
    for content_type in ["text/html", "application/json", "multipart/form-data"] {
        let request = node
            .upload(&good, &bytes)
            .header("content-type", content_type);
        refused(request, 415, "content-type-unsupported").await;
    }
    let zipped = node
        .upload(&good, &bytes)
        .header("content-encoding", "gzip");
    refused(zipped, 415, "content-type-unsupported").await;
    for content_type in ["application/wasm", "application/octet-stream"] {
        let request = node
            .upload(&good, &bytes)
            .header("content-type", content_type);
        assert!(request.send().await.unwrap().status().is_success());
    }
}

#[tokio::test]
async fn an_asynchronous_upload_is_a_job() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let bytes = component(b"one");
    let request = node
        .upload(&node.statement(1, &bytes), &bytes)
        .header("prefer", "wait=10, Respond-Async");
    let accepted = request.send().await.unwrap();
    assert_eq!(accepted.status(), 202);
    assert_eq!(accepted.headers()["preference-applied"], "respond-async");
    assert_eq!(accepted.headers()["retry-after"], "1");
    let place = accepted.headers()["location"].to_str().unwrap().to_owned();
    let job: Value = accepted.json().await.unwrap();
    assert_eq!(
        (&job["state"], &job["position"]),
        (&"queued".into(), &1.into())
    );
    let mut states = Vec::new();
    for _ in 0..3 {
        let job: Value = node.get(&place).send().await.unwrap().json().await.unwrap();
        states.push(job["state"].as_str().unwrap().to_owned());
    }
    assert_eq!(states, ["compiling", "done", "done"]);
    // Another tenant does not see it.
    node.tenant("other").await;
    let elsewhere = place.replace("acme", "other");
    refused(node.get(&elsewhere), 404, "job-not-found").await;
}

#[tokio::test]
async fn a_job_fails_with_the_problem_of_a_synchronous_upload() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let request = UploadRequest {
        tenant: "acme".parse().unwrap(),
        module: "hello".parse().unwrap(),
        statement: Some(sign(&node.publisher, &node.statement(1, b"text"))),
        component: Component::Bytes(Bytes::from_static(b"text")),
        precondition: Precondition::None,
        respond_async: true,
    };
    let client = node.client();
    let UploadAnswer::Accepted(mut job) = client.upload(&request, |_| {}).await.unwrap() else {
        panic!("it was not deferred");
    };
    for _ in 0..2 {
        job = client.job(&request.tenant, &job.id).await.unwrap();
    }
    let JobState::Failed { problem } = job.state else {
        panic!("{job:?}");
    };
    assert_eq!(problem.kind().unwrap().slug(), "not-a-component");
}

#[tokio::test]
async fn a_dry_run_needs_no_statement_and_keeps_nothing() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let bytes = component(b"one");
    let path = "/v1/tenants/acme/modules/hello?dry_run=true";
    let answer = node.put(path).body(bytes.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["accepted"], true);
    assert_eq!(body["inspection"]["imports"][0]["granted"], true);
    let answer = node.put(path).body("text").send().await.unwrap();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["accepted"], false);
    let slug = format!("{}not-a-component", control_api::problem::TYPE_BASE);
    assert_eq!(body["problems"][0]["type"], slug);
    refused(
        node.get("/v1/tenants/acme/modules/hello"),
        404,
        "module-not-found",
    )
    .await;
}

/// A dry run once looked at neither conditions nor suspension, and said of uploads that they would be accepted.
#[tokio::test]
async fn a_dry_run_says_what_would_stand_in_the_way_whatever_the_bytes() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    node.module().await;
    let dry = |module: &str| {
        let path = format!("/v1/tenants/acme/modules/{module}?dry_run=true");
        node.put(&path).body(component(b"two"))
    };
    let first_problem = async |request: reqwest::RequestBuilder| {
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(body["accepted"], false, "{body}");
        let uri = body["problems"][0]["type"].as_str().unwrap().to_owned();
        uri.rsplit('/').next().unwrap().to_owned()
    };
    let absent = dry("hello").header("if-none-match", "*");
    assert_eq!(first_problem(absent).await, "already-there");
    let stale = dry("hello").header("if-match", "\"999\"");
    assert_eq!(first_problem(stale).await, "revision-mismatch");
    let settings = |json: Value| node.put("/v1/tenants/acme").json(&json).send();
    settings(serde_json::json!({"limits": {"modules_max": 1}}))
        .await
        .unwrap();
    assert_eq!(first_problem(dry("second")).await, "limit-reached");
    settings(serde_json::json!({"suspended": true}))
        .await
        .unwrap();
    assert_eq!(first_problem(dry("hello")).await, "tenant-suspended");
}

fn head(node: &TestNode, statement: &str, more: &str) -> String {
    format!(
        "PUT /v1/tenants/acme/modules/hello HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         module-signature: {statement}\r\n{more}\r\n",
        node.addr,
        node.token(&[Scope::Deploy], Some("acme")),
    )
}

async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = Vec::new();
    timeout(PATIENCE, async {
        while !String::from_utf8_lossy(&text).contains(wanted) {
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).await.unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&chunk[..count]);
        }
    })
    .await
    .expect(wanted);
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on_only_for_a_good_statement() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let bytes = component(b"one");
    let good = sign(&node.publisher, &node.statement(1, &bytes));
    let expect = format!(
        "content-length: {}\r\nexpect: 100-continue\r\n",
        bytes.len()
    );

    let mut stream = TcpStream::connect(node.addr).await.unwrap();
    let request = head(&node, &good, &expect);
    stream.write_all(request.as_bytes()).await.unwrap();
    let text = read_until(&mut stream, "\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 100 "), "{text}");
    stream.write_all(&bytes).await.unwrap();
    let text = read_until(&mut stream, "\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 201 "), "{text}");

    let mut stream = TcpStream::connect(node.addr).await.unwrap();
    let request = head(&node, "a.b.c", &expect);
    stream.write_all(request.as_bytes()).await.unwrap();
    let text = read_until(&mut stream, "\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
}

#[tokio::test]
async fn too_large_a_body_is_refused_by_its_length_and_the_answer_arrives() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    // The client sends all 100 MiB, whatever the answer.
    let chunk = Bytes::from(vec![0; 1024 * 1024]);
    let chunks = (0..100).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
    let request = node
        .put("/v1/tenants/acme/modules/hello")
        .header(
            "module-signature",
            sign(&node.publisher, &node.statement(1, b"")),
        )
        .header("content-length", 100 * 1024 * 1024)
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter(
            chunks,
        )));
    let body = refused(request, 413, "body-too-large").await;
    assert_eq!(body["bytes_max"], 16 * 1024 * 1024);
}

#[tokio::test]
async fn an_endless_body_is_cut_off_at_the_limit() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let chunk = Bytes::from(vec![0; 64 * 1024]);
    let endless = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
    let request = node
        .put("/v1/tenants/acme/modules/hello")
        .header(
            "module-signature",
            sign(&node.publisher, &node.statement(1, b"")),
        )
        .body(reqwest::Body::wrap_stream(endless));
    refused(request, 413, "body-too-large").await;
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let bytes = component(b"one");
    let statement = sign(&node.publisher, &node.statement(1, &bytes));
    let mut stream = TcpStream::connect(node.addr).await.unwrap();
    let request = head(&node, &statement, "content-length: 1000\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    drop(stream);
    node.tracker.close();
    timeout(PATIENCE, node.tracker.wait()).await.unwrap();
    refused(
        node.get("/v1/tenants/acme/modules/hello"),
        404,
        "module-not-found",
    )
    .await;
}

#[tokio::test]
async fn a_change_goes_on_when_its_client_hangs_up() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let gate = Arc::new(Notify::new());
    *node.plane.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let bytes = component(b"one");
    let statement = sign(&node.publisher, &node.statement(1, &bytes));
    let mut stream = TcpStream::connect(node.addr).await.unwrap();
    let length = format!("content-length: {}\r\n", bytes.len());
    let request = head(&node, &statement, &length);
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    timeout(PATIENCE, node.plane.at_gate.notified())
        .await
        .unwrap();
    drop(stream);
    gate.notify_one();
    node.tracker.close();
    timeout(PATIENCE, node.tracker.wait()).await.unwrap();
    let module = node
        .get("/v1/tenants/acme/modules/hello")
        .send()
        .await
        .unwrap();
    assert_eq!(module.status(), 200);
}

#[tokio::test]
async fn the_client_streams_a_file_and_counts_its_bytes() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let bytes = component(&vec![7; 300_000]);
    let path = node.folder.path().join("component.wasm");
    std::fs::write(&path, &bytes).unwrap();
    let request = UploadRequest {
        tenant: "acme".parse().unwrap(),
        module: "hello".parse().unwrap(),
        statement: Some(sign(&node.publisher, &node.statement(1, &bytes))),
        component: Component::File(path),
        precondition: Precondition::Absent,
        respond_async: false,
    };
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let progress = move |sent| log.lock().unwrap().push(sent);
    let answer = node.client().upload(&request, progress).await.unwrap();
    let UploadAnswer::Done { version, created } = answer else {
        panic!("{answer:?}");
    };
    assert!(created);
    assert_eq!(version.value.component_bytes, bytes.len() as u64);
    let seen = seen.lock().unwrap().clone();
    assert!(seen.len() > 2 && seen.is_sorted(), "{seen:?}");
    assert_eq!(seen.last(), Some(&(bytes.len() as u64)));
    // A second time it is there already, by this very upload: that is what the client wanted, `Absent` or not.
    let answer = node.client().upload(&request, |_| {}).await.unwrap();
    assert!(matches!(answer, UploadAnswer::Done { created: false, .. }));
}

#[tokio::test]
async fn a_suspended_tenants_upload_is_refused() {
    let node = TestNode::start().await;
    node.tenant("acme").await;
    let suspend = node
        .put("/v1/tenants/acme")
        .json(&serde_json::json!({"suspended": true}));
    suspend.send().await.unwrap();
    let bytes = component(b"one");
    let answer = timeout(
        Duration::from_secs(20),
        node.upload(&node.statement(1, &bytes), &bytes).send(),
    )
    .await
    .unwrap()
    .unwrap();
    assert_eq!(answer.status(), 409);
    assert_eq!(problem(answer).await.0, "tenant-suspended");
}
