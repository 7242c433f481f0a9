//! Bearer tokens: each bad kind against the real node, and what a good one does not reach.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use control_api::auth::Scope;
use littoral_tests::{Answer, Shared, TestEdge, beside, now_s, refusal, run, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

static NODE: Shared = Shared::new();
const STATUS: &str = "/v1/status";

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

/// The node's own key, to sign what its maker would never sign.
fn key(edge: &TestEdge) -> Ed25519KeyPair {
    let pem = std::fs::read_to_string(edge.data().join("keys/admin.key")).unwrap();
    let body: String = pem
        .lines()
        .filter(|line| !line.starts_with("---"))
        .collect();
    Ed25519KeyPair::from_pkcs8(&STANDARD.decode(body).unwrap()).unwrap()
}

fn claims() -> Value {
    let now = now_s();
    json!({
        "iss": "littoral", "sub": "tester", "aud": "test-node",
        "iat": now, "nbf": now, "exp": now + 600, "scope": "node:admin",
    })
}

async fn ask(edge: &TestEdge, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    edge.admin_ask("GET", STATUS, &[("Authorization", &bearer)], b"")
        .await
}

#[test]
fn each_bad_kind_of_token_is_refused_with_a_challenge() {
    run(async {
        let edge = NODE.edge().await;
        let key = key(&edge);
        let kid = edge.admin_key().kid().to_owned();
        let header = json!({ "alg": "EdDSA", "kid": kid, "typ": "JWT" });
        let sign = |header: &Value, claims: &Value| {
            let text = format!("{}.{}", part(header), part(claims));
            format!(
                "{text}.{}",
                URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()))
            )
        };
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            sign(&header, &claims)
        };
        let without = |name: &str| {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(name);
            sign(&header, &claims)
        };
        assert_eq!(
            ask(&edge, &sign(&header, &claims())).await.status(),
            200,
            "the good one"
        );

        let text = format!(
            "{}.{}",
            part(&json!({ "alg": "HS256", "kid": kid })),
            part(&claims())
        );
        let jwks = std::fs::read(edge.data().join("keys/admin.jwks")).unwrap();
        let hmac_with = |secret: &[u8]| {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
            format!(
                "{text}.{}",
                URL_SAFE_NO_PAD.encode(hmac::sign(&secret, text.as_bytes()))
            )
        };
        let public = edge.admin_key().public().x;
        let strange = Ed25519KeyPair::generate().unwrap();
        let good = sign(&header, &claims());
        let (signed, _) = good.rsplit_once('.').unwrap();
        let now = now_s();
        let bad = [
            ("text", "nonsense".to_owned()),
            (
                "alg none",
                format!(
                    "{}.{}.",
                    part(&json!({ "alg": "none", "kid": kid })),
                    part(&claims())
                ),
            ),
            (
                "alg None",
                format!(
                    "{}.{}.",
                    part(&json!({ "alg": "None", "kid": kid })),
                    part(&claims())
                ),
            ),
            (
                "HMAC with the public key",
                hmac_with(&URL_SAFE_NO_PAD.decode(&public).unwrap()),
            ),
            ("HMAC with its text", hmac_with(public.as_bytes())),
            ("HMAC with the JWKS", hmac_with(&jwks)),
            (
                "alg RS256 for an Ed25519 key",
                sign(&json!({ "alg": "RS256", "kid": kid }), &claims()),
            ),
            ("no signature", format!("{signed}.")),
            (
                "another key's signature",
                format!(
                    "{signed}.{}",
                    URL_SAFE_NO_PAD.encode(strange.sign(signed.as_bytes()))
                ),
            ),
            (
                "an unknown key",
                sign(&json!({ "alg": "EdDSA", "kid": "unknown" }), &claims()),
            ),
            ("no exp", without("exp")),
            ("expired", with("exp", (now - 60).into())),
            ("not yet valid", with("nbf", (now + 300).into())),
            ("another node's audience", with("aud", "other-node".into())),
            ("no audience", without("aud")),
            ("another issuer", with("iss", "stranger".into())),
            ("too long a life", with("exp", (now + 400 * 86_400).into())),
        ];
        for (kind, token) in bad {
            let answer = ask(&edge, &token).await;
            assert_eq!(
                (answer.status(), answer.problem().as_str()),
                (401, "token-invalid"),
                "{kind}"
            );
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(challenge.starts_with("Bearer"), "{kind}: {challenge:?}");
            assert!(challenge.contains("invalid_token"), "{kind}: {challenge:?}");
        }
    });
}

