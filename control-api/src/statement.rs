//! The upload statement: what a publisher signs, in the header `Module-Signature`.
//!
//! Takes a compact JWS (RFC 7515 §3.1); promises the order shape, algorithm, key, signature, claims, so that nothing of
//! a statement is believed before its signature verifies, and that each failure is its own [`PlaneError`]. Never fetches
//! a key that a header points at (`jku`, `jwk`, `x5u` are not looked at).

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge_config::{Digest, KeyId, ModuleName, TenantName};
use serde::{Deserialize, Serialize};

use crate::error::PlaneError;
use crate::json;
use crate::keypair::PrivateKey;
use crate::view::PublicJwk;

/// The request header that carries a statement.
pub const HEADER: &str = "module-signature";
/// Longest statement in bytes; a real one has about 500.
pub const BYTES_MAX: usize = 8 * 1024;
/// The highest version: the largest whole number that every JSON reader keeps as it is (RFC 8259 §6).
pub const VERSION_MAX: u64 = (1 << 53) - 1;
/// The JOSE header's `typ` of a statement: a token of another kind, signed by the same key, is not one.
const TYP: &str = "module-statement";

/// What a publisher states about the bytes of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The tenant it is for.
    pub tenant: TenantName,
    /// The module it is for.
    pub module: ModuleName,
    /// The version it is to become: above every one accepted before.
    pub version: u64,
    /// The digest of the bytes.
    pub digest: Digest,
    /// When it was signed, in seconds since 1970.
    pub iat: u64,
    /// Until when it may be used, in seconds since 1970.
    pub exp: u64,
}

/// What a statement must say to be used now, here.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The tenant in the path.
    pub tenant: &'a TenantName,
    /// The module in the path.
    pub module: &'a ModuleName,
    /// The node's clock, in seconds since 1970.
    pub now: u64,
    /// How far the publisher's clock may differ, in seconds.
    pub clock_skew_s: u64,
    /// Longest time from `iat` to `exp`, in seconds.
    pub lifetime_s_max: u64,
}

/// Signs a statement.
pub fn sign(key: &PrivateKey, statement: &Statement) -> String {
    key.sign_compact(TYP, statement)
}

/// A statement whose shape and algorithm are good, and nothing else known of it.
#[derive(Debug, Clone)]
pub struct SignedStatement<'a> {
    kid: String,
    signed: &'a str,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

/// Verifies a statement completely: [`SignedStatement::parse`], [`SignedStatement::verify`], [`Statement::check`].
///
/// `key` looks up the tenant's publisher key of an id.
///
/// # Errors
/// The first failure, in the order of the module's promise.
pub fn verify(
    text: &str,
    key: impl FnOnce(&KeyId) -> Option<PublicJwk>,
    expected: &Expected<'_>,
) -> Result<(Statement, KeyId), PlaneError> {
    let signed = SignedStatement::parse(text)?;
    let kid = signed.kid()?;
    let jwk = key(&kid).ok_or_else(|| signed.publisher_unknown())?;
    let statement = signed.verify(&kid, &jwk)?;
    statement.check(expected)?;
    Ok((statement, kid))
}

