//! A node without a daemon: the real server on a real socket, over a plane in memory.

pub(crate) mod plane;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use control_api::auth::{AuthOptions, Authenticator, Scope};
use control_api::client::Client;
use control_api::keypair::{PrivateKey, jwks_document};
use control_api::server::{ApiOptions, ListenOptions, Server};
use control_api::statement::{Statement, sign};
use control_api::token::{TokenRequest, mint};
use control_api::view::{Precondition, TenantWrite};
use edge_config::{Digest, TenantName};
use http::Method;
use plane::MemoryPlane;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) const NODE: &str = "edge-1";
pub(crate) const ISSUER: &str = "littoral";
pub(crate) const NOW: u64 = 1_790_000_000;
/// Longest wait for anything that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const LIFETIME_S_MAX: u64 = 3600;

pub(crate) struct TestNode {
    pub(crate) addr: SocketAddr,
    pub(crate) plane: Arc<MemoryPlane>,
    pub(crate) issuer: PrivateKey,
    pub(crate) publisher: PrivateKey,
    pub(crate) now: Arc<AtomicU64>,
    pub(crate) tracker: TaskTracker,
    pub(crate) folder: TempDir,
    pub(crate) http: reqwest::Client,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

pub(crate) struct Setup {
    pub(crate) now: u64,
    pub(crate) listen: ListenOptions,
    pub(crate) change_api: fn(&mut ApiOptions),
    pub(crate) change_auth: Box<dyn FnOnce(&mut AuthOptions)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            now: NOW,
            listen: ListenOptions {
                tcp: Some(([127, 0, 0, 1], 0).into()),
                ..ListenOptions::default()
            },
            change_api: |_| {},
            change_auth: Box::new(|_| {}),
        }
    }
}

impl TestNode {
    pub(crate) async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    pub(crate) async fn start_with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issuer = PrivateKey::generate().unwrap();
        let jwks = folder.path().join("jwks.json");
        std::fs::write(&jwks, jwks_document(&[issuer.public()])).unwrap();
        let now = Arc::new(AtomicU64::new(setup.now));
        let mut auth = AuthOptions {
            audience: NODE.to_owned(),
            issuers: vec![ISSUER.to_owned()],
            jwks_files: vec![jwks],
            jwks_files_every: PATIENCE,
            jwks_url: None,
            lifetime_s_max: LIFETIME_S_MAX,
            clock_skew_s: 30,
        };
        (setup.change_auth)(&mut auth);
        let clock = Arc::clone(&now);
        let clock: control_api::auth::Clock = Arc::new(move || clock.load(Ordering::Relaxed));
        let authenticator = Arc::new(Authenticator::new(auth, clock).unwrap());
        let plane = MemoryPlane::new(setup.now);
        let tracker = TaskTracker::new();
        let mut api = ApiOptions::new(plane.clone(), authenticator, tracker.clone());
        (setup.change_api)(&mut api);
        let server = Server::bind(setup.listen, api).unwrap();
        let addr = server.tcp_addr().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(shutdown.clone()));
        Self {
            addr,
            plane,
            issuer,
            publisher: PrivateKey::generate().unwrap(),
            now,
            tracker,
            folder,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            shutdown,
            running,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn token_request(&self, scopes: &[Scope], tenant: Option<&str>) -> TokenRequest {
        TokenRequest {
            issuer: ISSUER.to_owned(),
            subject: "tester".to_owned(),
            audience: NODE.to_owned(),
            scopes: scopes.to_vec(),
            tenant: tenant.map(|name| name.parse().unwrap()),
            lifetime_s: 600,
        }
    }

    pub(crate) fn token(&self, scopes: &[Scope], tenant: Option<&str>) -> String {
        let request = self.token_request(scopes, tenant);
        mint(&self.issuer, &request, self.now.load(Ordering::Relaxed)).unwrap()
    }

    pub(crate) fn admin_token(&self) -> String {
        self.token(&[Scope::NodeAdmin], None)
    }

    /// A raw request with the operator's token.
    pub(crate) fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, self.url(path))
            .bearer_auth(self.admin_token())
    }

    pub(crate) fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        self.http.request(method, self.url(path)).bearer_auth(token)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.admin(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.admin(Method::POST, path)
    }

    pub(crate) fn put(&self, path: &str) -> RequestBuilder {
        self.admin(Method::PUT, path)
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.admin(Method::DELETE, path)
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url(""), Some(self.admin_token())).unwrap()
    }

    /// A tenant that trusts the test's publisher.
    pub(crate) async fn tenant(&self, name: &str) -> TenantName {
        let name: TenantName = name.parse().unwrap();
        let client = self.client();
        client
            .put_tenant(&name, &TenantWrite::default(), Precondition::None)
            .await
            .unwrap();
        let kid = self.publisher.kid().parse().unwrap();
        client
            .put_key(&name, &kid, &self.publisher.public(), Precondition::None)
            .await
            .unwrap();
        name
    }

    /// A good statement for `acme`'s module `hello`.
    pub(crate) fn statement(&self, version: u64, bytes: &[u8]) -> Statement {
        let now = self.now.load(Ordering::Relaxed);
        Statement {
            tenant: "acme".parse().unwrap(),
            module: "hello".parse().unwrap(),
            version,
            digest: digest(bytes),
            iat: now,
            exp: now + 600,
        }
    }

    pub(crate) fn upload(&self, statement: &Statement, bytes: &[u8]) -> RequestBuilder {
        self.put("/v1/tenants/acme/modules/hello")
            .header("module-signature", sign(&self.publisher, statement))
            .body(bytes.to_vec())
    }

    /// A module that is accepted, at version 1.
    pub(crate) async fn module(&self) {
        let bytes = component(b"one");
        let answer = self.upload(&self.statement(1, &bytes), &bytes).send().await;
        assert_eq!(answer.unwrap().status(), 201);
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .expect("the server drains")
            .unwrap();
    }

    pub(crate) fn begin_stop(&self) {
        self.shutdown.cancel();
    }
}

pub(crate) fn component(rest: &[u8]) -> Vec<u8> {
    [plane::PREAMBLE, rest].concat()
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    Digest::from_bytes(digest.as_ref().try_into().unwrap())
}

/// What every problem must be, whatever it says; gives its slug and its body.
pub(crate) async fn problem(answer: Response) -> (String, Value) {
    let status = answer.status().as_u16();
    let header = |name: &str| {
        answer
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(
        header("content-type").as_deref(),
        Some("application/problem+json"),
        "{answer:?}"
    );
    let request_id = header("x-request-id").unwrap();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"], request_id);
    let slug = body["type"]
        .as_str()
        .unwrap()
        .strip_prefix(control_api::problem::TYPE_BASE)
        .unwrap()
        .to_owned();
    let kind = control_api::problem::Kind::from_uri(body["type"].as_str().unwrap()).unwrap();
    assert_eq!(body["title"], kind.title());
    assert_eq!(status, kind.status().as_u16());
    (slug, body)
}

/// Sends, and expects this status and this problem.
pub(crate) async fn refused(request: RequestBuilder, status: u16, slug: &str) -> Value {
    let answer = request.send().await.unwrap();
    let (found, body) = {
        let answered = answer.status().as_u16();
        let (found, body) = problem(answer).await;
        assert_eq!((answered, found.as_str()), (status, slug), "{body}");
        (found, body)
    };
    assert_eq!(found, slug);
    body
}
