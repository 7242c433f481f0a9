//! Keys that someone publishes: good, then garbage, then gone; the last good ones stay.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use control_api::auth::{
    AuthError, AuthOptions, AuthSetupError, Authenticator, FetchError, JwksUrl, Scope, TokenFault,
};
use control_api::keypair::{PrivateKey, jwks_document};
use control_api::token::{TokenRequest, mint};
use http::HeaderMap;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{ISSUER, LIFETIME_S_MAX, NODE, NOW, PATIENCE};

/// Publishes whatever it is told to, and counts how often it is asked.
struct Publisher {
    addr: SocketAddr,
    answer: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
    running: JoinHandle<()>,
}

type Shared = (Arc<Mutex<(StatusCode, String)>>, Arc<AtomicUsize>);

async fn publish(State((answer, asked)): State<Shared>) -> (StatusCode, String) {
    asked.fetch_add(1, Ordering::Relaxed);
    answer.lock().unwrap().clone()
}

impl Publisher {
    async fn start() -> Self {
        let answer = Arc::new(Mutex::new((StatusCode::OK, String::new())));
        let asked = Arc::new(AtomicUsize::new(0));
        let router = Router::new()
            .route("/jwks", get(publish))
            .with_state((Arc::clone(&answer), Arc::clone(&asked)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let running = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            addr,
            answer,
            asked,
            running,
        }
    }

    fn say(&self, status: StatusCode, text: impl Into<String>) {
        *self.answer.lock().unwrap() = (status, text.into());
    }

    fn keys(&self, keys: &[&PrivateKey]) {
        let public: Vec<_> = keys.iter().map(|key| key.public()).collect();
        self.say(StatusCode::OK, jwks_document(&public));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn die(&mut self) {
        self.running.abort();
        // Ends as cancelled; the listener is closed by then.
        let _ = (&mut self.running).await;
    }
}

struct Node {
    authenticator: Authenticator,
    now: Arc<AtomicU64>,
}

fn options(url: Option<&str>) -> AuthOptions {
    AuthOptions {
        audience: NODE.to_owned(),
        issuers: vec![ISSUER.to_owned()],
        jwks_files: Vec::new(),
        jwks_files_every: Duration::from_secs(300),
        jwks_url: url.map(|url| JwksUrl {
            url: url.parse().unwrap(),
            refresh_every: Duration::from_secs(300),
            unknown_kid_wait_s: 30,
        }),
        lifetime_s_max: LIFETIME_S_MAX,
        clock_skew_s: 0,
    }
}

impl Node {
    fn new(options: AuthOptions) -> Self {
        let now = Arc::new(AtomicU64::new(NOW));
        let clock = Arc::clone(&now);
        let clock: control_api::auth::Clock = Arc::new(move || clock.load(Ordering::Relaxed));
        Self {
            authenticator: Authenticator::new(options, clock).unwrap(),
            now,
        }
    }

    fn of(publisher: &Publisher) -> Self {
        Self::new(options(Some(&format!("http://{}/jwks", publisher.addr))))
    }

    async fn check(&self, key: &PrivateKey) -> Result<(), AuthError> {
        let request = TokenRequest {
            issuer: ISSUER.to_owned(),
            subject: "s".to_owned(),
            audience: NODE.to_owned(),
            scopes: vec![Scope::NodeRead],
            tenant: None,
            lifetime_s: 60,
        };
        let token = mint(key, &request, self.now.load(Ordering::Relaxed)).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        self.authenticator.authenticate(&headers).await.map(drop)
    }

    fn later(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn the_last_good_keys_outlive_garbage_and_death() {
    let key = PrivateKey::generate().unwrap();
    let mut publisher = Publisher::start().await;
    publisher.keys(&[&key]);
    let node = Node::of(&publisher);
    node.authenticator.refresh().await.unwrap();
    node.check(&key).await.unwrap();

    let too_long = " ".repeat(300 * 1024);
    for (status, garbage) in [
        (StatusCode::OK, "<html>"),
        (StatusCode::OK, r#"{"keys":[]}"#),
        (StatusCode::OK, r#"{"keys":[{"kty":"oct","k":"AA"}]}"#),
        (StatusCode::OK, &too_long),
        (StatusCode::INTERNAL_SERVER_ERROR, ""),
        (StatusCode::NOT_FOUND, ""),
    ] {
        publisher.say(status, garbage);
        node.authenticator.refresh().await.unwrap_err();
        node.check(&key).await.unwrap();
    }
    publisher.die().await;
    assert!(matches!(
        node.authenticator.refresh().await,
        Err(FetchError::Unreachable { .. })
    ));
    node.check(&key).await.unwrap();
    assert_eq!(node.authenticator.trusted_keys(), 1);
}

#[tokio::test]
async fn a_key_that_is_taken_back_is_trusted_no_more() {
    let (old, new) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap(),
    );
    let publisher = Publisher::start().await;
    publisher.keys(&[&old]);
    let node = Node::of(&publisher);
    node.authenticator.refresh().await.unwrap();
    publisher.keys(&[&new]);
    node.authenticator.refresh().await.unwrap();
    node.check(&new).await.unwrap();
    assert!(node.check(&old).await.is_err());
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_but_not_too_often() {
    let (first, second) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap(),
    );
    let publisher = Publisher::start().await;
    publisher.keys(&[&first]);
    let node = Node::of(&publisher);
    node.check(&first).await.unwrap();
    assert_eq!(publisher.asked(), 1);
    node.check(&first).await.unwrap();
    assert_eq!(publisher.asked(), 1, "a known key asks nobody");

    publisher.keys(&[&first, &second]);
    for _ in 0..5 {
        assert!(matches!(
            node.check(&second).await,
            Err(AuthError::Token(TokenFault::KeyUnknown { .. }))
        ));
    }
    assert_eq!(publisher.asked(), 1, "too soon");
    node.later(30);
    node.check(&second).await.unwrap();
    assert_eq!(publisher.asked(), 2);

    // A failed fetch counts as well: a dead publisher is not hammered.
    let stranger = PrivateKey::generate().unwrap();
    publisher.say(StatusCode::SERVICE_UNAVAILABLE, "");
    node.later(30);
    for _ in 0..5 {
        node.check(&stranger).await.unwrap_err();
    }
    assert_eq!(publisher.asked(), 3);
}

#[tokio::test]
async fn many_who_ask_at_once_cause_one_fetch() {
    let key = PrivateKey::generate().unwrap();
    let publisher = Publisher::start().await;
    publisher.keys(&[&key]);
    let node = Node::of(&publisher);
    let all = futures_util::future::join_all((0..20).map(|_| node.check(&key))).await;
    assert!(all.into_iter().all(|one| one.is_ok()));
    assert_eq!(publisher.asked(), 1);
}

#[tokio::test]
async fn a_url_does_not_replace_a_key_of_the_files() {
    let key = PrivateKey::generate().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), jwks_document(&[key.public()])).unwrap();
    let publisher = Publisher::start().await;
    // Another key under the same id.
    let mut theirs = PrivateKey::generate().unwrap().public();
    theirs.kid = Some(key.kid().to_owned());
    publisher.say(StatusCode::OK, jwks_document(&[theirs]));
    let mut options = options(Some(&format!("http://{}/jwks", publisher.addr)));
    options.jwks_files.push(file.path().to_owned());
    let node = Node::new(options);
    node.authenticator.refresh().await.unwrap();
    node.check(&key).await.unwrap();
}

#[tokio::test]
async fn files_are_read_anew_and_bad_ones_change_nothing() {
    let (old, new) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap(),
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), jwks_document(&[old.public()])).unwrap();
    let mut options = options(None);
    options.jwks_files.push(file.path().to_owned());
    let node = Node::new(options);
    std::fs::write(file.path(), "{").unwrap();
    assert!(matches!(
        node.authenticator.reload_files().await,
        Err(AuthSetupError::Keys { .. })
    ));
    node.check(&old).await.unwrap();
    std::fs::write(file.path(), jwks_document(&[new.public()])).unwrap();
    node.authenticator.reload_files().await.unwrap();
    node.check(&new).await.unwrap();
    assert!(node.check(&old).await.is_err());
}

#[tokio::test]
async fn keys_are_kept_fresh_without_anybody_asking() {
    let [in_file, at_url, other] = [(); 3].map(|()| PrivateKey::generate().unwrap());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), jwks_document(&[other.public()])).unwrap();
    let publisher = Publisher::start().await;
    publisher.keys(&[]);
    let every = Duration::from_millis(5);
    let mut options = options(Some(&format!("http://{}/jwks", publisher.addr)));
    options.jwks_files.push(file.path().to_owned());
    options.jwks_files_every = every;
    if let Some(url) = &mut options.jwks_url {
        url.refresh_every = every;
        // An unknown key is no reason to ask: what comes, comes by itself.
        url.unknown_kid_wait_s = u64::MAX;
    }
    let node = Arc::new(Node::new(options));
    let stop = CancellationToken::new();
    let keeping = {
        let (node, stop) = (Arc::clone(&node), stop.clone());
        tokio::spawn(async move { node.authenticator.keep_fresh(stop).await })
    };
    publisher.keys(&[&at_url]);
    // A file that is not good, as while it is written, takes nothing away.
    std::fs::write(file.path(), "{").unwrap();
    let known = async |key: &PrivateKey| {
        timeout(PATIENCE, async {
            while node.check(key).await.is_err() {
                tokio::time::sleep(every).await;
            }
        })
        .await
        .unwrap();
    };
    known(&at_url).await;
    node.check(&other).await.unwrap();
    std::fs::write(file.path(), jwks_document(&[in_file.public()])).unwrap();
    known(&in_file).await;
    assert!(node.check(&other).await.is_err());
    stop.cancel();
    timeout(PATIENCE, keeping).await.unwrap().unwrap();
}

#[test]
fn bad_set_ups_are_refused_at_start() {
    let clock = control_api::auth::system_clock();
    let open = options(Some("http://keys.example/jwks"));
    assert!(matches!(
        Authenticator::new(open, clock.clone()),
        Err(AuthSetupError::Url(FetchError::NotPrivate { .. }))
    ));
    let mut missing = options(None);
    missing.jwks_files.push("/nowhere/jwks.json".into());
    assert!(matches!(
        Authenticator::new(missing, clock.clone()),
        Err(AuthSetupError::File { .. })
    ));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        r#"{"keys":[{"kty":"oct","k":"AA","kid":"h"}]}"#,
    )
    .unwrap();
    let mut symmetric = options(None);
    symmetric.jwks_files.push(file.path().to_owned());
    let error = Authenticator::new(symmetric, clock).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("symmetric"), "{source}");
}
