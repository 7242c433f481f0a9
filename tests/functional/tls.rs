//! TLS by server name: whose certificate a client sees, and what becomes of names, keys and sessions.

use control_api::view::PageRequest;
use littoral_tests::{
    Authority, Builder, SOON, Shared, TestEdge, component, now_s, refusal, run, until, until_within,
};
use rustls::{HandshakeKind, ProtocolVersion};
use serde_json::json;

static NODE: Shared = Shared::configured(over_tls);

const HELLO: &str = "Hello from the edge!\n";

fn over_tls(builder: Builder) -> Builder {
    builder.set("https.listen", json!(["127.0.0.1:0"]))
}

/// A node of its own, for what others would notice.
async fn own_node() -> TestEdge {
    over_tls(TestEdge::build()).start().await
}

#[test]
fn a_name_gets_its_tenants_certificate_the_exact_one_before_the_wildcard() {
    run(async {
        let edge = NODE.edge().await;
        let (authority, https) = (Authority::new(), edge.https().await);
        let acme = edge.tenant("sni-acme").await;
        acme.version("site", 1, component("hello")).await;
        for route in ["*.sni-acme.test/", "sni-acme.test/"] {
            acme.route(route, "site", None).await.unwrap();
        }
        let wild = authority.issue(&["*.sni-acme.test", "sni-acme.test"]);
        let exact = authority.issue(&["shop.sni-acme.test"]);
        let shown = acme.certificate("wild", &wild).await.unwrap();
        let routes: Vec<_> = shown.routes.iter().map(ToString::to_string).collect();
        assert_eq!(routes, ["*.sni-acme.test/", "sni-acme.test/"]);
        acme.certificate("exact", &exact).await.unwrap();
        let other = edge.tenant("sni-other").await;
        other.version("site", 1, component("hello-p3")).await;
        other.route("sni-other.test/", "site", None).await.unwrap();
        let theirs = authority.issue(&["sni-other.test"]);
        other.certificate("one", &theirs).await.unwrap();

        for (name, expected) in [
            ("sni-acme.test", &wild),
            ("www.sni-acme.test", &wild),
            ("shop.sni-acme.test", &exact),
            ("SHOP.sni-ACME.test", &exact),
            ("sni-other.test", &theirs),
        ] {
            // A client each: a session that goes on shows no certificate.
            let mut session = authority.client().connect(https, name).await.unwrap();
            assert_eq!(session.certificate.as_ref(), Some(&expected.der), "{name}");
            let answer = session.get(&format!("{name}/")).await;
            assert_eq!(answer.status(), 200, "{name}: {}", answer.text());
        }
        for name in ["unknown.test", "a.www.sni-acme.test", "127.0.0.1"] {
            let refused = authority.client().connect(https, name).await;
            let refused = refused.err().unwrap();
            assert!(refused.contains("UnrecognisedName"), "{name}: {refused}");
        }
    });
}

#[test]
fn guests_are_told_that_it_was_tls_and_other_names_are_misdirected() {
    run(async {
        let edge = NODE.edge().await;
        let (authority, https) = (Authority::new(), edge.https().await);
        let client = authority.client();
        let acme = edge.tenant("told").await;
        acme.version("site", 1, component("inspect-request")).await;
        for route in ["told.test/", "also.told.test/", "apart.told.test/"] {
            acme.route(route, "site", None).await.unwrap();
        }
        let issued = authority.issue(&["told.test", "also.told.test", "no-route.told.test"]);
        acme.certificate("one", &issued).await.unwrap();
        let other = edge.tenant("told-other").await;
        other.version("site", 1, component("hello")).await;
        other.route("told-other.test/", "site", None).await.unwrap();

        let mut session = client.connect(https, "told.test").await.unwrap();
        let seen = session.get("told.test/").await.json();
        assert_eq!(seen["scheme"], "https", "{seen}");
        let text = seen.to_string();
        assert!(text.contains("proto=https"), "{text}");
        // The certificate is for it too: one connection is enough (RFC 9110 §4.3.3).
        assert_eq!(session.get("also.told.test/").await.status(), 200);
        assert_eq!(session.get("no-route.told.test/").await.status(), 404);
        for place in ["apart.told.test/", "told-other.test/", "nowhere.test/"] {
            let answer = session.get(place).await;
            assert_eq!(
                (answer.status(), answer.reason()),
                (421, "misdirected"),
                "{place}"
            );
        }
    });
}

