//! The signed statement: every way in which it can be wrong has its own answer, and leaves nothing behind.

use control_api::client::ClientError;
use control_api::keypair::PrivateKey;
use control_api::statement::{self, Statement};
use littoral_tests::{TestEdge, component, now_s, refusal, run, with_section};

#[test]
fn every_wrong_statement_has_its_own_answer_and_leaves_nothing() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        let other = edge.tenant("other").await;
        let hello = component("hello");
        acme.version("taken", 5, hello.clone()).await;
        let before = edge.left().await;
        let now = now_s();
        let good = acme.statement("site", 6, &hello);

        let signed = |key: &PrivateKey, change: &dyn Fn(&mut Statement)| {
            let mut stated = good.clone();
            change(&mut stated);
            Some(statement::sign(key, &stated))
        };
        let ours = acme.key();
        let forged = {
            // The right key id and claims, and another key's signature.
            let text = signed(ours, &|_| {}).unwrap();
            let strange = signed(other.key(), &|_| {}).unwrap();
            let (claims, _) = text.rsplit_once('.').unwrap();
            Some(format!("{claims}.{}", strange.rsplit_once('.').unwrap().1))
        };
        let cases = [
            ("statement-malformed", Some("nonsense".to_owned())),
            ("statement-malformed", Some("a.b.c".to_owned())),
            ("statement-algorithm", Some(unsigned("none", ours.kid()))),
            ("statement-algorithm", Some(unsigned("HS256", ours.kid()))),
            ("publisher-unknown", signed(&PrivateKey::generate().unwrap(), &|_| {})),
            ("publisher-unknown", signed(other.key(), &|_| {})),
            ("signature-invalid", forged),
            ("statement-wrong-tenant", signed(ours, &|s| s.tenant = "other".parse().unwrap())),
            ("statement-wrong-module", signed(ours, &|s| s.module = "other".parse().unwrap())),
            ("statement-expired", signed(ours, &|s| (s.iat, s.exp) = (now - 900, now - 300))),
            ("statement-not-yet-valid", signed(ours, &|s| (s.iat, s.exp) = (now + 300, now + 900))),
            ("statement-lifetime", signed(ours, &|s| s.exp = now + 400 * 86_400)),
            ("digest-mismatch", signed(ours, &|s| s.digest = littoral_tests::digest(b"else"))),
        ];
        for (wanted, text) in cases {
            let mut request = acme.request("site", 6, hello.clone());
            request.statement = text.clone();
            assert_eq!(refusal(acme.send(&request).await), wanted, "{text:?}");
        }
        let old = acme.statement("taken", 5, &with_section(&hello, "other"));
        let replayed = acme.upload_stated("taken", &old, with_section(&hello, "other")).await;
        assert_eq!(refusal(replayed), "version-not-above");
        let mut none = acme.request("site", 6, hello.clone());
        none.statement = None;
        assert_eq!(refusal(acme.send(&none).await), "statement-missing");

        assert_eq!(edge.left().await, before, "something was left behind");
        // The statement that all of these were made from is good.
        acme.upload_stated("site", &good, hello).await.unwrap();
    });
}

#[test]
fn the_statement_is_checked_before_a_byte_of_the_body_is_read() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("early").await;
        let token = edge.token(&[control_api::auth::Scope::NodeAdmin], None);
        let stated = Statement { version: 1, exp: 1, iat: 0, ..acme.statement("site", 1, b"x") };
        let stated = statement::sign(acme.key(), &stated);
        let mut wire = edge.admin_wire().await;
        // The body is announced and never sent: the answer comes all the same, and no 100 before it.
        wire.send(format!(
            "PUT /v1/tenants/early/modules/site HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer {token}\r\n\
             Module-Signature: {stated}\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
        ))
        .await;
        let answer = wire.answer().await;
        assert_eq!((answer.status(), answer.problem().as_str()), (403, "statement-expired"));
        // Nobody reads on to where the next request would begin, and the client is told.
        assert_eq!(answer.header("connection"), Some("close"));
    });
}

#[test]
fn a_removed_key_signs_no_more_and_what_it_signed_stays() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("rotating").await;
        acme.guest("hello").await;
        let kid = acme.key().kid().parse().unwrap();
        edge.client().delete_key(acme.name(), &kid, Default::default()).await.unwrap();
        let next = acme.upload("hello", 2, with_section(&component("hello"), "next")).await;
        assert_eq!(refusal(next), "publisher-unknown");
        assert_eq!(edge.get("hello.rotating.test/").await.status(), 200);
    });
}

/// A statement with a header of another algorithm, and a signature of some bytes.
fn unsigned(alg: &str, kid: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"module-statement"}}"#);
    format!("{}.{}.{}", part(&header), part("{}"), part("signature"))
}

#[test]
fn a_refusal_names_what_was_wrong_and_carries_its_request_id() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("said").await;
        acme.version("site", 5, component("hello")).await;
        let refused = acme.upload("site", 4, with_section(&component("hello"), "old")).await;
        let Err(ClientError::Problem(problem)) = refused else {
            panic!("a refusal");
        };
        assert_eq!(problem.status, 409);
        assert!(problem.problem_type.starts_with("https://"), "{problem:?}");
        assert!(problem.detail.contains('4') && problem.detail.contains('5'), "{problem:?}");
        assert_eq!(problem.more["highest"], 5);
        assert!(!problem.request_id.is_empty());
    });
}
