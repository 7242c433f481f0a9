//! A private key that is elsewhere: rustls asks it for a signature, and it asks control.

use std::cell::RefCell;
use std::fmt;

use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use crate::link::signing::{Asking, SigningKeyId};

/// What rustls is told where control gave no signature.
pub(super) const UNSIGNED: &str = "control gave no signature";

thread_local! {
    /// Of a thread that computes handshakes. Others have none, and sign nothing.
    static CONTROL: RefCell<Option<Asking>> = const { RefCell::new(None) };
}

/// Has this thread ask control over this socket.
pub(super) fn ask_over(asking: Asking) {
    CONTROL.set(Some(asking));
}

/// The public side of a key that control has.
#[derive(Debug)]
pub(super) struct RemoteKey {
    id: SigningKeyId,
    /// Best first; never empty.
    schemes: Vec<SignatureScheme>,
}

impl RemoteKey {
    /// `None` where it signs by no scheme.
    pub(super) fn new(id: SigningKeyId, schemes: Vec<SignatureScheme>) -> Option<Self> {
        (!schemes.is_empty()).then_some(Self { id, schemes })
    }
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = self
            .schemes
            .iter()
            .find(|scheme| offered.contains(scheme))?;
        Some(Box::new(RemoteSigner {
            key: self.id,
            scheme: *scheme,
        }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.schemes.first() {
            Some(SignatureScheme::ED25519) => SignatureAlgorithm::ED25519,
            Some(
                SignatureScheme::ECDSA_NISTP256_SHA256
                | SignatureScheme::ECDSA_NISTP384_SHA384
                | SignatureScheme::ECDSA_NISTP521_SHA512,
            ) => SignatureAlgorithm::ECDSA,
            _ => SignatureAlgorithm::RSA,
        }
    }
}

struct RemoteSigner {
    key: SigningKeyId,
    scheme: SignatureScheme,
}

impl fmt::Debug for RemoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteSigner({:?})", self.scheme)
    }
}

impl Signer for RemoteSigner {
    /// Blocks until control has answered.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let unsigned = || Error::General(UNSIGNED.to_owned());
        CONTROL.with_borrow_mut(|control| {
            let control = control.as_mut().ok_or_else(unsigned)?;
            control
                .sign(self.key, self.scheme.into(), message)
                .map_err(|error| {
                    tracing::warn!(
                        error = crate::logging::chain(&error),
                        "a handshake has no signature"
                    );
                    unsigned()
                })
        })
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