#[test]
fn a_certificate_is_replaced_without_a_dropped_connection_and_forgotten() {
    run(async {
        let edge = NODE.edge().await;
        let (authority, https) = (Authority::new(), edge.https().await);
        let client = authority.client();
        let acme = edge.tenant("replaced").await;
        acme.version("site", 1, component("hello")).await;
        acme.route("replaced.test/", "site", None).await.unwrap();
        let (first, second) = (
            authority.issue(&["replaced.test"]),
            authority.issue(&["replaced.test"]),
        );
        acme.certificate("one", &first).await.unwrap();
        let mut before = client.connect(https, "replaced.test").await.unwrap();
        assert_eq!(before.certificate.as_ref(), Some(&first.der));
        assert_eq!(before.get("replaced.test/").await.text(), HELLO);

        acme.certificate("one", &second).await.unwrap();
        // A client of its own: a session would go on without a certificate.
        let mut after = authority
            .client()
            .connect(https, "replaced.test")
            .await
            .unwrap();
        assert_eq!(after.certificate.as_ref(), Some(&second.der));
        assert_eq!(after.get("replaced.test/").await.text(), HELLO);
        assert_eq!(before.get("replaced.test/").await.text(), HELLO);

        acme.delete_certificate("one").await.unwrap();
        let refused = authority.client().connect(https, "replaced.test").await;
        assert!(refused.err().unwrap().contains("UnrecognisedName"));
        assert_eq!(before.get("replaced.test/").await.text(), HELLO);
        assert_eq!(
            refusal(acme.delete_certificate("one").await),
            "certificate-not-found"
        );
    });
}

#[test]
fn both_versions_and_every_kind_of_key_shake_hands_and_sessions_go_on() {
    run(async {
        let edge = NODE.edge().await;
        let (authority, https) = (Authority::new(), edge.https().await);
        let acme = edge.tenant("kinds").await;
        acme.version("site", 1, component("hello")).await;
        for (name, algorithm, kind) in [
            ("p256", &rcgen::PKCS_ECDSA_P256_SHA256, "ecdsa-p256"),
            ("p384", &rcgen::PKCS_ECDSA_P384_SHA384, "ecdsa-p384"),
            ("ed", &rcgen::PKCS_ED25519, "ed25519"),
            ("rsa", &rcgen::PKCS_RSA_SHA256, "rsa"),
        ] {
            let host = format!("{name}.kinds.test");
            acme.route(&format!("{host}/"), "site", None).await.unwrap();
            let issued = authority.issue_as(&[&host], algorithm, |_| {});
            let shown = acme.certificate(name, &issued).await.unwrap();
            assert_eq!(shown.key_algorithm, kind);
            for (versions, version) in [
                (&[&rustls::version::TLS13], ProtocolVersion::TLSv1_3),
                (&[&rustls::version::TLS12], ProtocolVersion::TLSv1_2),
            ] {
                let client = authority.client_of(versions);
                let mut full = client.connect(https, &host).await.unwrap();
                assert_eq!((full.kind, full.version), (HandshakeKind::Full, version));
                assert_eq!(full.get(&format!("{host}/")).await.text(), HELLO, "{host}");
                let mut again = client.connect(https, &host).await.unwrap();
                assert_eq!(again.kind, HandshakeKind::Resumed, "{host} {version:?}");
                assert_eq!(again.get(&format!("{host}/")).await.text(), HELLO);
            }
        }
    });
}

