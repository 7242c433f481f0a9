//! Certificates in control: read, checked, kept, and signed with.
//!
//! Takes chains and private keys over the API. Promises that a key is of its chain, is on the disk only encrypted under a
//! key of this node ([`super::vault`]), is in the memory of no other process, and signs nothing but handshakes ([`keyring`],
//! [`crate::link::signing`]). What is parsed here of a tenant's is a chain of a few KiB and a key, by libraries that
//! bound their depth: a certificate must be understood by whoever decides for which hostnames it is served.

mod keyring;
mod plane;
mod read;

pub(super) use keyring::Keyring;
pub(super) use plane::unlock;
pub(super) use read::{CertificateFacts, facts_of};

use std::path::Path;

use super::vault::Vault;
use crate::artifact::cache::{KeyError, KeyFile};

const KEY_FILE: KeyFile = KeyFile {
    name: "certificates.key",
    unfinished: "certificates.key.new",
    lost: "the certificates that are kept must then be put again, since their private keys cannot be read without it",
};

/// What private keys are sealed in, at rest.
///
/// # Errors
/// As for the key of artifacts.
pub(super) fn vault(keys_dir: &Path) -> Result<Vault, KeyError> {
    Vault::open_or_create(keys_dir, KEY_FILE)
}
