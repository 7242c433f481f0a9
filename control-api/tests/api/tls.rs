//! The admin API over TLS, and clients that are known by a certificate.

use std::path::Path;
use std::sync::Arc;

use control_api::auth::Scope;
use control_api::client::{Client, ClientError, TlsFiles};
use control_api::server::{AdminTls, AdminTlsError, ListenOptions, Server};
use control_api::view::{PageRequest, TenantWrite};
use edge_config::Config;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::support::{Setup, TestNode};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Certificate and key in PEM.
    fn issue(&self, common_name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What is configured for an API over TLS, with clients of `clients`.
fn configured(folder: &Path, server: &Authority, clients: &Authority) -> Config {
    let (chain, key) = server.issue("node");
    let text = format!(
        "[admin]\nlisten = '127.0.0.1:0'\ntls_chain_file = '{}'\ntls_key_file = '{}'\n\
         client_authorities_file = '{}'\n\
         clients = ['ops=node:admin', 'ci=deploy+read@acme']",
        write(folder, "chain.pem", &chain),
        write(folder, "key.pem", &key),
        write(folder, "authorities.pem", &clients.pem),
    );
    Config::parse(&text, std::iter::empty::<(String, String)>()).unwrap()
}

async fn node(config: &Config) -> TestNode {
    let tls = AdminTls::from_config(config).unwrap().unwrap();
    let listen = ListenOptions {
        tls: Some(Arc::new(tls)),
        ..ListenOptions::from_config(config)
    };
    TestNode::start_with(Setup {
        listen,
        ..Setup::default()
    })
    .await
}

fn client(
    node: &TestNode,
    believes: &Authority,
    token: Option<String>,
    identity: Option<(String, String)>,
) -> Client {
    let files = TlsFiles {
        authorities: Some(believes.pem.clone().into_bytes()),
        identity: identity.map(|(chain, key)| format!("{chain}{key}").into_bytes().into()),
    };
    Client::with_files(&format!("https://{}", node.addr), token, &files).unwrap()
}

fn slug<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> String {
    let error = outcome.unwrap_err();
    let problem = error.problem().unwrap_or_else(|| panic!("{error:?}"));
    problem.kind().unwrap().slug().to_owned()
}

const PAGE: PageRequest = PageRequest {
    after: None,
    limit: 10,
};

#[tokio::test]
async fn tokens_and_certificates_are_believed_each_for_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (server, clients) = (Authority::new(), Authority::new());
    let node = node(&configured(folder.path(), &server, &clients)).await;
    let acme = "acme".parse().unwrap();

    let with_token = client(&node, &server, Some(node.admin_token()), None);
    with_token
        .put_tenant(&acme, &TenantWrite::default(), Default::default())
        .await
        .unwrap();
    let nobody = client(&node, &server, None, None);
    assert_eq!(slug(nobody.tenants(&PAGE).await), "token-missing");

    let ops = client(&node, &server, None, Some(clients.issue("ops")));
    assert_eq!(ops.tenants(&PAGE).await.unwrap().items.len(), 1);
    let other = "other".parse().unwrap();
    ops.put_tenant(&other, &TenantWrite::default(), Default::default())
        .await
        .unwrap();
    let audit = ops.audit(&PAGE).await.unwrap();
    assert_eq!(audit.items[0].who, "ops (client certificate)");

    let ci = client(&node, &server, None, Some(clients.issue("ci")));
    ci.usage(&acme).await.unwrap();
    assert_eq!(slug(ci.tenants(&PAGE).await), "scope-insufficient");
    assert_eq!(slug(ci.usage(&other).await), "tenant-not-found");

    let stranger = client(&node, &server, None, Some(clients.issue("stranger")));
    assert_eq!(slug(stranger.tenants(&PAGE).await), "token-missing");
    // A token says more than a certificate.
    let token = node.token(&[Scope::Read], Some("acme"));
    let both = client(&node, &server, Some(token), Some(clients.issue("ops")));
    assert_eq!(slug(both.tenants(&PAGE).await), "scope-insufficient");
    // Of an authority that is not the operator's: no handshake, so no answer.
    let forged = client(&node, &server, None, Some(Authority::new().issue("ops")));
    assert!(forged.tenants(&PAGE).await.unwrap_err().problem().is_none());
    // In clear text nobody is answered, and who does not believe the node asks it nothing.
    let clear = Client::new(&format!("http://{}", node.addr), None).unwrap();
    assert!(clear.alive().await.is_err());
    assert!(client(&node, &clients, None, None).alive().await.is_err());
}

#[tokio::test]
async fn a_certificate_that_has_ended_counts_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (server, clients) = (Authority::new(), Authority::new());
    let node = node(&configured(folder.path(), &server, &clients)).await;
    let ops = client(&node, &server, None, Some(clients.issue("ops")));
    ops.tenants(&PAGE).await.unwrap();
    // The connection is still open; rcgen's certificates end in the year 4096.
    let end_of_time = 70_000_000_000;
    node.now
        .store(end_of_time, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(slug(ops.tenants(&PAGE).await), "token-missing");
}

#[tokio::test]
async fn files_are_read_again_and_bad_ones_take_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after, clients) = (Authority::new(), Authority::new(), Authority::new());
    let config = configured(folder.path(), &before, &clients);
    let tls = Arc::new(AdminTls::from_config(&config).unwrap().unwrap());
    let node = TestNode::start_with(Setup {
        listen: ListenOptions {
            tls: Some(Arc::clone(&tls)),
            ..ListenOptions::from_config(&config)
        },
        ..Setup::default()
    })
    .await;
    client(&node, &before, None, None).alive().await.unwrap();
    write(folder.path(), "chain.pem", "nothing");
    assert!(matches!(tls.reload(), Err(AdminTlsError::Content { .. })));
    let (chain, key) = after.issue("node");
    write(folder.path(), "chain.pem", &chain);
    // Half of a change: the key is that of before.
    assert!(tls.reload().unwrap_err().to_string().contains("key.pem"));
    client(&node, &before, None, None).alive().await.unwrap();
    write(folder.path(), "key.pem", &key);
    tls.reload().unwrap();
    client(&node, &after, None, None).alive().await.unwrap();
    assert!(client(&node, &before, None, None).alive().await.is_err());
}

#[tokio::test]
async fn beyond_loopback_there_is_tls_or_an_operator_who_insists() {
    let folder = tempfile::tempdir().unwrap();
    let (server, clients) = (Authority::new(), Authority::new());
    let config = configured(folder.path(), &server, &clients);
    let tls = AdminTls::from_config(&config).unwrap().map(Arc::new);
    let other = TestNode::start().await;
    let everywhere = Some("0.0.0.0:0".parse().unwrap());
    for (tls, without_tls_anywhere, good) in
        [(tls, false, true), (None, true, true), (None, false, false)]
    {
        let listen = ListenOptions {
            tcp: everywhere,
            tls,
            without_tls_anywhere,
            ..ListenOptions::default()
        };
        let bound = Server::bind(listen, crate::listening::api(&other));
        assert_eq!(bound.is_ok(), good);
    }
}