impl<'a> SignedStatement<'a> {
    /// Looks at shape and algorithm only.
    ///
    /// # Errors
    /// [`PlaneError::StatementMalformed`], [`PlaneError::StatementAlgorithm`].
    pub fn parse(text: &'a str) -> Result<Self, PlaneError> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            kid: Option<String>,
            typ: Option<String>,
            crit: Option<serde_json::Value>,
        }
        if text.len() > BYTES_MAX {
            return Err(malformed(format!("it is longer than {BYTES_MAX} bytes")));
        }
        let (signed, signature) = text
            .rsplit_once('.')
            .ok_or_else(|| malformed("it has not three parts"))?;
        let (header, claims) = match signed.split_once('.') {
            Some((header, claims)) if !claims.contains('.') => (header, claims),
            _ => return Err(malformed("it has not three parts")),
        };
        let header: Header = json::object(&part("header", header)?)
            .map_err(|error| malformed(format!("its header: {error}")))?;
        let claims = part("claims", claims)?;
        let signature = part("signature", signature)?;
        if header.crit.is_some() {
            // RFC 7515 §4.1.11: an extension that is not understood must be refused, and we know none.
            return Err(malformed("its header has `crit`; no extension is known"));
        }
        if let Some(typ) = header.typ.filter(|typ| typ != TYP) {
            return Err(malformed(format!(
                "its header's `typ` is {:?}; expected is {TYP:?} or none",
                cut(&typ)
            )));
        }
        if header.alg != "EdDSA" {
            return Err(PlaneError::StatementAlgorithm {
                alg: cut(&header.alg),
            });
        }
        let kid = header
            .kid
            .ok_or_else(|| malformed("its header has no `kid`"))?;
        Ok(Self {
            kid,
            signed,
            claims,
            signature,
        })
    }

    /// The key it says it was signed with.
    ///
    /// # Errors
    /// [`PlaneError::PublisherUnknown`] for an id that no key can have.
    pub fn kid(&self) -> Result<KeyId, PlaneError> {
        self.kid.parse().map_err(|_| self.publisher_unknown())
    }

    /// The answer where no trusted key has its id.
    pub fn publisher_unknown(&self) -> PlaneError {
        PlaneError::PublisherUnknown {
            kid: cut(&self.kid),
        }
    }

    /// Verifies the signature with the trusted key of that id, and reads the claims.
    ///
    /// # Errors
    /// [`PlaneError::SignatureInvalid`]; [`PlaneError::StatementMalformed`] for claims that are missing, unknown or of
    /// the wrong type; [`PlaneError::Internal`] for a trusted key that is none.
    pub fn verify(&self, kid: &KeyId, jwk: &PublicJwk) -> Result<Statement, PlaneError> {
        let key = jwk.bytes().map_err(|(member, why)| PlaneError::Internal {
            inside: format!("the trusted key `{kid}` is no key: `{member}`: {why}"),
        })?;
        UnparsedPublicKey::new(&ED25519, key)
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| PlaneError::SignatureInvalid { kid: kid.clone() })?;
        json::object(&self.claims).map_err(|error| malformed(format!("its claims: {error}")))
    }
}

impl Statement {
    /// Whether a verified statement may be used now, here.
    ///
    /// # Errors
    /// In this order: [`PlaneError::StatementWrongTenant`], [`PlaneError::StatementWrongModule`],
    /// [`PlaneError::StatementExpired`], [`PlaneError::StatementNotYetValid`], [`PlaneError::StatementLifetime`], and
    /// [`PlaneError::StatementMalformed`] where it ends before it begins or its version is above [`VERSION_MAX`].
    pub fn check(&self, expected: &Expected<'_>) -> Result<(), PlaneError> {
        self.check_place(expected.tenant, expected.module)?;
        let (now, skew) = (expected.now, expected.clock_skew_s);
        if self.exp.saturating_add(skew) <= now {
            return Err(PlaneError::StatementExpired { exp: self.exp, now });
        }
        if self.iat > now.saturating_add(skew) {
            return Err(PlaneError::StatementNotYetValid { iat: self.iat, now });
        }
        if self.version > VERSION_MAX {
            return Err(malformed(format!("its `version` is above {VERSION_MAX}")));
        }
        let lifetime_s = self
            .exp
            .checked_sub(self.iat)
            .ok_or_else(|| malformed("its `exp` is before its `iat`"))?;
        if lifetime_s > expected.lifetime_s_max {
            return Err(PlaneError::StatementLifetime {
                lifetime_s,
                lifetime_s_max: expected.lifetime_s_max,
            });
        }
        Ok(())
    }

    /// Whether it is for this tenant and module; all that is asked of a statement that was accepted before.
    ///
    /// # Errors
    /// [`PlaneError::StatementWrongTenant`], [`PlaneError::StatementWrongModule`].
    pub fn check_place(&self, tenant: &TenantName, module: &ModuleName) -> Result<(), PlaneError> {
        if self.tenant != *tenant {
            return Err(PlaneError::StatementWrongTenant {
                stated: self.tenant.to_string(),
                tenant: tenant.clone(),
            });
        }
        if self.module != *module {
            return Err(PlaneError::StatementWrongModule {
                stated: self.module.to_string(),
                module: module.clone(),
            });
        }
        Ok(())
    }
}

