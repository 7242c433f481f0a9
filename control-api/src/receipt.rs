//! Receipts: signing and verifying what a tenant used.
//!
//! A compact JWS (RFC 7515) with `alg` EdDSA, `typ` `littoral-receipt+jws` and the node's `kid` over the claims of
//! [`ReceiptClaims`]. Whether a key is the node's is for who verifies to know.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json;
use crate::keypair::PrivateKey;
use crate::view::{PublicJwk, ReceiptClaims};

const TYP: &str = "littoral-receipt+jws";
/// The longest receipt that is read, in bytes.
const BYTES_MAX: usize = 8 * 1024;

/// A receipt that proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// It has another form.
    #[error("it is no receipt: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// The signature is not of this key over these claims.
    #[error("its signature is not of the key {kid}")]
    Signature {
        /// The key's id.
        kid: String,
    },
}

/// Signs a receipt.
pub fn sign(key: &PrivateKey, claims: &ReceiptClaims) -> String {
    key.sign_compact(TYP, claims)
}

/// Verifies a receipt with the node's public key, and reads it.
///
/// # Errors
/// [`ReceiptError`].
pub fn verify(text: &str, key: &PublicJwk) -> Result<ReceiptClaims, ReceiptError> {
    #[derive(serde::Deserialize)]
    struct Header {
        alg: String,
        typ: String,
    }
    let malformed = |why: &str| ReceiptError::Malformed {
        why: why.to_owned(),
    };
    if text.len() > BYTES_MAX {
        return Err(malformed("it is too long"));
    }
    let parts = || {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        Some((signed, decode(header)?, decode(claims)?, decode(signature)?))
    };
    let (signed, header, claims, signature) =
        parts().ok_or_else(|| malformed("it has not three parts in base64url"))?;
    let header: Header = json::object(&header).map_err(|error| malformed(&error.to_string()))?;
    if header.alg != "EdDSA" || header.typ != TYP {
        return Err(malformed("its header is another's"));
    }
    let public = key
        .bytes()
        .map_err(|(member, why)| malformed(&format!("the key's `{member}`: {why}")))?;
    UnparsedPublicKey::new(&ED25519, public)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| ReceiptError::Signature { kid: key.id() })?;
    json::object(&claims).map_err(|error| malformed(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> ReceiptClaims {
        ReceiptClaims {
            iss: "box".into(),
            tenant: "acme".parse().unwrap(),
            serial: 2,
            since: 1_790_000_000,
            iat: 1_790_003_600,
            requests: 10,
            request_body_bytes: 20,
            response_body_bytes: 30,
            cpu_ms: 40,
            memory_mib_s: 50,
        }
    }

    #[test]
    fn a_receipt_is_of_its_key_and_of_its_claims() {
        let key = PrivateKey::generate().unwrap();
        let text = sign(&key, &claims());
        assert_eq!(verify(&text, &key.public()).unwrap(), claims());
        let other = PrivateKey::generate().unwrap().public();
        assert!(matches!(
            verify(&text, &other),
            Err(ReceiptError::Signature { .. })
        ));
        let more = ReceiptClaims {
            requests: 11,
            ..claims()
        };
        let forged = sign(&PrivateKey::generate().unwrap(), &more);
        let (signed, _) = forged.rsplit_once('.').unwrap();
        let (_, signature) = text.rsplit_once('.').unwrap();
        let mixed = format!("{signed}.{signature}");
        assert!(verify(&mixed, &key.public()).is_err());
        for bad in ["", "a.b", "a.b.c", &text[1..]] {
            assert!(verify(bad, &key.public()).is_err(), "{bad}");
        }
    }
}