/// The step that signs is then not the first: it must not run on the thread of the connection, which cannot sign.
#[test]
fn a_client_that_must_say_hello_twice_is_served() {
    run(async {
        let edge = NODE.edge().await;
        let (authority, https) = (Authority::new(), edge.https().await);
        let acme = edge.tenant("twice").await;
        acme.version("site", 1, component("hello")).await;
        acme.route("twice.test/", "site", None).await.unwrap();
        let issued = authority.issue(&["twice.test"]);
        acme.certificate("one", &issued).await.unwrap();
        // Its first offer is for a group that is not spoken here, and its second for one that is.
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups = vec![
            &Unspoken as &dyn rustls::crypto::SupportedKxGroup,
            rustls::crypto::aws_lc_rs::kx_group::SECP384R1,
        ];
        let client = authority.client_with(provider, &[&rustls::version::TLS13]);
        let mut session = client.connect(https, "twice.test").await.unwrap();
        assert_eq!(session.kind, HandshakeKind::FullWithHelloRetryRequest);
        assert_eq!(session.get("twice.test/").await.text(), HELLO);
    });
}

/// A group that only this client knows.
#[derive(Debug)]
struct Unspoken;

impl rustls::crypto::SupportedKxGroup for Unspoken {
    fn start(&self) -> Result<Box<dyn rustls::crypto::ActiveKeyExchange>, rustls::Error> {
        // Any key will do for an offer that nobody takes.
        let exchange = rustls::crypto::aws_lc_rs::kx_group::X25519.start()?;
        Ok(Box::new(Offer(exchange)))
    }

    fn name(&self) -> rustls::NamedGroup {
        rustls::NamedGroup::Unknown(0xfe00)
    }
}

struct Offer(Box<dyn rustls::crypto::ActiveKeyExchange>);

impl rustls::crypto::ActiveKeyExchange for Offer {
    fn complete(
        self: Box<Self>,
        peer: &[u8],
    ) -> Result<rustls::crypto::SharedSecret, rustls::Error> {
        self.0.complete(peer)
    }

    fn pub_key(&self) -> &[u8] {
        self.0.pub_key()
    }

    fn group(&self) -> rustls::NamedGroup {
        rustls::NamedGroup::Unknown(0xfe00)
    }
}

#[test]
fn what_cannot_or_may_not_be_served_is_refused_and_leaves_nothing() {
    run(async {
        let edge = NODE.edge().await;
        let authority = Authority::new();
        let settings = serde_json::from_value(json!({
            "limits": { "certificates_max": 1 },
            "hosts": ["*.refused.test", "refused.test"],
        }));
        let acme = edge.tenant_with("refused", &settings.unwrap()).await;
        let other = edge.tenant("refused-other").await;
        other.version("site", 1, component("hello")).await;
        other.route("taken.test/", "site", None).await.unwrap();
        let revision = edge.status().await.revision;

        let good = authority.issue(&["refused.test"]);
        let expired = authority.issue_as(&["refused.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |it| {
            it.not_before = rcgen::date_time_ymd(2020, 1, 1);
            it.not_after = rcgen::date_time_ymd(2020, 2, 1);
        });
        let early = authority.issue_as(&["refused.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |it| {
            it.not_before = rcgen::date_time_ymd(2190, 1, 1);
        });
        let mut mixed = good.clone();
        mixed.key = authority.issue(&["refused.test"]).key;
        let mut garbage = good.clone();
        garbage.key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned();
        for (what, issued) in [
            ("expired", &expired),
            ("early", &early),
            ("of another chain", &mixed),
            ("garbage", &garbage),
        ] {
            let outcome = acme.certificate("one", issued).await;
            assert_eq!(refusal(outcome), "certificate-unusable", "{what}");
        }
        let beyond = authority.issue(&["refused.test", "elsewhere.test"]);
        let outcome = acme.certificate("one", &beyond).await;
        assert_eq!(refusal(outcome), "host-not-allowed");
        let free = edge.tenant("refused-free").await;
        let taken = authority.issue(&["taken.test"]);
        assert_eq!(refusal(free.certificate("one", &taken).await), "host-taken");
        // Two tenants came since, with a key each: nothing else.
        assert_eq!(edge.status().await.revision, revision + 2);

        let put = acme.certificate("one", &good).await.unwrap();
        assert!(put.not_after > now_s());
        acme.certificate("one", &good).await.unwrap();
        assert_eq!(
            refusal(acme.certificate("two", &good).await),
            "limit-reached"
        );
        // Once: what is as asked already is not written again.
        assert_eq!(edge.status().await.revision, revision + 3);
    });
}

