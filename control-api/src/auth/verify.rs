//! One token against one set of trusted keys, at one instant.
//!
//! The order is fixed: shape, algorithm, key, signature, claims. Nothing in the claims is looked at before the signature
//! verifies.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge_config::TenantName;
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde_json::Number;

use super::jwks::{TrustedKey, TrustedKeys};
use crate::json;

use super::{Principal, Scope, TokenFault};

/// Longest token that is looked at, in bytes.
pub(super) const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Longest `sub` and `iss`, in bytes: they go into the audit log.
const NAME_BYTES_MAX: usize = 255;

/// What a node expects of a token.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) audience: String,
    pub(super) issuers: Vec<String>,
    pub(super) lifetime_s_max: u64,
    pub(super) clock_skew_s: u64,
}

/// The part of a token's header that decides which key checks it.
#[derive(Debug)]
pub(super) struct TokenHeader {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl TokenHeader {
    /// Reads the header without believing it.
    pub(super) fn read(token: &str) -> Result<Self, TokenFault> {
        #[derive(Deserialize)]
        struct Raw {
            alg: String,
            kid: Option<String>,
            crit: Option<serde_json::Value>,
        }
        let malformed = |why: String| TokenFault::Malformed { why };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(malformed(format!(
                "it is longer than {TOKEN_BYTES_MAX} bytes"
            )));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(_), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("it has not three parts".to_owned()));
        };
        let header = URL_SAFE_NO_PAD
            .decode(header)
            .map_err(|error| malformed(format!("its header is not base64url: {error}")))?;
        let raw: Raw =
            json::object(&header).map_err(|error| malformed(format!("its header: {error}")))?;
        let algorithm = match raw.alg.as_str() {
            "EdDSA" => Algorithm::EdDSA,
            "ES256" => Algorithm::ES256,
            "RS256" => Algorithm::RS256,
            other => {
                return Err(TokenFault::Algorithm {
                    alg: other.chars().take(32).collect(),
                });
            }
        };
        if raw.crit.is_some() {
            return Err(TokenFault::Critical);
        }
        Ok(Self {
            algorithm,
            kid: raw.kid,
        })
    }

    /// The trusted key that this token must verify with.
    pub(super) fn choose<'k>(&self, keys: &'k TrustedKeys) -> Result<&'k TrustedKey, TokenFault> {
        let key = match &self.kid {
            Some(kid) => keys.get(kid).ok_or_else(|| TokenFault::KeyUnknown {
                kid: kid.chars().take(128).collect(),
            })?,
            None => keys.only().ok_or(TokenFault::KeyUnnamed {
                trusted: keys.len(),
            })?,
        };
        if key.algorithm != self.algorithm {
            return Err(TokenFault::AlgorithmOfKey {
                alg: format!("{:?}", self.algorithm),
                kid: key.kid.clone(),
                pinned: key.algorithm_name(),
            });
        }
        Ok(key)
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Audience>,
    exp: Option<Number>,
    nbf: Option<Number>,
    iat: Option<Number>,
    scope: Option<String>,
    tenant: Option<String>,
}

/// `aud` is one string or several (RFC 7519 §4.1.3).
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn contains(&self, name: &str) -> bool {
        match self {
            Audience::One(one) => one == name,
            Audience::Several(several) => several.iter().any(|one| one == name),
        }
    }
}

/// Checks `token` with `key` and the rules, at `now`.
pub(super) fn verify(
    token: &str,
    key: &TrustedKey,
    rules: &Rules,
    now: u64,
) -> Result<Principal, TokenFault> {
    use jsonwebtoken::errors::ErrorKind;

    // The library checks the signature with the pinned algorithm; the claims are ours, because time is passed in here.
    let mut validation = Validation::new(key.algorithm);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &validation)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => TokenFault::Signature {
                kid: key.kid.clone(),
            },
            ErrorKind::Json(error) => TokenFault::Claims {
                why: error.to_string(),
            },
            _ => TokenFault::Malformed {
                why: error.to_string(),
            },
        })?
        .claims;
    check(claims, rules, now)
}

