//! Every way in which a token can be bad: 401, with a challenge, each for its own reason.

use std::sync::atomic::Ordering;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use control_api::auth::Scope;
use control_api::keypair::{PrivateKey, jwks_document};
use control_api::token::mint;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{ISSUER, LIFETIME_S_MAX, NODE, NOW, Setup, TestNode, problem};

/// Claims of a good token, with `changes` on top; null takes a claim out.
pub(crate) fn claims(node: &TestNode, changes: Value) -> Value {
    let now = node.now.load(Ordering::Relaxed);
    let mut claims = json!({
        "iss": ISSUER, "sub": "tester", "aud": NODE, "iat": now, "nbf": now, "exp": now + 600,
        "scope": "node:read",
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// A compact JWS with these very bytes in its header and claims, signed by the node's issuer where its key fits.
pub(crate) fn sign(node: &TestNode, header: &Value, claims: &Value) -> String {
    let pem = node.folder.path().join("issuer.pem");
    if !pem.exists() {
        node.issuer.write_new(&pem).unwrap();
    }
    let text = std::fs::read_to_string(pem).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let pkcs8 = base64::engine::general_purpose::STANDARD
        .decode(body)
        .unwrap();
    let pair = aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
    compact(header, claims, |message| {
        pair.sign(message).as_ref().to_vec()
    })
}

fn compact(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn ask(node: &TestNode) -> RequestBuilder {
    node.http.get(node.url("/v1/status"))
}

async fn turned_away(request: RequestBuilder, reason: &str) -> String {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 401, "{reason}");
    let challenge = answer.headers()["www-authenticate"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        challenge.starts_with("Bearer realm=\"littoral\""),
        "{challenge}"
    );
    let (_, body) = problem(answer).await;
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains(reason), "{detail:?} has no {reason:?}");
    challenge
}

async fn bad_token(token: &str, node: &TestNode, reason: &str) {
    let challenge = turned_away(ask(node).bearer_auth(token), reason).await;
    assert!(
        challenge.contains(r#"error="invalid_token""#),
        "{challenge}"
    );
}

fn eddsa(node: &TestNode) -> Value {
    json!({"alg": "EdDSA", "typ": "JWT", "kid": node.issuer.kid()})
}

async fn bad_claims(changes: Value, reason: &str) {
    let node = TestNode::start().await;
    let token = sign(&node, &eddsa(&node), &claims(&node, changes));
    bad_token(&token, &node, reason).await;
}

#[tokio::test]
async fn a_good_token_is_good() {
    let node = TestNode::start().await;
    let token = sign(&node, &eddsa(&node), &claims(&node, json!({})));
    let answer = ask(&node).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn no_header_learns_the_scheme_and_no_more() {
    let node = TestNode::start().await;
    let challenge = turned_away(ask(&node), "needs a token").await;
    assert!(!challenge.contains("error"), "{challenge}");
}

#[tokio::test]
async fn alg_none_is_refused() {
    let node = TestNode::start().await;
    let header = json!({"alg": "none", "kid": node.issuer.kid()});
    let token = compact(&header, &claims(&node, json!({})), |_| Vec::new());
    bad_token(&token, &node, "`none`").await;
}

#[tokio::test]
async fn hmac_with_the_public_keys_bytes_is_refused() {
    let node = TestNode::start().await;
    let public = URL_SAFE_NO_PAD.decode(node.issuer.public().x).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
    let header = json!({"alg": "HS256", "kid": node.issuer.kid()});
    let token = compact(&header, &claims(&node, json!({})), |message| {
        aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
    });
    bad_token(&token, &node, "`HS256`").await;
}

#[tokio::test]
async fn another_algorithm_than_the_keys_is_refused() {
    let node = TestNode::start().await;
    let header = json!({"alg": "ES256", "kid": node.issuer.kid()});
    let token = sign(&node, &header, &claims(&node, json!({})));
    bad_token(&token, &node, "`EdDSA` only").await;
}

#[tokio::test]
async fn a_changed_token_is_refused() {
    let node = TestNode::start().await;
    let token = sign(&node, &eddsa(&node), &claims(&node, json!({})));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let more = claims(&node, json!({"scope": "node:admin"})).to_string();
    let forged = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(more));
    bad_token(&forged, &node, "signature does not verify").await;
}

#[tokio::test]
async fn a_missing_exp_is_refused() {
    bad_claims(json!({"exp": null}), "no `exp`").await;
}

#[tokio::test]
async fn missing_iss_aud_and_sub_are_refused() {
    bad_claims(json!({"iss": null}), "no `iss`").await;
    bad_claims(json!({"aud": null}), "no `aud`").await;
    bad_claims(json!({"sub": null}), "no `sub`").await;
}

#[tokio::test]
async fn claims_of_other_types_are_refused() {
    bad_claims(json!({"exp": "tomorrow"}), "not well formed").await;
    bad_claims(json!({"exp": -1}), "no date").await;
    bad_claims(json!({"exp": 1e300}), "no date").await;
    bad_claims(json!({"scope": ["node:admin"]}), "not well formed").await;
    bad_claims(json!({"sub": "a\nb"}), "control characters").await;
}

#[tokio::test]
async fn another_audience_is_refused() {
    bad_claims(json!({"aud": "edge-2"}), "another audience").await;
    bad_claims(json!({"aud": ["edge-2", "edge-10"]}), "another audience").await;
}

#[tokio::test]
async fn one_of_several_audiences_is_enough() {
    let node = TestNode::start().await;
    let several = claims(&node, json!({"aud": ["edge-2", NODE]}));
    let token = sign(&node, &eddsa(&node), &several);
    assert_eq!(
        ask(&node).bearer_auth(token).send().await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn an_expired_token_is_refused_and_skew_is_granted() {
    let node = TestNode::start().await;
    let token = sign(&node, &eddsa(&node), &claims(&node, json!({})));
    node.now.store(NOW + 600 + 29, Ordering::Relaxed);
    let late = ask(&node).bearer_auth(&token).send().await.unwrap();
    assert_eq!(late.status(), 200);
    node.now.store(NOW + 600 + 30, Ordering::Relaxed);
    bad_token(&token, &node, "expired").await;
}

#[tokio::test]
async fn a_token_of_tomorrow_is_refused_and_skew_is_granted() {
    bad_claims(json!({"nbf": NOW + 31}), "valid from").await;
    bad_claims(json!({"iat": NOW + 31, "nbf": null}), "valid from").await;
    let node = TestNode::start().await;
    let soon = claims(&node, json!({"nbf": NOW + 30, "iat": NOW + 30}));
    let token = sign(&node, &eddsa(&node), &soon);
    assert_eq!(
        ask(&node).bearer_auth(token).send().await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn too_long_a_lifetime_is_refused() {
    bad_claims(json!({"exp": NOW + LIFETIME_S_MAX + 1}), "at most 3600 s").await;
    // Without `iat`, what is left of it counts.
    let long = json!({"iat": null, "exp": NOW + LIFETIME_S_MAX + 1});
    bad_claims(long, "at most 3600 s").await;
}

#[tokio::test]
async fn another_issuer_is_refused() {
    bad_claims(json!({"iss": "someone"}), "issuer").await;
}

#[tokio::test]
async fn a_malformed_tenant_is_refused() {
    bad_claims(json!({"tenant": "../acme"}), "not a tenant name").await;
}

#[tokio::test]
async fn an_unknown_kid_is_refused() {
    let node = TestNode::start().await;
    let header = json!({"alg": "EdDSA", "kid": "nobody"});
    let token = sign(&node, &header, &claims(&node, json!({})));
    bad_token(&token, &node, "no key `nobody`").await;
}

#[tokio::test]
async fn critical_extensions_are_refused() {
    let node = TestNode::start().await;
    let header = json!({"alg": "EdDSA", "kid": node.issuer.kid(), "crit": ["x"], "x": 1});
    let token = sign(&node, &header, &claims(&node, json!({})));
    bad_token(&token, &node, "`crit`").await;
}

#[tokio::test]
async fn a_missing_kid_is_allowed_with_one_key_only() {
    let node = TestNode::start().await;
    let unnamed = sign(&node, &json!({"alg": "EdDSA"}), &claims(&node, json!({})));
    let answer = ask(&node).bearer_auth(&unnamed).send().await.unwrap();
    assert_eq!(answer.status(), 200);

    let second = tempfile::NamedTempFile::new().unwrap();
    let other = PrivateKey::generate().unwrap();
    std::fs::write(second.path(), jwks_document(&[other.public()])).unwrap();
    let path = second.path().to_owned();
    let node = TestNode::start_with(Setup {
        change_auth: Box::new(move |auth| auth.jwks_files.push(path)),
        ..Setup::default()
    })
    .await;
    let unnamed = sign(&node, &json!({"alg": "EdDSA"}), &claims(&node, json!({})));
    bad_token(&unnamed, &node, "trusts 2 keys").await;
    let request = node.token_request(&[Scope::NodeRead], None);
    let theirs = mint(&other, &request, NOW).unwrap();
    let answer = ask(&node).bearer_auth(theirs).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn garbage_is_refused() {
    let node = TestNode::start().await;
    for garbage in ["", "x", "a.b", "a.b.c", "a.b.c.d", "....", "e30.e30.e30"] {
        bad_token(garbage, &node, "not a signed JWT").await;
    }
    let long = "a".repeat(9000);
    bad_token(&long, &node, "longer than 8192 bytes").await;
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let node = TestNode::start().await;
    let token = node.admin_token();
    let twice = ask(&node)
        .header("authorization", format!("Bearer {token}"))
        .header("authorization", format!("Bearer {token}"));
    let challenge = turned_away(twice, "more than once").await;
    assert!(
        challenge.contains(r#"error="invalid_request""#),
        "{challenge}"
    );
}

#[tokio::test]
async fn basic_is_refused() {
    let node = TestNode::start().await;
    turned_away(ask(&node).basic_auth("operator", Some("secret")), "`Basic`").await;
}

#[tokio::test]
async fn the_schemes_name_has_no_case() {
    let node = TestNode::start().await;
    let lower = ask(&node).header("authorization", format!("bearer {}", node.admin_token()));
    assert_eq!(lower.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_token_in_the_query_is_not_looked_at() {
    let node = TestNode::start().await;
    let url = node.url(&format!("/v1/status?access_token={}", node.admin_token()));
    turned_away(node.http.get(url), "needs a token").await;
}

async fn node_that_trusts(jwk: Value) -> TestNode {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "keys": [jwk] }).to_string()).unwrap();
    let path = file.path().to_owned();
    TestNode::start_with(Setup {
        change_auth: Box::new(move |auth| auth.jwks_files = vec![path]),
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn es256_is_accepted_from_its_key() {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    let (x, y) = (
        URL_SAFE_NO_PAD.encode(&point[1..33]),
        URL_SAFE_NO_PAD.encode(&point[33..65]),
    );
    let node =
        node_that_trusts(json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "ec"})).await;
    let token = compact(
        &json!({"alg": "ES256", "kid": "ec"}),
        &claims(&node, json!({})),
        |message| pair.sign(&random, message).unwrap().as_ref().to_vec(),
    );
    assert_eq!(
        ask(&node).bearer_auth(token).send().await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn rs256_is_accepted_from_its_key() {
    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let n = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
    let e = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
    let node =
        node_that_trusts(json!({"kty": "RSA", "n": n, "e": e, "kid": "rsa", "alg": "RS256"})).await;
    let good = claims(&node, json!({}));
    let token = compact(&json!({"alg": "RS256", "kid": "rsa"}), &good, |message| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            message,
            &mut signature,
        )
        .unwrap();
        signature
    });
    assert_eq!(
        ask(&node)
            .bearer_auth(&token)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let broken = format!("{}AA", &token[..token.len() - 2]);
    bad_token(&broken, &node, "signature does not verify").await;
}

#[tokio::test]
async fn the_metrics_token_is_asked_for_where_it_is_set() {
    let node = TestNode::start_with(Setup {
        change_api: |api| api.metrics_token = Some("scrape-me".to_owned()),
        ..Setup::default()
    })
    .await;
    let ask = || node.http.get(node.url("/metrics"));
    turned_away(ask(), "needs a token").await;
    turned_away(ask().bearer_auth("scrape-m"), "metrics token").await;
    turned_away(ask().basic_auth("scrape-me", None::<&str>), "metrics token").await;
    let answer = ask().bearer_auth("scrape-me").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
}