#[test]
fn certificates_outlive_restarts_and_workers_and_their_keys_are_nowhere_in_the_clear() {
    run(async {
        let mut edge = own_node().await;
        let authority = Authority::new();
        let acme = edge.tenant("kept").await;
        acme.version("site", 1, component("hello")).await;
        acme.route("kept.test/", "site", None).await.unwrap();
        let issued = authority.issue(&["kept.test"]);
        acme.certificate("one", &issued).await.unwrap();
        edge.restart().await;
        let https = edge.https().await;
        let answer = authority.client().get(https, "kept.test/").await;
        assert_eq!(answer.text(), HELLO);
        edge.kill_worker().await;
        until_within(SOON, "the next worker shakes hands", async || {
            let mut session = authority.client().connect(https, "kept.test").await.ok()?;
            (session.get("kept.test/").await.status() == 200).then_some(())
        })
        .await;

        // The private scalar, in whatever form it might be: it is the last part of the key's own structure.
        let scalar = private_scalar(&issued.key_der);
        let control = memory_holds(edge.pid(), &scalar);
        assert!(
            control,
            "the search finds what is there: control signs with it"
        );
        let worker = edge.status().await.worker.pid;
        if rustix::process::geteuid().is_root() {
            assert!(
                memory_holds(worker, &issued.der),
                "the worker has the certificate"
            );
            assert!(!memory_holds(worker, &scalar), "the worker has the key");
        } else {
            eprintln!("skipped: only root may read the memory of a worker");
        }
        let mut files = Vec::new();
        walk(&edge.data(), &mut files);
        assert!(files.len() > 5);
        for path in files {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!holds(&bytes, &scalar), "{}", path.display());
        }
        let page = PageRequest {
            after: None,
            limit: 100,
        };
        let audit = edge.client().audit(&page).await.unwrap();
        let audit = serde_json::to_string(&audit).unwrap();
        assert!(audit.contains("certificate.put") && !audit.contains("PRIVATE KEY"));
        assert!(!edge.log().contains("PRIVATE KEY"));
    });
}

#[test]
fn without_the_nodes_key_a_certificate_is_kept_and_not_served_until_it_is_put_again() {
    run(async {
        let mut edge = own_node().await;
        let authority = Authority::new();
        let acme = edge.tenant("lost").await;
        acme.version("site", 1, component("hello")).await;
        acme.route("lost.test/", "site", None).await.unwrap();
        let issued = authority.issue(&["lost.test"]);
        acme.certificate("one", &issued).await.unwrap();
        edge.stop().await;
        std::fs::remove_file(edge.data().join("keys/certificates.key")).unwrap();
        edge.start_again().await;
        let refused = authority
            .client()
            .connect(edge.https().await, "lost.test")
            .await;
        assert!(refused.err().unwrap().contains("UnrecognisedName"));
        assert!(edge.log().contains("a certificate cannot be served"));
        let acme = acme.through(edge.client());
        acme.certificate("one", &issued).await.unwrap();
        let answer = authority
            .client()
            .get(edge.https().await, "lost.test/")
            .await;
        assert_eq!(answer.text(), HELLO);
    });
}

