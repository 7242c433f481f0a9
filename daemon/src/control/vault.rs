//! Secrets at rest: encrypted under a key of this node, which is in a file beside the store and never in it.
//!
//! Takes a key file and the names that a secret stands under; promises that what is sealed opens on this node, under the
//! same names, and nowhere else. Keeps no secret itself.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::artifact::cache::{KeyError, KeyFile};

/// Bytes that sealing adds: nonce and tag.
const ADDED_BYTES: usize = NONCE_LEN + 16;

/// Encrypts and decrypts: AES-256-GCM-SIV (RFC 8452), bound to names. Its nonces are random; should one come twice, no
/// more follows than that two equal secrets under the same names look equal.
pub(in crate::control) struct Vault {
    key: RandomizedNonceKey,
    file: &'static str,
}

/// A secret does not open.
#[derive(Debug, thiserror::Error)]
#[error("it was encrypted under another key than {file}, or under other names, or was changed")]
pub(in crate::control) struct Locked {
    file: &'static str,
}

/// There are no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("a secret cannot be encrypted: there are no random bytes")]
pub(in crate::control) struct NotSealed;

impl Vault {
    /// Reads the vault's key in `keys_dir`, or makes one, whole and durable or not at all.
    ///
    /// # Errors
    /// As for the key of artifacts.
    pub(in crate::control) fn open_or_create(
        keys_dir: &Path,
        file: KeyFile,
    ) -> Result<Self, KeyError> {
        let key = file.open_or_create(keys_dir)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, &*key)
            .expect("the algorithm is one that this type takes, and a key has 32 bytes");
        Ok(Self {
            key,
            file: file.name,
        })
    }

    /// A vault under a key from elsewhere; `called` is what messages call it.
    pub(in crate::control) fn under(key: RandomizedNonceKey, called: &'static str) -> Self {
        Self { key, file: called }
    }

    /// The nonce, then what is encrypted with its tag.
    ///
    /// # Errors
    /// [`NotSealed`].
    pub(in crate::control) fn seal(
        &self,
        names: &[&str],
        secret: &[u8],
    ) -> Result<Vec<u8>, NotSealed> {
        // Room for all of it, so that no copy of the secret is left where the text grew.
        let mut text = Zeroizing::new(Vec::with_capacity(secret.len() + ADDED_BYTES));
        text.extend_from_slice(secret);
        let bound = Aad::from(bound_to(names));
        let nonce = self
            .key
            .seal_in_place_append_tag(bound, &mut *text)
            .map_err(|_| NotSealed)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// What was sealed under these names.
    ///
    /// # Errors
    /// [`Locked`].
    pub(in crate::control) fn open(
        &self,
        names: &[&str],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Locked> {
        let locked = || Locked { file: self.file };
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(locked)?;
        let mut text = Zeroizing::new(text.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let bound = Aad::from(bound_to(names));
        let opened = self.key.open_in_place(nonce, bound, &mut text);
        let bytes = opened.map_err(|_| locked())?.len();
        text.truncate(bytes);
        Ok(text)
    }
}

/// Names with their lengths: no two lists of them give the same bytes.
fn bound_to(names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend_from_slice(&(name.len() as u64).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyFile = KeyFile {
        name: "test.key",
        unfinished: "test.key.new",
        lost: "nothing follows",
    };

    fn vault(keys: &Path) -> Vault {
        Vault::open_or_create(keys, KEY).unwrap()
    }

    #[test]
    fn a_secret_comes_back_on_its_node_and_nowhere_else() {
        let keys = tempfile::tempdir().unwrap();
        let first = vault(keys.path());
        for secret in [&b""[..], b"correct horse", &[7; 16 << 10]] {
            let sealed = first.seal(&["acme", "password"], secret).unwrap();
            assert_eq!(sealed.len(), secret.len() + ADDED_BYTES);
            assert_eq!(
                **vault(keys.path())
                    .open(&["acme", "password"], &sealed)
                    .unwrap(),
                *secret
            );
            assert_ne!(first.seal(&["acme", "password"], secret).unwrap(), sealed);
            let elsewhere = tempfile::tempdir().unwrap();
            let said = vault(elsewhere.path()).open(&["acme", "password"], &sealed);
            assert!(said.unwrap_err().to_string().contains("test.key"));
        }
        let sealed = first.seal(&["acme"], b"correct horse").unwrap();
        assert!(!sealed.windows(5).any(|bytes| bytes == b"horse"));
    }

    #[test]
    fn other_names_and_changed_bytes_do_not_open() {
        let keys = tempfile::tempdir().unwrap();
        let vault = vault(keys.path());
        let sealed = vault.seal(&["acme", "a"], b"correct horse").unwrap();
        for names in [
            &["acme"][..],
            &["acme", "b"],
            &["other", "a"],
            &["acmea"],
            &["acme", "a", ""],
            &["acm", "ea"],
        ] {
            assert!(vault.open(names, &sealed).is_err(), "{names:?}");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open(&["acme", "a"], &changed).is_err(), "byte {at}");
            assert!(vault.open(&["acme", "a"], &sealed[..at]).is_err());
        }
    }
}
