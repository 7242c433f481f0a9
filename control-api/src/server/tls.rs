//! The admin API over TLS, and clients that are known by a certificate.
//!
//! Takes files; promises that what is served is what they last held whole and good, that a client certificate counts only
//! where one of the operator's authorities issued it, it is valid, and its name is on the operator's list, and that nobody
//! is asked for one: clients with tokens need none.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use edge_config::{AdminClient, Config};
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::auth::{Principal, Scope};

/// How often the files of chain and key are read again.
const RELOAD_EVERY: Duration = Duration::from_secs(30);
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// What audit entries name as the issuer of who came with a certificate.
const BY_CERTIFICATE: &str = "client certificate";

/// Why the admin API cannot be served over TLS.
#[derive(Debug, thiserror::Error)]
pub enum AdminTlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds what cannot be used.
    #[error("{} cannot be used: {why}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A scope of the configuration is none of this build.
    #[error("admin.clients: {0}")]
    Clients(String),
}

/// Chain, key, and who is known by a certificate.
#[derive(Debug)]
pub struct AdminTls {
    chain: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    name: String,
    scopes: Vec<Scope>,
    tenant: Option<edge_config::TenantName>,
}

/// The certificate that is served, swapped whole.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl AdminTls {
    /// What the operator's configuration says; `None` where the API is served without TLS.
    ///
    /// # Errors
    /// [`AdminTlsError`]
    pub fn from_config(config: &Config) -> Result<Option<Self>, AdminTlsError> {
        let admin = &config.admin;
        let (Some(chain), Some(key)) = (&admin.tls_chain_file, &admin.tls_key_file) else {
            return Ok(None);
        };
        let authorities = admin.client_authorities_file.as_deref();
        Self::new(chain, key, authorities, &admin.clients).map(Some)
    }

    /// Reads the files. Clients are asked for certificates where there are authorities for them.
    ///
    /// # Errors
    /// [`AdminTlsError`]
    pub fn new(
        chain: &Path,
        key: &Path,
        authorities: Option<&Path>,
        clients: &[AdminClient],
    ) -> Result<Self, AdminTlsError> {
        let provider = Arc::new(default_provider());
        let current = Arc::new(Current(ArcSwap::from_pointee(certified(chain, key)?)));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|error| unusable(chain, error))?;
        let builder = match authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path)? {
                    roots
                        .add(authority)
                        .map_err(|error| unusable(path, error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build()
                        .map_err(|error| unusable(path, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&current) as Arc<_>);
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let clients = clients.iter().map(Client::of).collect::<Result<_, _>>()?;
        Ok(Self {
            chain: chain.to_owned(),
            key: key.to_owned(),
            current,
            config: Arc::new(config),
            clients,
        })
    }

    /// Reads chain and key again, for the next handshakes; where they are not good, those of before stay.
    ///
    /// # Errors
    /// [`AdminTlsError`]
    pub fn reload(&self) -> Result<(), AdminTlsError> {
        let read = certified(&self.chain, &self.key)?;
        if read.cert != self.current.0.load().cert {
            self.current.0.store(Arc::new(read));
            tracing::info!("the admin API has another certificate");
        }
        Ok(())
    }

    /// Reads them again now and then. Ends when dropped.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RELOAD_EVERY).await;
            let this = Arc::clone(&self);
            let reloaded = tokio::task::spawn_blocking(move || this.reload()).await;
            if let Ok(Err(error)) = reloaded {
                tracing::warn!(%error, "the admin API keeps the certificate that it had");
            }
        }
    }

    /// Shakes hands; says who the client is, where it is known by its certificate.
    ///
    /// # Errors
    /// What the client did, or did not like.
    pub(super) async fn accept<I>(
        &self,
        io: I,
    ) -> std::io::Result<(TlsStream<I>, Option<Arc<Principal>>)>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(Arc::clone(&self.config))
            .accept(io)
            .await?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let principal = certificate.and_then(|certificate| self.principal_of(certificate));
        Ok((stream, principal.map(Arc::new)))
    }

    /// Who a certificate, which was verified, speaks for.
    fn principal_of(&self, certificate: &CertificateDer<'_>) -> Option<Principal> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let mut names = certificate.subject().iter_common_name();
        let name = names.next()?.as_str().ok()?;
        // With two it would depend on who looks.
        if names.next().is_some() {
            return None;
        }
        let client = self.clients.iter().find(|client| client.name == name)?;
        let expires_at = certificate.validity().not_after.timestamp();
        Some(Principal {
            subject: client.name.clone(),
            issuer: BY_CERTIFICATE.to_owned(),
            scopes: client.scopes.clone(),
            tenant: client.tenant.clone(),
            expires_at: u64::try_from(expires_at).unwrap_or(0),
        })
    }
}

impl Client {
    fn of(configured: &AdminClient) -> Result<Self, AdminTlsError> {
        let scopes = configured.scopes().iter().map(|scope| scope.parse());
        Ok(Self {
            name: configured.name().to_owned(),
            scopes: scopes
                .collect::<Result<_, _>>()
                .map_err(AdminTlsError::Clients)?,
            tenant: configured.tenant().cloned(),
        })
    }
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> AdminTlsError {
    AdminTlsError::Content {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, AdminTlsError> {
    use std::io::Read as _;
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|source| AdminTlsError::File {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, AdminTlsError> {
    let pem = read(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(unusable(path, "it has no certificate in PEM"));
    }
    Ok(found)
}

fn certified(chain: &Path, key: &Path) -> Result<CertifiedKey, AdminTlsError> {
    let certificates = certificates(chain)?;
    // What a library says of a key could hold a part of it: it is left out.
    let private = PrivateKeyDer::from_pem_slice(&read(key)?)
        .ok()
        .and_then(|key| any_supported_type(&key).ok())
        .ok_or_else(|| unusable(key, "it has no private key that is supported, in PEM"))?;
    let certified = CertifiedKey::new(certificates, private);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(_) => Err(unusable(key, "it is not the key of the chain")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration and tokens mean the same by a scope.
    #[test]
    fn every_scope_can_be_given_to_a_certificate() {
        let configured: Vec<_> = edge_config::ADMIN_SCOPES.to_vec();
        let ours: Vec<_> = Scope::ALL
            .iter()
            .map(|scope| (scope.as_str(), scope.is_of_tenant()))
            .collect();
        assert_eq!(configured, ours);
    }
}