#[test]
fn without_a_token_nothing_is_shown_but_liveness_readiness_metrics_and_the_description() {
    run(async {
        let edge = NODE.edge().await;
        for path in [
            STATUS,
            "/v1/tenants",
            "/v1/audit",
            "/v1/tenants/any/logs",
            "/v1/node",
        ] {
            let answer = edge.admin_ask("GET", path, &[], b"").await;
            assert_eq!(
                (answer.status(), answer.problem().as_str()),
                (401, "token-missing"),
                "{path}"
            );
            assert!(
                answer
                    .header("www-authenticate")
                    .unwrap()
                    .starts_with("Bearer"),
                "{path}"
            );
        }
        for path in ["/healthz", "/readyz", "/metrics", "/v1/openapi.json"] {
            assert_eq!(
                edge.admin_ask("GET", path, &[], b"").await.status(),
                200,
                "{path}"
            );
        }
    });
}

#[test]
fn too_little_scope_is_403() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("scoped").await;
        let reader = edge.client_as(&[Scope::Read], Some("scoped"));
        let deployer = edge.client_as(&[Scope::Deploy], Some("scoped"));
        reader.tenant(acme.name()).await.unwrap();
        let upload = acme
            .through(&reader)
            .upload("site", 1, littoral_tests::component("hello"))
            .await;
        assert_eq!(refusal(upload), "scope-insufficient");
        let kid = acme.key().kid().parse().unwrap();
        let key = deployer
            .delete_key(acme.name(), &kid, Default::default())
            .await;
        assert_eq!(refusal(key), "scope-insufficient");
        let settings = deployer
            .put_tenant(acme.name(), &Default::default(), Default::default())
            .await;
        assert_eq!(refusal(settings), "scope-insufficient");
        assert_eq!(refusal(reader.status().await), "scope-insufficient");
        let deployed = acme
            .through(&deployer)
            .upload("site", 1, littoral_tests::component("hello"))
            .await;
        deployed.unwrap();
    });
}

/// Answers every request with this document, until it is dropped.
struct Issuer {
    address: std::net::SocketAddr,
    running: tokio::task::JoinHandle<()>,
}

impl Issuer {
    async fn publish(document: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = beside(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // The request is a head, and of no further interest.
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let length = document.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/jwk-set+json\r\nContent-Length: {length}\r\n\
                     Connection: close\r\n\r\n{document}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, running }
    }
}

#[test]
fn keys_of_a_jwks_url_are_believed_also_when_it_is_gone() {
    run(async {
        let issuer = control_api::keypair::PrivateKey::generate().unwrap();
        let document = control_api::keypair::jwks_document(&[issuer.public()]);
        let publisher = Issuer::publish(document).await;
        let edge = TestEdge::build()
            .trusting_url(issuer, &format!("http://{}/jwks", publisher.address))
            .start()
            .await;
        edge.tenant("published").await;
        publisher.running.abort();
        until("nobody answers there", async || {
            let gone = tokio::net::TcpStream::connect(publisher.address)
                .await
                .is_err();
            gone.then_some(())
        })
        .await;
        // A key that nobody knows makes the node ask, in vain; the good ones stay.
        let stranger = control_api::keypair::PrivateKey::generate().unwrap();
        let header = json!({ "alg": "EdDSA", "kid": stranger.kid() });
        let unknown = format!("{}.{}.AAAA", part(&header), part(&claims()));
        assert_eq!(ask(&edge, &unknown).await.status(), 401);
        edge.tenant("still-published").await;
        assert!(!edge.data().join("keys/admin.key").exists());
    });
}

#[test]
fn scrapers_show_a_token_where_one_is_configured() {
    run(async {
        let builder = TestEdge::build();
        let path = builder.home().join("metrics-token");
        std::fs::write(&path, "scrape-me\n").unwrap();
        let edge = builder
            .set("metrics.token_file", path.to_str().unwrap())
            .start()
            .await;
        for (token, status) in [
            (None, 401),
            (Some("Bearer wrong"), 401),
            (Some("Bearer scrape-me"), 200),
        ] {
            let fields: Vec<_> = token
                .map(|token| ("Authorization", token))
                .into_iter()
                .collect();
            let answer = edge.admin_ask("GET", "/metrics", &fields, b"").await;
            assert_eq!(answer.status(), status, "{token:?}");
        }
    });
}

#[test]
fn keys_of_a_jwks_file_are_believed_and_the_nodes_own_is_not_made() {
    run(async {
        let issuer = control_api::keypair::PrivateKey::generate().unwrap();
        let builder = TestEdge::build();
        let path = builder.home().join("issuer.jwks");
        std::fs::write(
            &path,
            control_api::keypair::jwks_document(&[issuer.public()]),
        )
        .unwrap();
        let edge = builder.trusting(issuer, path).start().await;
        edge.tenant("trusted").await;
        assert!(!edge.data().join("keys/admin.key").exists());
    });
}
