//! Handshakes per second, and what it costs that private keys are in another process: `cargo bench -p littoral-tests
//! --bench handshakes`.
//!
//! 200 hostnames of 20 tenants with a certificate each (ECDSA on P-256), asked for in turn by connections that shake hands,
//! ask once and close. Beside the node, in a process of its own, a plain rustls server with the same certificates and
//! their keys in its memory, on as many threads. Full handshakes and resumed ones (TLS 1.3), interleaved round by round.
//! Both answer without a guest (404): what is compared is the handshake. Prints medians and ratios, asserts nothing.
//!
//! `ROUNDS`, `SECONDS` and `CONNECTIONS` say how often, for how long, and how many at once. The clients run on the same
//! cores, and check no chains, so that as much as can be is left to the servers.

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use littoral_tests::measure::{Spread, describe, number, ratios};
use littoral_tests::{Authority, Issued, TestEdge};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider, sign::any_supported_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ResolvesServerCertUsingSni;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, ServerConfig, SignatureScheme};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const TENANTS: usize = 20;
const CERTIFICATES: usize = 200;
/// Asks this very program to be the plain server.
const PLAIN: &str = "plain-server";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    if std::env::args().any(|argument| argument == PLAIN) {
        runtime.block_on(serve_plainly());
    } else {
        runtime.block_on(measure());
    }
}

fn host(number: usize) -> String {
    format!("n{number}.t{}.test", number % TENANTS)
}

async fn measure() {
    let rounds = number("ROUNDS", 5);
    let span = Duration::from_secs(number("SECONDS", 3).into());
    let connections = number("CONNECTIONS", 16);
    let authority = Authority::new();
    let issued: Vec<_> = (0..CERTIFICATES)
        .map(|number| authority.issue(&[&host(number)]))
        .collect();
    let edge = TestEdge::build()
        .set("https.listen", json!(["127.0.0.1:0"]))
        .set("http.client_connections_max", 100_000)
        .set("log.level", "warn")
        .start()
        .await;
    for tenant in 0..TENANTS {
        let own = edge.tenant(&format!("t{tenant}")).await;
        for (number, one) in issued.iter().enumerate().skip(tenant).step_by(TENANTS) {
            let name = format!("n{number}");
            let put = own.certificate(&name, one);
            put.await.expect("the certificate is taken");
        }
    }
    let node = edge.https().await;
    let (mut plain, plain_address) = start_plain(&issued);

    println!("{}", describe());
    println!(
        "{CERTIFICATES} certificates, {connections} connections at once, {rounds} rounds of {span:?} each"
    );
    println!("| handshakes/s | node | plain rustls | node to plain |");
    println!("| --- | --- | --- | --- |");
    for (name, resumes) in [("full", false), ("resumed", true)] {
        let client = client(resumes);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            for (address, rates) in [(node, &mut ours), (plain_address, &mut theirs)] {
                // Sessions of the one are of no use with the other.
                let client = client(address);
                rates.push(round(&client, address, connections, span, resumes).await);
            }
        }
        println!(
            "| {name} | {} | {} | {} |",
            Spread::of(ours.iter().copied()),
            Spread::of(theirs.iter().copied()),
            ratios(&ours, &theirs)
        );
    }
    let signatures = "littoral_tls_signature_duration_seconds";
    let (count, sum) = (
        edge.metric(&format!("{signatures}_count")).await,
        edge.metric(&format!("{signatures}_sum")).await,
    );
    println!(
        "{count} signatures in control, {:.1} us each",
        sum / count * 1e6
    );
    plain.kill().expect("it is ours");
    plain.wait().expect("it has ended");
}

