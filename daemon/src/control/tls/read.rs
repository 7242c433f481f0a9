//! From PEM to what is known of a certificate and a key that signs.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use control_api::error::PlaneError;
use edge_config::{Digest, HostPattern};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use zeroize::{Zeroize as _, Zeroizing};

/// The longest chain text, in bytes.
const CHAIN_BYTES_MAX: usize = 48 << 10;
/// Most certificates in a chain.
const CHAIN_MAX: usize = 10;
/// Most hostnames that one certificate is for: what public authorities issue.
const NAMES_MAX: usize = 100;
/// The longest key text, in bytes: twice that of the longest RSA key that is taken.
const KEY_BYTES_MAX: usize = 16 << 10;
/// The longest signature that is taken, in bytes: of RSA with 4096 bits. Longer keys take milliseconds each.
const SIGNATURE_BYTES_MAX: usize = 512;
/// What is shown of an issuer's name, in characters.
const ISSUER_CHARS_MAX: usize = 256;

/// By what a key may sign in a handshake, best first: what TLS 1.3 has, then what TLS 1.2 has beside it.
const SCHEMES: [SignatureScheme; 10] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// What is known of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control) struct CertificateFacts {
    pub(in crate::control) names: Vec<HostPattern>,
    pub(in crate::control) issuer: String,
    pub(in crate::control) serial: String,
    pub(in crate::control) not_before_s: u64,
    pub(in crate::control) not_after_s: u64,
    /// Of the certificate in DER.
    pub(in crate::control) digest: Digest,
}

fn of_chain(why: impl Into<String>) -> PlaneError {
    PlaneError::CertificateUnusable {
        field: "chain",
        why: why.into(),
    }
}

fn of_key(why: impl Into<String>) -> PlaneError {
    PlaneError::CertificateUnusable {
        field: "key",
        why: why.into(),
    }
}

/// The certificates of a chain in DER, each the issuer of the one before it.
///
/// # Errors
/// [`PlaneError::CertificateUnusable`]
pub(super) fn chain(pem: &str) -> Result<Vec<Vec<u8>>, PlaneError> {
    if pem.len() > CHAIN_BYTES_MAX {
        return Err(of_chain(format!(
            "it has {} bytes; at most {CHAIN_BYTES_MAX} are allowed",
            pem.len()
        )));
    }
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|error| of_chain(format!("it is not PEM: {error}")))?;
    if chain.is_empty() || chain.len() > CHAIN_MAX {
        return Err(of_chain(format!(
            "it has {} certificates; 1 to {CHAIN_MAX} are allowed",
            chain.len()
        )));
    }
    let parsed: Vec<_> = chain
        .iter()
        .enumerate()
        .map(|(at, der)| parse(at, der))
        .collect::<Result<_, _>>()?;
    for (at, (one, next)) in parsed.iter().zip(parsed.iter().skip(1)).enumerate() {
        if one.issuer().as_raw() != next.subject().as_raw() {
            return Err(of_chain(format!(
                "certificate {} is not the issuer of certificate {}: each must be followed by the one that issued it",
                at + 2,
                at + 1
            )));
        }
    }
    Ok(chain)
}

fn parse(at: usize, der: &[u8]) -> Result<X509Certificate<'_>, PlaneError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(of_chain(format!(
            "certificate {} has bytes behind its end",
            at + 1
        ))),
        Err(error) => Err(of_chain(format!("certificate {} is none: {error}", at + 1))),
    }
}

