//! Trusted keys: from JWKS text (RFC 7517 §5) to keys with one algorithm each.
//!
//! Takes text from a file or a URL; promises that every key has a `kid`, exactly one algorithm, and a sane size. Never
//! lets a symmetric key in: whoever could check a token with it could also make one.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse, ThumbprintHash,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::json;

/// Most keys that one source may hold.
pub const KEYS_MAX: usize = 64;
/// Longest `kid` in bytes.
const KID_BYTES_MAX: usize = 128;
/// Smallest and largest RSA modulus, in bits: below is weak, above is only slow.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why a key, or a set of keys, is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a JWK Set.
    #[error("not a JWK Set: {why}")]
    NotASet {
        /// What does not fit.
        why: String,
    },
    /// Too many keys.
    #[error("{count} keys; at most {KEYS_MAX} are taken from one source")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// One key is not taken.
    #[error("key {position} (`{kid}`): {why}")]
    Key {
        /// Its place in the set, from 1.
        position: usize,
        /// Its `kid`, or `no kid`.
        kid: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two keys of one id.
    #[error("two keys have the id `{kid}`")]
    Twice {
        /// The id.
        kid: String,
    },
}

/// One trusted key with the one algorithm it is for.
#[derive(Clone)]
pub(super) struct TrustedKey {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl TrustedKey {
    pub(super) fn algorithm_name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::EdDSA => "EdDSA",
            Algorithm::ES256 => "ES256",
            Algorithm::RS256 => "RS256",
            _ => "none", // `pin` gives no other
        }
    }
}

/// The keys of one source, or of all together.
#[derive(Clone, Default)]
pub struct TrustedKeys {
    by_kid: BTreeMap<String, TrustedKey>,
}

impl std::fmt::Debug for TrustedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_kid.keys()).finish()
    }
}

impl TrustedKeys {
    /// Reads a JWKS that the operator wrote: every key in it must be good.
    ///
    /// # Errors
    /// [`KeyError`] naming the first key that is not taken, and why.
    pub fn strict(text: &str) -> Result<Self, KeyError> {
        let mut keys = Self::default();
        for (position, value) in members(text)?.into_iter().enumerate() {
            keys.insert(trusted(position + 1, value)?)?;
        }
        Ok(keys)
    }

    /// Reads a JWKS that someone else publishes: keys that are not for signing tokens are left out, with a reason.
    ///
    /// # Errors
    /// [`KeyError`] where it is no set, holds too many keys, two of one id, or none that can be used.
    pub fn lenient(text: &str) -> Result<(Self, Vec<KeyError>), KeyError> {
        let mut keys = Self::default();
        let mut left_out = Vec::new();
        for (position, value) in members(text)?.into_iter().enumerate() {
            match trusted(position + 1, value) {
                Ok(key) => keys.insert(key)?,
                Err(why) => left_out.push(why),
            }
        }
        if keys.is_empty() {
            return Err(left_out.pop().unwrap_or(KeyError::NotASet {
                why: "it holds no key".to_owned(),
            }));
        }
        Ok((keys, left_out))
    }

    fn insert(&mut self, key: TrustedKey) -> Result<(), KeyError> {
        let kid = key.kid.clone();
        match self.by_kid.insert(kid.clone(), key) {
            None => Ok(()),
            Some(_) => Err(KeyError::Twice { kid }),
        }
    }

    /// Adds the keys of another source; where both have an id, the key already here stays.
    pub fn absorb(&mut self, other: &TrustedKeys) {
        for (kid, key) in &other.by_kid {
            self.by_kid
                .entry(kid.clone())
                .or_insert_with(|| key.clone());
        }
    }

    /// Adds the keys of another source, none of which may be here already.
    ///
    /// # Errors
    /// [`KeyError::Twice`].
    pub fn join(&mut self, other: TrustedKeys) -> Result<(), KeyError> {
        other
            .by_kid
            .into_values()
            .try_for_each(|key| self.insert(key))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.by_kid.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_kid.is_empty()
    }