fn check(claims: Claims, rules: &Rules, now: u64) -> Result<Principal, TokenFault> {
    let missing = |claim| TokenFault::ClaimMissing { claim };
    let issuer = claims.iss.ok_or(missing("iss"))?;
    if !rules.issuers.contains(&issuer) {
        return Err(TokenFault::Issuer);
    }
    if !claims.aud.ok_or(missing("aud"))?.contains(&rules.audience) {
        return Err(TokenFault::Audience {
            node: rules.audience.clone(),
        });
    }
    let exp = seconds("exp", claims.exp.ok_or(missing("exp"))?)?;
    let nbf = claims.nbf.map(|nbf| seconds("nbf", nbf)).transpose()?;
    let iat = claims.iat.map(|iat| seconds("iat", iat)).transpose()?;
    if exp.saturating_add(rules.clock_skew_s) <= now {
        return Err(TokenFault::Expired { exp, now });
    }
    for from in [nbf, iat].into_iter().flatten() {
        if from > now.saturating_add(rules.clock_skew_s) {
            return Err(TokenFault::NotYetValid { from, now });
        }
    }
    // A token that says when it was made is measured from there; another from now, which can only be later.
    let lifetime_s = exp.saturating_sub(iat.unwrap_or(now));
    if lifetime_s > rules.lifetime_s_max {
        return Err(TokenFault::Lifetime {
            lifetime_s,
            lifetime_s_max: rules.lifetime_s_max,
        });
    }
    let subject = claims.sub.ok_or(missing("sub"))?;
    for (claim, text) in [("sub", &subject), ("iss", &issuer)] {
        if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(TokenFault::Claims {
                why: format!(
                    "`{claim}` must have 1 to {NAME_BYTES_MAX} bytes and no control characters"
                ),
            });
        }
    }
    let tenant = claims
        .tenant
        .map(|name| name.parse::<TenantName>())
        .transpose()
        .map_err(|error| TokenFault::Tenant {
            why: error.to_string(),
        })?;
    let scopes = claims
        .scope
        .as_deref()
        .unwrap_or_default()
        .split(' ')
        .filter_map(|scope| scope.parse::<Scope>().ok())
        .collect();
    Ok(Principal {
        subject,
        issuer,
        scopes,
        tenant,
        expires_at: exp.saturating_add(rules.clock_skew_s),
    })
}

/// A NumericDate (RFC 7519 §2) in whole seconds; fractions are cut off.
fn seconds(claim: &'static str, number: Number) -> Result<u64, TokenFault> {
    // Beyond 2^53 a number is no exact date any more, in any reader.
    const SECONDS_MAX: u64 = 1 << 53;
    let whole = match (number.as_u64(), number.as_f64()) {
        (Some(whole), _) => Some(whole),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range is checked in the guard"
        )]
        (None, Some(float)) if (0.0..9e15).contains(&float) => Some(float.trunc() as u64),
        _ => None,
    };
    match whole {
        Some(whole) if whole <= SECONDS_MAX => Ok(whole),
        _ => Err(TokenFault::Claims {
            why: format!("`{claim}` is {number}, which is no date in seconds since 1970"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keypair::{PrivateKey, jwks_document};
    use crate::token::{TokenRequest, mint};

    const NOW: u64 = 1_790_000_000;

    fn check(token: &str, keys: &TrustedKeys) -> Result<Principal, TokenFault> {
        let rules = Rules {
            audience: "edge-1".to_owned(),
            issuers: vec!["littoral".to_owned()],
            lifetime_s_max: 3600,
            clock_skew_s: 30,
        };
        verify(token, TokenHeader::read(token)?.choose(keys)?, &rules, NOW)
    }

    fn good() -> (String, TrustedKeys) {
        let key = PrivateKey::generate().unwrap();
        let request = TokenRequest {
            issuer: "littoral".to_owned(),
            subject: "tester".to_owned(),
            audience: "edge-1".to_owned(),
            scopes: vec![Scope::Deploy, Scope::Read],
            tenant: Some("acme".parse().unwrap()),
            lifetime_s: 600,
        };
        let keys = TrustedKeys::strict(&jwks_document(&[key.public()])).unwrap();
        (mint(&key, &request, NOW).unwrap(), keys)
    }

    #[test]
    fn what_was_minted_is_what_is_believed() {
        let (token, keys) = good();
        let principal = check(&token, &keys).unwrap();
        assert_eq!(principal.who(), "tester (littoral)");
        assert_eq!(principal.scopes, [Scope::Deploy, Scope::Read]);
        assert_eq!(principal.tenant, Some("acme".parse().unwrap()));
        assert_eq!(principal.expires_at, NOW + 630);
    }

    #[test]
    fn dates_may_have_fractions_but_must_be_dates() {
        let date = |text: &str| seconds("exp", text.parse().unwrap());
        assert_eq!(date("1790000000.75").unwrap(), NOW);
        assert_eq!(date("0").unwrap(), 0);
        for bad in ["-1", "-0.5", "1e16", "18446744073709551615"] {
            assert!(date(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_refused_without_a_panic(text in "\\PC{0,200}") {
            let (_, keys) = good();
            prop_assert!(check(&text, &keys).is_err());
        }

        #[test]
        fn any_flipped_byte_fails(at in any::<prop::sample::Index>(), bits in 1_u8..128) {
            let (token, keys) = good();
            let mut bytes = token.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert!(check(&text, &keys).is_err(), "{text}");
            }
        }
    }
}