/// What a chain's first certificate says.
///
/// # Errors
/// [`PlaneError::CertificateUnusable`] if it is none that a hostname can be served with.
pub(in crate::control) fn facts_of(chain: &[Vec<u8>]) -> Result<CertificateFacts, PlaneError> {
    let der = chain.first().ok_or_else(|| of_chain("it is empty"))?;
    let certificate = parse(0, der)?;
    let malformed = |error| of_chain(format!("certificate 1 is malformed: {error}"));
    if let Some(usage) = certificate.extended_key_usage().map_err(malformed)?
        && !usage.value.server_auth
        && !usage.value.any
    {
        return Err(of_chain(
            "certificate 1 is not for servers: its extended key usage has no serverAuth",
        ));
    }
    let alternatives = certificate.subject_alternative_name().map_err(malformed)?;
    let general = alternatives
        .iter()
        .flat_map(|names| &names.value.general_names);
    let mut names = BTreeSet::new();
    for name in general {
        let GeneralName::DNSName(name) = name else {
            continue;
        };
        let pattern: HostPattern = name.to_ascii_lowercase().parse().map_err(|error| {
            of_chain(format!("certificate 1 is for what is no hostname: {error}"))
        })?;
        names.insert(pattern);
    }
    if names.is_empty() || names.len() > NAMES_MAX {
        return Err(of_chain(format!(
            "certificate 1 is for {} hostnames; 1 to {NAMES_MAX} are allowed, as DNS names among its subject's \
             alternative names",
            names.len()
        )));
    }
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    let hash = digest(&SHA256, der);
    Ok(CertificateFacts {
        names: names.into_iter().collect(),
        issuer: certificate
            .issuer()
            .to_string()
            .chars()
            .take(ISSUER_CHARS_MAX)
            .collect(),
        serial: certificate.raw_serial_as_string().replace(':', ""),
        not_before_s: seconds(certificate.validity().not_before.timestamp()),
        not_after_s: seconds(certificate.validity().not_after.timestamp()),
        digest: Digest::from_bytes(
            hash.as_ref()
                .try_into()
                .map_err(|_| of_chain("its digest has another length than 32 bytes"))?,
        ),
    })
}

/// A key's bytes in DER.
///
/// # Errors
/// [`PlaneError::CertificateUnusable`]
pub(super) fn key(pem: &str) -> Result<Zeroizing<Vec<u8>>, PlaneError> {
    if pem.len() > KEY_BYTES_MAX {
        return Err(of_key(format!(
            "it has {} bytes; at most {KEY_BYTES_MAX} are allowed",
            pem.len()
        )));
    }
    if pem.contains("ENCRYPTED") {
        return Err(of_key(
            "it has a passphrase; the node keeps keys encrypted by itself, and takes them without one",
        ));
    }
    // What the library says of a key that it does not understand could hold a part of it: it is left out.
    let mut key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| {
        of_key("it is no private key in PEM; PKCS #8, PKCS #1 and SEC 1 are understood")
    })?;
    let secret = Zeroizing::new(key.secret_der().to_vec());
    key.zeroize();
    Ok(secret)
}

/// A key that signs, checked to be that of the chain's first certificate.
///
/// # Errors
/// [`PlaneError::CertificateUnusable`]
pub(super) fn signing_key(
    chain: &[Vec<u8>],
    key: &[u8],
) -> Result<Arc<dyn SigningKey>, PlaneError> {
    let unsupported = "its kind is not supported; allowed: RSA with 2048 to 4096 bits, ECDSA on P-256, P-384 and P-521, \
                       Ed25519";
    let key = PrivateKeyDer::try_from(key).map_err(|_| of_key(unsupported))?;
    let key = any_supported_type(&key).map_err(|_| of_key(unsupported))?;
    let leaf = chain.first().ok_or_else(|| of_chain("it is empty"))?;
    let certified = CertifiedKey::new(
        vec![CertificateDer::from(leaf.as_slice()).into_owned()],
        Arc::clone(&key),
    );
    if certified.keys_match().is_err() {
        return Err(of_key(
            "it does not belong to the chain: certificate 1 has another public key",
        ));
    }
    let signature = schemes(key.as_ref())
        .first()
        .and_then(|scheme| key.choose_scheme(&[*scheme]))
        .and_then(|signer| signer.sign(b"a try").ok());
    match signature {
        Some(signature) if signature.len() <= SIGNATURE_BYTES_MAX => Ok(key),
        _ => Err(of_key(unsupported)),
    }
}

/// By what a key signs, best first.
pub(super) fn schemes(key: &dyn SigningKey) -> Vec<SignatureScheme> {
    SCHEMES
        .into_iter()
        .filter(|scheme| key.choose_scheme(&[*scheme]).is_some())
        .collect()
}