    pub(super) fn get(&self, kid: &str) -> Option<&TrustedKey> {
        self.by_kid.get(kid)
    }

    /// The key, where there is exactly one.
    pub(super) fn only(&self) -> Option<&TrustedKey> {
        let mut keys = self.by_kid.values();
        match (keys.next(), keys.next()) {
            (Some(key), None) => Some(key),
            _ => None,
        }
    }
}

fn members(text: &str) -> Result<Vec<Value>, KeyError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = json::object(text.as_bytes()).map_err(|error| KeyError::NotASet {
        why: error.to_string(),
    })?;
    if set.keys.len() > KEYS_MAX {
        return Err(KeyError::TooMany {
            count: set.keys.len(),
        });
    }
    Ok(set.keys)
}

fn trusted(position: usize, value: Value) -> Result<TrustedKey, KeyError> {
    let kid = value
        .get("kid")
        .and_then(Value::as_str)
        .unwrap_or("no kid")
        .chars()
        .take(KID_BYTES_MAX)
        .collect();
    take(value).map_err(|why| KeyError::Key { position, kid, why })
}

fn take(value: Value) -> Result<TrustedKey, String> {
    if value.get("kty").and_then(Value::as_str) == Some("oct") {
        return Err(
            "a symmetric key (`oct`) is never trusted: who can check a token with it can make one"
                .to_owned(),
        );
    }
    let jwk: Jwk = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if let Some(key_use) = &jwk.common.public_key_use
        && *key_use != PublicKeyUse::Signature
    {
        return Err("its `use` is not `sig`".to_owned());
    }
    let algorithm = pin(&jwk)?;
    let key = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
    let kid = match &jwk.common.key_id {
        Some(kid) if kid.is_empty() || kid.len() > KID_BYTES_MAX => {
            return Err(format!("its `kid` must have 1 to {KID_BYTES_MAX} bytes"));
        }
        Some(kid) => kid.clone(),
        None => jwk
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(|error| error.to_string())?,
    };
    Ok(TrustedKey {
        kid,
        algorithm,
        key,
    })
}

/// The one algorithm a key is for: what `alg` says where it is there, else what type and curve leave no choice about.
fn pin(jwk: &Jwk) -> Result<Algorithm, String> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => {
            sized("x", &okp.x, 32)?;
            Algorithm::EdDSA
        }
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            sized("x", &ec.x, 32)?;
            sized("y", &ec.y, 32)?;
            Algorithm::ES256
        }
        AlgorithmParameters::RSA(rsa) => {
            let bits = modulus_bits(&rsa.n)?;
            if !RSA_BITS.contains(&bits) {
                return Err(format!(
                    "its RSA modulus has {bits} bits; {} to {} are taken",
                    RSA_BITS.start(),
                    RSA_BITS.end()
                ));
            }
            if jwk.common.key_algorithm.is_none() {
                return Err("an RSA key needs `alg`; taken is `RS256`".to_owned());
            }
            Algorithm::RS256
        }
        _ => return Err("taken are Ed25519, P-256 and RSA keys".to_owned()),
    };
    let said = match jwk.common.key_algorithm {
        None => return Ok(algorithm),
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(other) => {
            return Err(format!(
                "its `alg` is {other}; taken are EdDSA, ES256 and RS256"
            ));
        }
    };
    if said == algorithm {
        Ok(algorithm)
    } else {
        Err(format!(
            "its `alg` says {said:?}, its type says {algorithm:?}"
        ))
    }
}

fn sized(member: &str, text: &str, bytes: usize) -> Result<(), String> {
    match URL_SAFE_NO_PAD.decode(text) {
        Ok(decoded) if decoded.len() == bytes => Ok(()),
        Ok(decoded) => Err(format!(
            "its `{member}` has {} bytes, not {bytes}",
            decoded.len()
        )),
        Err(error) => Err(format!("its `{member}` is not base64url: {error}")),
    }
}