#[test]
fn handshakes_are_bounded_in_number_and_time_and_counted() {
    run(async {
        let edge = over_tls(TestEdge::build())
            .set("https.handshakes_max", 4)
            .set("https.handshake_timeout_ms", 2000)
            .start()
            .await;
        let (authority, https) = (Authority::new(), edge.https().await);
        let acme = edge.tenant("bounded").await;
        acme.version("site", 1, component("hello")).await;
        acme.route("bounded.test/", "site", None).await.unwrap();
        acme.certificate("one", &authority.issue(&["bounded.test"]))
            .await
            .unwrap();
        let count = async |outcome: &str| {
            let series = format!("littoral_tls_handshakes_total{{outcome=\"{outcome}\"}}");
            edge.metric(&series).await
        };
        // Says nothing, and has the only place of its address for two seconds.
        let mut silent = littoral_tests::Wire::to(https).await;
        until("the silent one has its place", async || {
            let under_way = edge.metric("littoral_tls_handshakes_under_way").await;
            (under_way == 1.0).then_some(())
        })
        .await;
        let refused = authority.client().connect(https, "bounded.test").await;
        assert!(refused.is_err());
        let mut neighbour = authority
            .client()
            .connect_from([127, 0, 0, 2].into(), https, "bounded.test")
            .await
            .unwrap();
        assert_eq!(neighbour.get("bounded.test/").await.text(), HELLO);
        until("that is counted", async || {
            (count("busy").await == 1.0).then_some(())
        })
        .await;
        assert!(silent.rest().await.is_empty());
        until("that is counted", async || {
            (count("timeout").await == 1.0).then_some(())
        })
        .await;
        let answer = until("there is a place again", async || {
            let mut session = authority
                .client()
                .connect(https, "bounded.test")
                .await
                .ok()?;
            Some(session.get("bounded.test/").await)
        })
        .await;
        assert_eq!(answer.text(), HELLO);
        let _ = authority.client().connect(https, "unknown.test").await;
        assert_eq!(count("full").await, 2.0);
        assert_eq!(count("unknown-name").await, 1.0);
        let signed = edge
            .metric("littoral_tls_signature_duration_seconds_count")
            .await;
        assert_eq!(signed, 2.0);
        let left_s = edge
            .metric("littoral_certificate_expiry_seconds{tenant=\"bounded\"}")
            .await;
        assert!(left_s > 86_400.0, "{left_s}");
    });
}

#[test]
fn a_node_can_insist_on_tls_1_3() {
    run(async {
        let edge = over_tls(TestEdge::build())
            .set("https.tls_min", "1.3")
            .start()
            .await;
        let (authority, https) = (Authority::new(), edge.https().await);
        let acme = edge.tenant("new").await;
        acme.version("site", 1, component("hello")).await;
        acme.route("new.test/", "site", None).await.unwrap();
        let issued = authority.issue(&["new.test"]);
        acme.certificate("one", &issued).await.unwrap();
        let old = authority.client_of(&[&rustls::version::TLS12]);
        let refused = old.connect(https, "new.test").await.err().unwrap();
        assert!(refused.contains("ProtocolVersion"), "{refused}");
        assert_eq!(
            authority.client().get(https, "new.test/").await.text(),
            HELLO
        );
    });
}

/// The 32 bytes of a key on P-256 in PKCS #8 (RFC 5915 in RFC 5208): an octet string of that length after a version of 1.
fn private_scalar(key: &[u8]) -> Vec<u8> {
    let at = key
        .windows(5)
        .position(|it| it == [2, 1, 1, 4, 32])
        .unwrap();
    key[at + 5..at + 37].to_vec()
}

/// Whether bytes are anywhere in the memory that a process may read, forwards or, as big numbers are kept, backwards.
fn memory_holds(pid: u32, bytes: &[u8]) -> bool {
    use std::os::unix::fs::FileExt as _;
    let backwards: Vec<u8> = bytes.iter().rev().copied().collect();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut buffer = vec![0; 1 << 20];
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        // Memory of guests is reserved by the terabyte and mostly closed; what is open is read.
        if !rights.starts_with('r') || line.ends_with("[vvar]") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let number = |hex| u64::from_str_radix(hex, 16).unwrap();
        let (mut at, to) = (number(from), number(to));
        while at < to {
            let most = usize::try_from((to - at).min(buffer.len() as u64)).unwrap();
            let Ok(read @ 1..) = memory.read_at(&mut buffer[..most], at) else {
                break;
            };
            let found = holds(&buffer[..read], bytes) || holds(&buffer[..read], &backwards);
            if found {
                return true;
            }
            // What lies across two pieces is seen with the next one.
            at += if read == most && at + (read as u64) < to {
                (read - bytes.len()) as u64
            } else {
                read as u64
            };
        }
    }
    false
}

fn holds(all: &[u8], bytes: &[u8]) -> bool {
    let first = bytes[0];
    let mut rest = all;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[at..];
        if rest.starts_with(bytes) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

fn walk(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}