/// What a key is called that signs by these schemes first.
pub(super) fn algorithm(schemes: &[u16]) -> &'static str {
    match schemes.first().map(|scheme| SignatureScheme::from(*scheme)) {
        Some(SignatureScheme::ED25519) => "ed25519",
        Some(SignatureScheme::ECDSA_NISTP256_SHA256) => "ecdsa-p256",
        Some(SignatureScheme::ECDSA_NISTP384_SHA384) => "ecdsa-p384",
        Some(SignatureScheme::ECDSA_NISTP521_SHA512) => "ecdsa-p521",
        Some(_) => "rsa",
        None => "unreadable",
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };

    use super::*;

    fn why<T: std::fmt::Debug>(outcome: Result<T, PlaneError>) -> String {
        outcome.unwrap_err().to_string()
    }

    fn params(names: &[&str]) -> CertificateParams {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        CertificateParams::new(names).unwrap()
    }

    #[test]
    fn a_chain_says_for_which_names_until_when_and_by_whom() {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = params(&[]);
        authority
            .distinguished_name
            .push(DnType::CommonName, "An authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, &authority_key);
        let key_pair = KeyPair::generate().unwrap();
        let mut leaf = params(&["Shop.Acme.test", "*.acme.test"]);
        leaf.not_before = rcgen::date_time_ymd(2026, 1, 2);
        leaf.not_after = rcgen::date_time_ymd(2026, 3, 4);
        let leaf_pem = leaf.signed_by(&key_pair, &issuer).unwrap().pem();

        let read = chain(&format!("{leaf_pem}{authority_pem}")).unwrap();
        assert_eq!(read.len(), 2);
        let facts = facts_of(&read).unwrap();
        let names: Vec<_> = facts.names.iter().map(HostPattern::as_str).collect();
        assert_eq!(names.len(), 2);
        assert!(names.contains(&"shop.acme.test") && names.contains(&"*.acme.test"));
        assert!(facts.issuer.contains("An authority"), "{}", facts.issuer);
        assert_eq!(
            (facts.not_before_s, facts.not_after_s),
            (1_767_312_000, 1_772_582_400)
        );
        let wrong_order = chain(&format!("{authority_pem}{leaf_pem}"));
        assert!(why(wrong_order).contains("certificate 2 is not the issuer of certificate 1"));

        let pem = key_pair.serialize_pem();
        let signing = signing_key(&read, &key(&pem).unwrap()).unwrap();
        assert_eq!(
            schemes(signing.as_ref()),
            [SignatureScheme::ECDSA_NISTP256_SHA256]
        );
        let other = KeyPair::generate().unwrap().serialize_pem();
        let outcome = signing_key(&read, &key(&other).unwrap());
        assert!(why(outcome).contains("does not belong to the chain"));
    }

    #[test]
    fn what_cannot_be_served_says_why() {
        let key_pair = KeyPair::generate().unwrap();
        let of = |params: CertificateParams| {
            let pem = params.self_signed(&key_pair).unwrap().pem();
            facts_of(&chain(&pem).unwrap())
        };
        assert!(why(of(params(&[]))).contains("is for 0 hostnames"));
        assert!(why(of(params(&["192.0.2.1"]))).contains("is for 0 hostnames"));
        assert!(why(of(params(&["a_b.test"]))).contains("no hostname"));
        let mut client = params(&["acme.test"]);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        assert!(why(of(client)).contains("not for servers"));
        let many: Vec<_> = (0..101).map(|n| format!("n{n}.test")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(why(of(params(&many))).contains("is for 101 hostnames"));

        assert!(why(chain("")).contains("0 certificates"));
        assert!(why(chain(&"x".repeat(CHAIN_BYTES_MAX + 1))).contains("at most 49152"));
        let not_one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(why(chain(not_one)).contains("certificate 1 is none"));
        assert!(why(key("")).contains("no private key in PEM"));
        assert!(why(key("-----BEGIN ENCRYPTED PRIVATE KEY-----")).contains("passphrase"));
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let leaf = params(&["acme.test"]).self_signed(&key_pair).unwrap();
        let leaf = vec![leaf.der().to_vec()];
        let outcome = key(no_key).and_then(|key| signing_key(&leaf, &key));
        assert!(why(outcome).contains("`key`"));
    }
}
