//! What all certificates of a worker share, and the configuration of one.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ALL_VERSIONS, ServerConfig, SupportedProtocolVersion};

/// Versions of HTTP that are spoken over TLS (RFC 7301), best first.
const ALPN: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// HTTP/2 there.
pub(in crate::gateway) const HTTP2: &[u8] = b"h2";

static ONLY_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up")]
pub struct TlsError(#[from] rustls::Error);

/// What all certificates share.
///
/// Session tickets are encrypted under keys that are made here, replaced every six hours, and kept for as long again:
/// what a ticket opens is a session with this very worker, whose plain text it has had anyway, so that control would add
/// nothing by handing keys out, and they never outlive the process. Tickets of a worker that is gone cost their clients
/// a full handshake. rustls takes a ticket for the server name only that it was given for.
pub struct TlsSettings {
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    tickets: Arc<dyn ProducesTickets>,
    http2: bool,
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings").finish_non_exhaustive()
    }
}

impl TlsSettings {
    /// With TLS 1.3, and 1.2 where it is wanted; `http2` is offered to those who speak it.
    ///
    /// # Errors
    /// [`TlsError`] where there are no random bytes for ticket keys.
    pub fn new(tls12: bool, http2: bool) -> Result<Self, TlsError> {
        Ok(Self {
            provider: Arc::new(default_provider()),
            versions: if tls12 { ALL_VERSIONS } else { ONLY_TLS13 },
            tickets: Ticketer::new()?,
            http2,
        })
    }

    /// The configuration that a certificate is served with.
    pub(super) fn config(
        &self,
        chain: Vec<Vec<u8>>,
        key: Arc<dyn SigningKey>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = chain.into_iter().map(Into::into).collect();
        let certified = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(self.versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certified));
        // Every suite that is spoken here is a good one; which of them is best is not for the weakest client to say.
        config.ignore_client_order = true;
        config.ticketer = Arc::clone(&self.tickets);
        // Sessions are in tickets alone: nothing here grows with clients.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let spoken = ALPN.iter().filter(|name| self.http2 || **name != HTTP2);
        config.alpn_protocols = spoken.map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}
