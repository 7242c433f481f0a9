//! Certificates in control: read, checked, kept, and signed with.
//!
//! Takes chains and private keys over the API. Promises that a key is of its chain, is on the disk only encrypted under a
//! key of this node ([`vault`]), is in the memory of no other process, and signs nothing but handshakes ([`keyring`],
//! [`crate::link::signing`]). What is parsed here of a tenant's is a chain of a few KiB and a key, by libraries that
//! bound their depth: a certificate must be understood by whoever decides for which hostnames it is served.

mod keyring;
mod plane;
mod read;
mod vault;

pub(super) use keyring::Keyring;
pub(super) use plane::unlock;
pub(super) use read::{CertificateFacts, facts_of};
pub(super) use vault::Vault;