fn modulus_bits(n: &str) -> Result<usize, String> {
    let bytes = URL_SAFE_NO_PAD
        .decode(n)
        .map_err(|error| format!("its `n` is not base64url: {error}"))?;
    let leading = bytes.iter().take_while(|byte| **byte == 0).count();
    Ok(match bytes.get(leading) {
        None => 0,
        Some(first) => (bytes.len() - leading) * 8 - first.leading_zeros() as usize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn set(keys: &str) -> String {
        format!(r#"{{"keys":[{keys}]}}"#)
    }

    fn refused(keys: &str) -> String {
        TrustedKeys::strict(&set(keys)).unwrap_err().to_string()
    }

    #[test]
    fn a_key_without_kid_gets_its_thumbprint() {
        let keys = TrustedKeys::strict(&set(ED)).unwrap();
        // The thumbprint of RFC 8037 A.3.
        assert_eq!(
            keys.only().unwrap().kid,
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
        assert_eq!(keys.only().unwrap().algorithm, Algorithm::EdDSA);
    }

    #[test]
    fn symmetric_keys_are_refused_with_a_reason() {
        let why = refused(r#"{"kty":"oct","k":"c2VjcmV0","kid":"h","alg":"HS256"}"#);
        assert!(why.contains("symmetric"), "{why}");
        assert!(why.contains("`h`"), "{why}");
    }

    #[test]
    fn rsa_needs_alg_and_2048_bits() {
        let n_1024 = URL_SAFE_NO_PAD.encode([0xff; 128]);
        let n_2048 = URL_SAFE_NO_PAD.encode([0xff; 256]);
        let why = refused(&format!(
            r#"{{"kty":"RSA","n":"{n_1024}","e":"AQAB","alg":"RS256"}}"#
        ));
        assert!(why.contains("1024 bits"), "{why}");
        let why = refused(&format!(r#"{{"kty":"RSA","n":"{n_2048}","e":"AQAB"}}"#));
        assert!(why.contains("needs `alg`"), "{why}");
        let why = refused(&format!(
            r#"{{"kty":"RSA","n":"{n_2048}","e":"AQAB","alg":"PS256"}}"#
        ));
        assert!(why.contains("PS256"), "{why}");
        TrustedKeys::strict(&set(&format!(
            r#"{{"kty":"RSA","n":"{n_2048}","e":"AQAB","alg":"RS256","kid":"r"}}"#
        )))
        .unwrap();
    }

    #[test]
    fn alg_and_type_must_agree() {
        let why = refused(&ED.replace("{", r#"{"alg":"ES256","#));
        assert!(why.contains("ES256"), "{why}");
        let why = refused(r#"{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}"#);
        assert!(why.contains("P-256"), "{why}");
    }

    #[test]
    fn two_keys_of_one_id_and_too_many_are_refused() {
        let one = ED.replace("{", r#"{"kid":"a","#);
        assert_eq!(
            TrustedKeys::strict(&set(&format!("{one},{one}"))).unwrap_err(),
            KeyError::Twice {
                kid: "a".to_owned()
            }
        );
        let many = vec![ED; KEYS_MAX + 1].join(",");
        assert_eq!(
            TrustedKeys::strict(&set(&many)).unwrap_err(),
            KeyError::TooMany {
                count: KEYS_MAX + 1
            }
        );
    }

    #[test]
    fn a_published_set_may_hold_keys_for_other_things() {
        let enc = r#"{"kty":"EC","crv":"P-256","x":"a","y":"b","use":"enc"}"#;
        let (keys, left_out) = TrustedKeys::lenient(&set(&format!("{enc},{ED}"))).unwrap();
        assert_eq!((keys.len(), left_out.len()), (1, 1));
        assert!(TrustedKeys::lenient(&set(enc)).is_err());
        assert!(TrustedKeys::lenient("<html>").is_err());
        assert!(TrustedKeys::lenient(&set("")).is_err());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            let _ = TrustedKeys::strict(&text);
            let _ = TrustedKeys::strict(&set(&text));
        }
    }
}
