//! The private keys in memory, and signing with them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustls::sign::SigningKey;

use crate::link::signing::{SignRequest, SigningKeyId};

/// How long a key still signs after its certificate went or was replaced: longer than a handshake that had begun with it
/// may take (`https.handshake_timeout_ms`).
const KEPT: Duration = Duration::from_secs(65);

/// Keys by the certificate that they belong to. Bounded by the certificates that tenants may have, and those replaced
/// within a minute.
#[derive(Default)]
pub(in crate::control) struct Keyring(RwLock<HashMap<SigningKeyId, Kept>>);

struct Kept {
    key: Arc<dyn SigningKey>,
    /// Since when nothing refers to it.
    retired_at: Option<Instant>,
}

impl Keyring {
    /// Signs with this key from now on.
    pub(super) fn add(&self, id: SigningKeyId, key: Arc<dyn SigningKey>) {
        let kept = Kept {
            key,
            retired_at: None,
        };
        self.write().insert(id, kept);
    }

    /// Forgets, in a while, the keys that are not `referenced` any more, and now those that were not for long enough.
    pub(in crate::control) fn retire(
        &self,
        referenced: impl Fn(&SigningKeyId) -> bool,
        now: Instant,
    ) {
        self.write().retain(|id, kept| {
            if referenced(id) {
                kept.retired_at = None;
                return true;
            }
            let since = *kept.retired_at.get_or_insert(now);
            now.duration_since(since) < KEPT
        });
    }

    /// A signature; `None` where the key is gone or does not sign so.
    pub(in crate::control) fn sign(&self, request: &SignRequest) -> Option<Vec<u8>> {
        let key = {
            let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&keys.get(&request.key)?.key)
        };
        let signer = key.choose_scheme(&[request.scheme.into()])?;
        signer.sign(&request.message).ok()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<SigningKeyId, Kept>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    #[test]
    fn a_key_outlives_its_certificate_for_a_handshake_and_no_longer() {
        let key = KeyPair::generate().unwrap().serialize_der();
        let key = PrivateKeyDer::try_from(key).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let keyring = Keyring::default();
        let id = SigningKeyId([1; 32]);
        let now = Instant::now();
        keyring.add(id, key);
        let there = || keyring.0.read().unwrap().contains_key(&id);
        keyring.retire(|_| true, now);
        keyring.retire(|_| false, now);
        keyring.retire(|_| false, now + Duration::from_secs(60));
        assert!(there());
        // Put again before it went.
        keyring.retire(|_| true, now + Duration::from_secs(61));
        keyring.retire(|_| false, now + Duration::from_secs(62));
        keyring.retire(|_| false, now + Duration::from_secs(120));
        assert!(there());
        keyring.retire(|_| false, now + Duration::from_secs(127));
        assert!(!there());
    }
}
