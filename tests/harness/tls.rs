//! TLS as clients see it, with authorities and certificates made on the spot.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, ProtocolVersion, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::wire::{Answer, Ask, Wire};

/// Who issues certificates, and is trusted by a test's clients.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

/// A certificate with its private key.
#[derive(Debug, Clone)]
pub struct Issued {
    /// In PEM, the certificate first, then its authority.
    pub chain: String,
    /// In PEM.
    pub key: String,
    /// The certificate in DER.
    pub der: Vec<u8>,
    /// The key in DER.
    pub key_der: Vec<u8>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "An authority for tests");
        let own = params.self_signed(&key).expect("a certificate");
        Self {
            der: own.der().clone(),
            pem: own.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for these hostnames that is valid now, with an ECDSA key.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_as(names, &rcgen::PKCS_ECDSA_P256_SHA256, |_| {})
    }

    /// One with another key, or as `change` has it.
    pub fn issue_as(
        &self,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer);
        let certificate = certificate.expect("a certificate");
        Issued {
            chain: format!("{}{}", certificate.pem(), self.pem),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }

    /// Its own certificate in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A client that trusts it, and speaks every version.
    pub fn client(&self) -> TlsClient {
        self.client_of(rustls::ALL_VERSIONS)
    }

    /// A client that speaks these versions only.
    pub fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsClient {
        self.client_with(default_provider(), versions)
    }

    /// A client with cryptography of its own.
    pub fn client_with(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("an authority");
        let provider = Arc::new(provider);
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .expect("a verifier");
        let seen = Arc::<Mutex<Option<Vec<u8>>>>::default();
        let verifier = Arc::new(Watching {
            inner,
            seen: Arc::clone(&seen),
        });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(64);
        TlsClient { config, seen }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A client; sessions that it had it goes on with.
#[derive(Clone)]
pub struct TlsClient {
    /// As rustls has it.
    pub config: ClientConfig,
    seen: Arc<Mutex<Option<Vec<u8>>>>,
}

/// A connection over TLS.
pub struct Session {
    /// What is said on it.
    pub wire: Wire,
    /// How it came to be.
    pub kind: HandshakeKind,
    /// Which version is spoken.
    pub version: ProtocolVersion,
    /// The version of HTTP that was agreed upon.
    pub alpn: Option<Vec<u8>>,
    /// The certificate that was shown, in DER; nothing where an earlier session goes on.
    pub certificate: Option<Vec<u8>>,
}

impl TlsClient {
    /// Shakes hands for this name.
    ///
    /// # Errors
    /// The alert of the node, or what the client has against its certificate.
    pub async fn connect(&self, address: SocketAddr, name: &str) -> Result<Session, String> {
        let stream = TcpStream::connect(address).await;
        self.shake(stream.map_err(|error| error.to_string())?, name)
            .await
    }

    async fn shake(&self, stream: TcpStream, name: &str) -> Result<Session, String> {
        let config = Arc::new(self.config.clone());
        let name = ServerName::try_from(name.to_owned()).expect("a name or an address");
        *self.seen.lock().expect("no test fails here") = None;
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| format!("{error:?}"))?;
        let (_, session) = stream.get_ref();
        let certificate = self.seen.lock().expect("no test fails here").take();
        Ok(Session {
            kind: session.handshake_kind().expect("it is over"),
            version: session.protocol_version().expect("it is over"),
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            certificate,
            wire: Wire::over(stream),
        })
    }

    /// The same from another address of this machine.
    ///
    /// # Errors
    /// As [`TlsClient::connect`].
    pub async fn connect_from(
        &self,
        source: IpAddr,
        address: SocketAddr,
        name: &str,
    ) -> Result<Session, String> {
        let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
        let bound = socket.bind(SocketAddr::new(source, 0));
        bound.map_err(|error| error.to_string())?;
        let stream = socket.connect(address).await;
        self.shake(stream.map_err(|error| error.to_string())?, name)
            .await
    }

    /// Asks `host/path` on a connection of its own, for the same name.
    pub async fn get(&self, address: SocketAddr, place: &str) -> Answer {
        let (host, _) = place.split_once('/').expect("a place is host/path");
        let session = self.connect(address, host).await;
        session
            .unwrap_or_else(|error| panic!("{host}: {error}"))
            .get(place)
            .await
    }
}

impl Session {
    /// Asks `host/path`.
    pub async fn get(&mut self, place: &str) -> Answer {
        let ask = Ask::new(SocketAddr::from(([0, 0, 0, 0], 0)), "GET", place);
        self.wire.send(ask.bytes()).await;
        self.wire.answer().await
    }
}

/// The usual verification, which tells what it was shown.
#[derive(Debug)]
struct Watching {
    inner: Arc<WebPkiServerVerifier>,
    seen: Arc<Mutex<Option<Vec<u8>>>>,
}

impl ServerCertVerifier for Watching {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.seen.lock().expect("no test fails here") = Some(end_entity.to_vec());
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