fn malformed(why: impl Into<String>) -> PlaneError {
    PlaneError::StatementMalformed { why: why.into() }
}

fn part(name: &str, text: &str) -> Result<Vec<u8>, PlaneError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|error| malformed(format!("its {name} is not base64url: {error}")))
}

/// Outside text short enough for an answer.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn statement() -> Statement {
        Statement {
            tenant: "acme".parse().unwrap(),
            module: "hello".parse().unwrap(),
            version: 7,
            digest: format!("sha-256:{}", "0".repeat(64)).parse().unwrap(),
            iat: NOW,
            exp: NOW + 3600,
        }
    }

    fn key() -> PrivateKey {
        PrivateKey::generate().unwrap()
    }

    fn check_at(key: &PrivateKey, text: &str, now: u64) -> Result<Statement, PlaneError> {
        let (tenant, module) = ("acme".parse().unwrap(), "hello".parse().unwrap());
        let expected = Expected {
            tenant: &tenant,
            module: &module,
            now,
            clock_skew_s: 30,
            lifetime_s_max: 3600,
        };
        let known = |kid: &KeyId| (kid.to_string() == key.kid()).then(|| key.public());
        verify(text, known, &expected).map(|(statement, _)| statement)
    }

    fn check(key: &PrivateKey, text: &str) -> Result<Statement, PlaneError> {
        check_at(key, text, NOW)
    }

    fn with_header(key: &PrivateKey, header: &str) -> String {
        let good = sign(key, &statement());
        let (_, rest) = good.split_once('.').unwrap();
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn a_good_statement_is_read() {
        let key = key();
        let text = sign(&key, &statement());
        assert_eq!(check(&key, &text).unwrap(), statement());
    }

    #[test]
    fn shape_comes_first() {
        let key = key();
        let long = "a".repeat(BYTES_MAX + 1);
        let cases: [(&str, &str); 8] = [
            ("", "three parts"),
            ("a.b", "three parts"),
            ("a.b.c.d", "three parts"),
            ("!.e30.AA", "header is not base64url"),
            ("e30.!.AA", "header: missing field `alg`"),
            ("e30.e30.AA", "header: missing field `alg`"),
            ("bnVsbA.e30.AA", "header: an object is expected"),
            (&long, "longer than"),
        ];
        for (text, wanted) in cases {
            match check(&key, text) {
                Err(PlaneError::StatementMalformed { why }) => {
                    assert!(why.contains(wanted), "{text}: {why}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn only_eddsa_is_an_algorithm() {
        let key = key();
        for alg in ["none", "HS256", "ES256", "eddsa"] {
            let text = with_header(&key, &format!(r#"{{"alg":"{alg}","kid":"{}"}}"#, key.kid()));
            assert!(
                matches!(check(&key, &text), Err(PlaneError::StatementAlgorithm { alg: a }) if a == alg)
            );
        }
    }

    #[test]
    fn critical_extensions_and_other_types_are_refused() {
        let key = key();
        for header in [
            r#"{"alg":"EdDSA","kid":"k","crit":["exp"],"exp":1}"#,
            r#"{"alg":"EdDSA","kid":"k","crit":["b64"],"b64":false}"#,
            r#"{"alg":"EdDSA","kid":"k","typ":"JWT"}"#,
            r#"{"alg":"EdDSA"}"#,
            r#"{"alg":"EdDSA","alg":"none","kid":"k"}"#,
        ] {
            assert!(
                matches!(
                    check(&key, &with_header(&key, header)),
                    Err(PlaneError::StatementMalformed { .. })
                ),
                "{header}"
            );
        }
    }

    #[test]
    fn an_unknown_publisher_comes_before_its_signature() {
        let (key, other) = (key(), key());
        let text = sign(&other, &statement());
        assert!(matches!(
            check(&key, &text),
            Err(PlaneError::PublisherUnknown { kid }) if kid == other.kid()
        ));
        let text = with_header(&key, r#"{"alg":"EdDSA","kid":"no key/id"}"#);
        assert!(matches!(
            check(&key, &text),
            Err(PlaneError::PublisherUnknown { .. })
        ));
    }

    #[test]
    fn a_signature_of_another_key_under_a_known_id_is_refused() {
        let (key, other) = (key(), key());
        let text = sign(&key, &statement());
        let (signed, _) = text.rsplit_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(
            URL_SAFE_NO_PAD
                .decode(sign(&other, &statement()).rsplit_once('.').unwrap().1)
                .unwrap(),
        );
        assert!(matches!(
            check(&key, &format!("{signed}.{forged}")),
            Err(PlaneError::SignatureInvalid { .. })
        ));
    }

    #[test]
    fn claims_are_complete_and_no_more() {
        let key = key();
        let good = serde_json::to_value(statement()).unwrap();
        for claim in ["tenant", "module", "version", "digest", "iat", "exp"] {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(claim);
            let text = key.sign_compact(TYP, &claims);
            match check(&key, &text) {
                Err(PlaneError::StatementMalformed { why }) => {
                    assert!(why.contains(claim), "{why}")
                }
                other => panic!("{claim}: {other:?}"),
            }
        }
        let mut claims = good;
        claims["sub"] = "x".into();
        assert!(matches!(
            check(&key, &key.sign_compact(TYP, &claims)),
            Err(PlaneError::StatementMalformed { why }) if why.contains("`sub`")
        ));
    }

    #[test]
    fn each_claim_has_its_own_refusal() {
        let key = key();
        let signed = |change: fn(&mut Statement)| {
            let mut statement = statement();
            change(&mut statement);
            check(&key, &sign(&key, &statement)).unwrap_err()
        };
        assert!(matches!(
            signed(|s| s.tenant = "other".parse().unwrap()),
            PlaneError::StatementWrongTenant { stated, .. } if stated == "other"
        ));
        assert!(matches!(
            signed(|s| s.module = "other".parse().unwrap()),
            PlaneError::StatementWrongModule { stated, .. } if stated == "other"
        ));
        assert!(matches!(
            signed(|s| (s.iat, s.exp) = (NOW - 100, NOW - 30)),
            PlaneError::StatementExpired { .. }
        ));
        assert!(matches!(
            signed(|s| s.iat = NOW + 31),
            PlaneError::StatementNotYetValid { .. }
        ));
        assert!(matches!(
            signed(|s| s.exp = NOW + 3601),
            PlaneError::StatementLifetime {
                lifetime_s: 3601,
                ..
            }
        ));
        assert!(matches!(
            signed(|s| (s.iat, s.exp) = (NOW + 30, NOW + 20)),
            PlaneError::StatementMalformed { .. }
        ));
    }

    #[test]
    fn clocks_may_differ_by_the_skew_and_no_more() {
        let key = key();
        let text = sign(&key, &statement());
        assert!(check_at(&key, &text, NOW - 30).is_ok());
        assert!(check_at(&key, &text, NOW - 31).is_err());
        assert!(check_at(&key, &text, NOW + 3629).is_ok());
        assert!(check_at(&key, &text, NOW + 3630).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_refused_without_a_panic(text in "\\PC{0,300}") {
            prop_assert!(check(&key(), &text).is_err());
        }

        #[test]
        fn arbitrary_parts_are_refused_without_a_panic(
            header in proptest::collection::vec(any::<u8>(), 0..80),
            claims in proptest::collection::vec(any::<u8>(), 0..80),
            signature in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let text = [header, claims, signature].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
            prop_assert!(check(&key(), &text).is_err());
        }

        #[test]
        fn any_flipped_byte_fails(at in any::<prop::sample::Index>(), bits in 1_u8..128) {
            let key = key();
            let mut bytes = sign(&key, &statement()).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert!(check(&key, &text).is_err(), "{text}");
            }
        }
    }
}
