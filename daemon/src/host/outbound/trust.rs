//! Whom guests' TLS believes.

use std::sync::{Arc, OnceLock};

use ::aws_lc_rs::rand;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Authorities as control gave them; made into what TLS needs when a guest first speaks it.
#[derive(Default)]
pub struct Trust {
    authorities: Vec<Vec<u8>>,
    connector: OnceLock<Option<TlsConnector>>,
}

impl Trust {
    /// Those with these certificates (DER).
    #[must_use]
    pub fn new(authorities: Vec<Vec<u8>>) -> Self {
        Self {
            authorities,
            connector: OnceLock::new(),
        }
    }

    /// Has the library look at its surroundings, which it does once and by file names: to be called while those may be
    /// looked up.
    pub fn look_around() {
        let mut some = [0; 1];
        if rand::fill(&mut some).is_err() {
            tracing::error!("there are no random numbers: guests cannot speak TLS");
        }
    }

    /// What makes TLS connections; nothing if the library offers no version of it, which is a fault of ours.
    pub(in crate::host) fn connector(&self) -> Option<&TlsConnector> {
        let made = self.connector.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            let certificates = self.authorities.iter();
            // One that this library cannot use is believed by nobody here.
            roots.add_parsable_certificates(
                certificates.map(|der| CertificateDer::from(der.as_slice())),
            );
            let builder =
                ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
            let config = builder
                .with_safe_default_protocol_versions()
                .inspect_err(|error| tracing::error!(%error, "guests cannot speak TLS"))
                .ok()?
                .with_root_certificates(roots)
                .with_no_client_auth();
            Some(TlsConnector::from(Arc::new(config)))
        });
        made.as_ref()
    }
}
