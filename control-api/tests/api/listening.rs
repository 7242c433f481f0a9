//! Sockets: where the API listens, and whom it lets go.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::time::Duration;

use control_api::auth::{AuthOptions, Authenticator, system_clock};
use control_api::client::Client;
use control_api::server::{ApiOptions, ListenError, ListenOptions, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{PATIENCE, Setup, TestNode};

fn with(change: impl FnOnce(&mut ListenOptions)) -> Setup {
    let mut setup = Setup::default();
    change(&mut setup.listen);
    setup
}

/// What another server over the same plane would stand on.
pub(crate) fn api(node: &TestNode) -> ApiOptions {
    let options = AuthOptions {
        audience: "n".to_owned(),
        issuers: Vec::new(),
        jwks_files: Vec::new(),
        jwks_files_every: PATIENCE,
        jwks_url: None,
        lifetime_s_max: 1,
        clock_skew_s: 0,
    };
    let authenticator = Authenticator::new(options, system_clock()).unwrap();
    ApiOptions::new(
        node.plane.clone(),
        Arc::new(authenticator),
        node.tracker.clone(),
    )
}

#[tokio::test]
async fn a_unix_socket_serves_its_group_and_replaces_a_stale_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    // Left behind by a process that is gone.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let node = TestNode::start_with(with(|listen| listen.unix = Some(path.clone()))).await;
    let meta = std::fs::metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    let admin = format!("unix:{}", path.display());
    let client = Client::new(&admin, Some(node.admin_token())).unwrap();
    assert_eq!(client.status().await.unwrap().node, "edge-1");
    node.stop().await;
    assert!(!path.exists(), "the socket file is removed");
}

#[tokio::test]
async fn what_is_no_stale_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let node = TestNode::start().await;
    let bind = |path: &std::path::Path| {
        let listen = ListenOptions {
            unix: Some(path.to_owned()),
            ..ListenOptions::default()
        };
        Server::bind(listen, api(&node))
    };
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(&path), Err(ListenError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    let _alive = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(bind(&path), Err(ListenError::InUse { .. })));
}

#[tokio::test]
async fn listeners_that_are_open_already_are_served() {
    let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = open.local_addr().unwrap();
    let node = TestNode::start_with(with(|listen| {
        listen.tcp = None;
        listen.tcp_open.push(open);
    }))
    .await;
    assert_eq!(node.addr, addr);
    let client = Client::new(&format!("http://{addr}"), None).unwrap();
    client.alive().await.unwrap();
}

#[tokio::test]
async fn only_loopback_is_bound() {
    let node = TestNode::start().await;
    let address = "0.0.0.0:0".parse().unwrap();
    let listen = ListenOptions {
        tcp: Some(address),
        ..ListenOptions::default()
    };
    assert!(matches!(
        Server::bind(listen, api(&node)),
        Err(ListenError::NotLoopback { .. })
    ));
    assert!(matches!(
        Server::bind(ListenOptions::default(), api(&node)),
        Err(ListenError::Nowhere)
    ));
}

#[tokio::test]
async fn a_client_that_sends_no_headers_is_let_go() {
    let node = TestNode::start_with(with(|listen| {
        listen.header_timeout = Duration::from_millis(50);
    }))
    .await;
    let mut stream = TcpStream::connect(node.addr).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhos")
        .await
        .unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("the node closes the connection")
        .unwrap();
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let node = TestNode::start_with(with(|listen| listen.connections_max = 1)).await;
    let ask = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = TcpStream::connect(node.addr).await.unwrap();
    first.write_all(ask).await.unwrap();
    let mut answer = [0; 15];
    timeout(PATIENCE, first.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let mut second = TcpStream::connect(node.addr).await.unwrap();
    second.write_all(ask).await.unwrap();
    let early = timeout(Duration::from_millis(100), second.read_exact(&mut answer)).await;
    assert!(early.is_err(), "the only place is taken");
    drop(first);
    timeout(PATIENCE, second.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn headers_are_bounded() {
    let node = TestNode::start().await;
    let long = "a".repeat(200 * 1024);
    let answer = node
        .get("/v1/status")
        .header("x-long", long)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 431);
    let mut request = node.get("/v1/status");
    for number in 0..100 {
        request = request.header(format!("x-{number}"), "1");
    }
    assert_eq!(request.send().await.unwrap().status(), 431);
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_end() {
    let node = TestNode::start().await;
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    *node.plane.gate.lock().unwrap() = Some(std::sync::Arc::clone(&gate));
    let put = node.put("/v1/tenants/acme").json(&serde_json::json!({}));
    let answer = tokio::spawn(put.send());
    timeout(PATIENCE, node.plane.at_gate.notified())
        .await
        .unwrap();
    node.begin_stop();
    gate.notify_one();
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), 201);
    node.stop().await;
}

#[test]
fn the_configuration_is_taken_over() {
    let environment: [(&str, &str); 0] = [];
    let text = r#"
        [node]
        name = "edge-7"
        [admin]
        listen = "127.0.0.1:7777"
        unix_socket = "/run/littoral/admin.sock"
        [auth]
        issuers = ["one", "two"]
        jwks_url = "https://id.example/jwks.json"
        token_lifetime_s_max = 120
    "#;
    let config = edge_config::Config::parse(text, environment).unwrap();
    let listen = ListenOptions::from_config(&config);
    assert_eq!(listen.tcp, Some(([127, 0, 0, 1], 7777).into()));
    assert_eq!(
        listen.unix.as_deref(),
        Some(std::path::Path::new("/run/littoral/admin.sock"))
    );
    let auth = AuthOptions::from_config(&config).unwrap();
    assert_eq!(auth.audience, "edge-7");
    assert_eq!(auth.issuers, ["one", "two"]);
    assert_eq!(auth.lifetime_s_max, 120);
    let url = auth.jwks_url.unwrap();
    assert_eq!(url.url.as_str(), "https://id.example/jwks.json");
    assert_eq!(url.refresh_every, Duration::from_secs(300));
}
