//! Private keys at rest: encrypted under a key of this node, which is in a file beside the store and never in it.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::artifact::cache::{KeyError, KeyFile};

/// The key of the vault.
const KEY_FILE: KeyFile = KeyFile {
    name: "certificates.key",
    unfinished: "certificates.key.new",
    lost: "the certificates that are kept must then be put again, since their private keys cannot be read without it",
};

/// Encrypts and decrypts private keys: AES-256-GCM-SIV (RFC 8452), bound to the tenant's name and the certificate's. Its
/// nonces are random; should one come twice, no more follows than that two equal keys look equal.
pub(in crate::control) struct Vault(RandomizedNonceKey);

/// A private key does not decrypt: it was written under another key, or changed.
#[derive(Debug, thiserror::Error)]
#[error("the private key was encrypted under another key than certificates.key, or was changed")]
pub(in crate::control) struct Locked;

impl Vault {
    /// Reads the vault's key in `keys_dir`, or makes one, whole and durable or not at all.
    ///
    /// # Errors
    /// As for the key of artifacts.
    pub(in crate::control) fn open_or_create(keys_dir: &Path) -> Result<Self, KeyError> {
        let key = KEY_FILE.open_or_create(keys_dir)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, &*key)
            .expect("the algorithm is one that this type takes, and a key has 32 bytes");
        Ok(Self(key))
    }

    /// The nonce, then what is encrypted with its tag; `None` where there are no random bytes.
    pub(super) fn seal(&self, tenant: &str, certificate: &str, secret: &[u8]) -> Option<Vec<u8>> {
        let mut text = Zeroizing::new(Vec::with_capacity(secret.len() + 32));
        text.extend_from_slice(secret);
        let aad = Aad::from(context(tenant, certificate));
        let nonce = self.0.seal_in_place_append_tag(aad, &mut *text).ok()?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend_from_slice(&text);
        Some(sealed)
    }

    /// What was encrypted under these names.
    ///
    /// # Errors
    /// [`Locked`]
    pub(super) fn open(
        &self,
        tenant: &str,
        certificate: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Locked> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Locked)?;
        let mut text = Zeroizing::new(text.to_vec());
        let aad = Aad::from(context(tenant, certificate));
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.0.open_in_place(nonce, aad, &mut text);
        let length = opened.map_err(|_| Locked)?.len();
        text.truncate(length);
        Ok(text)
    }
}

/// Neither name has the character between them.
fn context(tenant: &str, certificate: &str) -> Vec<u8> {
    format!("{tenant}/{certificate}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_under_its_names_on_this_node_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open_or_create(folder.path()).unwrap();
        let sealed = vault.seal("acme", "shop", b"a private key").unwrap();
        assert!(!sealed.windows(7).any(|bytes| bytes == b"private"));
        let again = Vault::open_or_create(folder.path()).unwrap();
        let opened = again.open("acme", "shop", &sealed).unwrap();
        assert_eq!(&**opened, b"a private key");
        assert!(again.open("acme", "other", &sealed).is_err());
        assert!(again.open("other", "shop", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(again.open("acme", "shop", &changed).is_err(), "byte {at}");
            assert!(again.open("acme", "shop", &sealed[..at]).is_err());
        }
        assert_ne!(
            vault.seal("acme", "shop", b"a private key").unwrap(),
            sealed
        );
        let elsewhere = tempfile::tempdir().unwrap();
        let elsewhere = Vault::open_or_create(elsewhere.path()).unwrap();
        assert!(elsewhere.open("acme", "shop", &sealed).is_err());
    }
}