/// Makes clients: for each server one, with room for a session of every name.
fn client(resumes: bool) -> impl Fn(SocketAddr) -> Arc<ClientConfig> {
    let kept = std::sync::Mutex::new(std::collections::HashMap::new());
    move |address| {
        let mut kept = kept.lock().expect("nobody fails here");
        let made = kept.entry(address).or_insert_with(|| {
            let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("a version")
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Believing))
                .with_no_client_auth();
            config.resumption = if resumes {
                // Eight to a name.
                Resumption::in_memory_sessions(CERTIFICATES * 16)
            } else {
                Resumption::disabled()
            };
            Arc::new(config)
        });
        Arc::clone(made)
    }
}

/// Handshakes a second.
async fn round(
    client: &Arc<ClientConfig>,
    address: SocketAddr,
    connections: u32,
    span: Duration,
    resumes: bool,
) -> f64 {
    let (next, done, unexpected) = (
        Arc::<AtomicUsize>::default(),
        Arc::<AtomicU64>::default(),
        Arc::<AtomicU64>::default(),
    );
    let expected = if resumes {
        // A session of every name, to go on with.
        for number in 0..CERTIFICATES {
            once(client, address, &host(number)).await;
        }
        HandshakeKind::Resumed
    } else {
        HandshakeKind::Full
    };
    let began = Instant::now();
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let (client, next, done) = (Arc::clone(client), Arc::clone(&next), Arc::clone(&done));
            let unexpected = Arc::clone(&unexpected);
            tokio::spawn(async move {
                while began.elapsed() < span {
                    let number = next.fetch_add(1, Ordering::Relaxed) % CERTIFICATES;
                    let kind = once(&client, address, &host(number)).await;
                    let count = if kind == expected { &done } else { &unexpected };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a client ends well");
    }
    let other = unexpected.load(Ordering::Relaxed);
    if other > 0 {
        println!("{other} handshakes were not {expected:?}");
    }
    done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

async fn once(client: &Arc<ClientConfig>, address: SocketAddr, name: &str) -> HandshakeKind {
    let stream = TcpStream::connect(address).await.expect("it accepts");
    stream.set_nodelay(true).expect("an option");
    let server = ServerName::try_from(name.to_owned()).expect("a name");
    let mut stream = TlsConnector::from(Arc::clone(client))
        .connect(server, stream)
        .await
        .expect("a handshake");
    let ask = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    // Its end may come without a farewell.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 404"), "no answer");
    stream.get_ref().1.handshake_kind().expect("it is over")
}

/// Starts the plain server and hands it certificates and keys on its standard input.
fn start_plain(issued: &[Issued]) -> (std::process::Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().expect("a bench knows its path"))
        .arg(PLAIN)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let all: Vec<_> = issued
        .iter()
        .enumerate()
        .map(|(number, one)| (host(number), one.der.clone(), one.key_der.clone()))
        .collect();
    let mut input = child.stdin.take().expect("a pipe");
    serde_json::to_writer(&mut input, &all).expect("it reads");
    input.write_all(b"\n").expect("it reads");
    let mut line = String::new();
    let output = child.stdout.take().expect("a pipe");
    std::io::BufReader::new(output)
        .read_line(&mut line)
        .expect("it says where");
    (child, line.trim().parse().expect("an address"))
}

async fn serve_plainly() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("certificates");
    let all: Vec<(String, Vec<u8>, Vec<u8>)> = serde_json::from_str(&line).expect("certificates");
    let mut resolver = ResolvesServerCertUsingSni::new();
    for (name, certificate, key) in all {
        let key = PrivateKeyDer::try_from(key).expect("a key");
        let key = any_supported_type(&key).expect("a key");
        let certified = CertifiedKey::new(vec![CertificateDer::from(certificate)], key);
        resolver.add(&name, certified).expect("its certificate");
    }
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.ticketer = Ticketer::new().expect("random bytes");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let mut stream = acceptor.accept(stream).await?;
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await?;
            stream
                .write_all(
                    b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                )
                .await?;
            stream.shutdown().await
        });
    }
}

/// Believes every certificate and signature: clients are not what is measured.
#[derive(Debug)]
struct Believing;

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
