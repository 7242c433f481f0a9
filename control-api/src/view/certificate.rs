//! Certificates: what a hostname of a tenant is served with over TLS.

use edge_config::{CertificateName, Digest, HostPattern, RouteId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SecretText;

/// A certificate as the API shows it: never its private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// Its name.
    pub name: CertificateName,
    /// The hostnames it is for. `*.acme.test` stands for one label in place of the asterisk (RFC 9525 §6.3).
    pub names: Vec<HostPattern>,
    /// Who issued it, as an RFC 4514 name.
    pub issuer: String,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// When it begins to be valid, in seconds since 1970-01-01 UTC.
    pub not_before: u64,
    /// When it ends being valid, in seconds since 1970-01-01 UTC.
    pub not_after: u64,
    /// SHA-256 of the certificate itself, in DER.
    pub digest: Digest,
    /// The key's algorithm: `rsa`, `ecdsa-p256`, `ecdsa-p384`, `ecdsa-p521` or `ed25519`.
    pub key_algorithm: String,
    /// Certificates in the chain, this one included.
    pub chain_length: u32,
    /// The tenant's routes that have a hostname of these.
    pub routes: Vec<RouteId>,
    /// When it was put here, in seconds since 1970-01-01 UTC.
    pub added_at: u64,
}

/// What is written to have a certificate served: the whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateWrite {
    /// The chain in PEM, the certificate itself first, each next one the issuer of the one before it (at most 10
    /// certificates in 48 KiB).
    pub chain: String,
    /// The private key in PEM: PKCS #8, PKCS #1 or SEC 1, without a passphrase (at most 16 KiB). Write-only: no answer
    /// has it.
    #[schema(value_type = String, format = Password, write_only)]
    pub key: SecretText,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_in_what_is_printed() {
        let write = CertificateWrite {
            chain: "chain".to_owned(),
            key: "very secret".to_owned().into(),
        };
        assert!(!format!("{write:?}").contains("very secret"));
        assert_eq!(write.key.reveal(), "very secret");
    }
}
