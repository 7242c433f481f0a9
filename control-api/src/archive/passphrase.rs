//! From a passphrase to keys.
//!
//! Argon2id (RFC 9106) makes guessing cost memory and time; what it costs is written in the archive, and bounded where it
//! is read. A box of 512 MiB makes the key while it serves, so that the memory is half of what RFC 9106 proposes for such,
//! and the passes are more.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ArchiveError;
use crate::view::SecretText;

/// The shortest passphrase, in bytes.
pub const PASSPHRASE_BYTES_MIN: usize = 12;
/// The longest passphrase, in bytes.
pub const PASSPHRASE_BYTES_MAX: usize = 1024;
/// What deriving keys costs here.
const MEMORY_KIB: u32 = 32 * 1024;
const PASSES: u32 = 4;
/// The most that an archive may ask for: whoever alters one must not exhaust the box that reads it.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const SALT_BYTES: usize = 16;
/// Sealed in each archive, to tell a wrong passphrase from a damaged archive.
const CHECK: &[u8] = b"littoral backup";

/// A passphrase from a file, without the line end at its end.
///
/// # Errors
/// [`ArchiveError::Passphrase`], [`ArchiveError::PassphraseLength`].
pub fn read_passphrase(path: &Path) -> Result<SecretText, ArchiveError> {
    // What is longer than this is too long, whatever follows.
    let most = PASSPHRASE_BYTES_MAX + 3;
    let mut text = Zeroizing::new(String::with_capacity(most));
    File::open(path)
        .and_then(|file| file.take(most as u64).read_to_string(&mut text))
        .map_err(ArchiveError::Passphrase)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    let bytes = text.len();
    if !(PASSPHRASE_BYTES_MIN..=PASSPHRASE_BYTES_MAX).contains(&bytes) {
        return Err(ArchiveError::PassphraseLength { bytes });
    }
    // The text moves into the secret, which overwrites it in the end.
    Ok(std::mem::take(&mut *text).into())
}

/// How keys follow from a passphrase, and what only the right one opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealing {
    /// Memory of Argon2id, in KiB.
    memory_kib: u32,
    /// Its passes.
    passes: u32,
    /// Its salt, in base64.
    salt: String,
    /// A text that is known, sealed, in base64.
    check: String,
}

/// The keys that follow from a passphrase and one archive's salt.
pub struct PassphraseKeys {
    /// Seals what is secret.
    sealing: Zeroizing<[u8; 32]>,
    /// Signs the archive's digest.
    pub(super) mac: hmac::Key,
}

impl PassphraseKeys {
    /// New keys for a new archive. Takes some tenths of a second, and 32 MiB.
    ///
    /// # Errors
    /// [`ArchiveError::PassphraseLength`], [`ArchiveError::NoKey`].
    pub fn make(passphrase: &SecretText) -> Result<(Self, Sealing), ArchiveError> {
        let bytes = passphrase.reveal().len();
        if !(PASSPHRASE_BYTES_MIN..=PASSPHRASE_BYTES_MAX).contains(&bytes) {
            return Err(ArchiveError::PassphraseLength { bytes });
        }
        let mut salt = [0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| no_key("there are no random bytes"))?;
        let keys = derive(passphrase, &salt, MEMORY_KIB, PASSES)?;
        let mut text = CHECK.to_vec();
        let nonce = keys
            .cipher()
            .seal_in_place_append_tag(Aad::from(CHECK), &mut text)
            .map_err(|_| no_key("there are no random bytes"))?;
        let mut check = nonce.as_ref().to_vec();
        check.extend_from_slice(&text);
        let sealing = Sealing {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            salt: STANDARD.encode(salt),
            check: STANDARD.encode(check),
        };
        Ok((keys, sealing))
    }

    /// The keys of an archive that is there.
    ///
    /// # Errors
    /// [`ArchiveError::WrongPassphrase`], [`ArchiveError::SealingTooCostly`], [`ArchiveError::NoKey`].
    pub fn open(passphrase: &SecretText, sealing: &Sealing) -> Result<Self, ArchiveError> {
        let Sealing {
            memory_kib, passes, ..
        } = *sealing;
        if memory_kib > MEMORY_KIB_MAX || passes > PASSES_MAX {
            return Err(ArchiveError::SealingTooCostly { memory_kib, passes });
        }
        let text = |text: &str| STANDARD.decode(text).map_err(|_| no_key("no base64"));
        let keys = derive(passphrase, &text(&sealing.salt)?, memory_kib, passes)?;
        let check = text(&sealing.check)?;
        let wrong = ArchiveError::WrongPassphrase;
        let Some((nonce, sealed)) = check.split_first_chunk::<NONCE_LEN>() else {
            return Err(wrong);
        };
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        match keys
            .cipher()
            .open_in_place(nonce, Aad::from(CHECK), &mut sealed)
        {
            Ok(_) => Ok(keys),
            Err(_) => Err(wrong),
        }
    }

    /// The key that secrets are sealed under: AES-256-GCM-SIV, as the node's own.
    #[must_use]
    pub fn cipher(&self) -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM_SIV, &*self.sealing)
            .expect("the algorithm is one that this type takes, and a key has 32 bytes")
    }
}

fn no_key(why: &str) -> ArchiveError {
    ArchiveError::NoKey {
        why: why.to_owned(),
    }
}

fn derive(
    passphrase: &SecretText,
    salt: &[u8],
    memory_kib: u32,
    passes: u32,
) -> Result<PassphraseKeys, ArchiveError> {
    let refused = |error: argon2::Error| no_key(&error.to_string());
    let params = Params::new(memory_kib, passes, 1, Some(64)).map_err(refused)?;
    let mut memory = vec![Block::default(); params.block_count()];
    let mut derived = Zeroizing::new([0; 64]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(
            passphrase.reveal().as_bytes(),
            salt,
            &mut *derived,
            &mut memory,
        )
        .map_err(refused)?;
    let (first, second) = derived.split_at(32);
    let mut sealing = Zeroizing::new([0; 32]);
    sealing.copy_from_slice(first);
    Ok(PassphraseKeys {
        sealing,
        mac: hmac::Key::new(hmac::HMAC_SHA256, second),
    })
}
