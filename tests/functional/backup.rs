//! Backups: taken while the node serves, equal in everything where they are restored, and never half.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use control_api::auth::Scope;
use control_api::client::Client;
use control_api::view::{BackupWrite, PageRequest, TenantWrite};
use edge_config::{StoreName, TenantName};
use littoral_tests::{
    Ask, Authority, Builder, TestEdge, beside, cli, component, littorald, refusal, run, until,
    with_section,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const PASSPHRASE: &str = "correct horse battery staple";
const SECRET: &str = "a-secret-that-nobody-guesses";
const HELLO: &str = "Hello from the edge!\n";

/// A folder for archives and a passphrase's file.
struct Bag(TempDir);

impl Bag {
    fn new() -> Self {
        let bag = Self(tempfile::tempdir().unwrap());
        std::fs::write(bag.at("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
        bag
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }
}

fn over_tls() -> Builder {
    TestEdge::build().set("https.listen", json!(["127.0.0.1:0"]))
}

async fn littoral(edge: &TestEdge, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(cli());
    command
        .env_clear()
        .env("LITTORAL_ADMIN", edge.admin())
        .env("LITTORAL_TOKEN", edge.token(&[Scope::NodeAdmin], None))
        .args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// `littorald restore` into a directory, and what it said on standard error.
async fn restore(data: &Path, archive: &Path, passphrase: Option<&Path>) -> Result<(), String> {
    let mut command = std::process::Command::new(littorald());
    command
        .env_clear()
        .env("LITTORAL_NODE_DATA_DIR", data)
        .args(["restore".as_ref(), archive.as_os_str()]);
    if let Some(passphrase) = passphrase {
        command.arg("--passphrase-file").arg(passphrase);
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn page() -> PageRequest {
    PageRequest {
        after: None,
        limit: 1000,
    }
}

/// All that the API shows of a node's tenants: what must be equal.
async fn picture(client: &Client) -> Value {
    let mut tenants = Vec::new();
    for tenant in client.tenants(&page()).await.unwrap().items {
        let name = tenant.name.clone();
        let modules = client.modules(&name, &page()).await.unwrap().items;
        let mut settings = Vec::new();
        for module in &modules {
            let instances = client.module_instances(&name, &module.name).await.unwrap();
            let grants = client.module_grants(&name, &module.name).await.unwrap();
            settings.push(json!([instances.value, grants.value]));
        }
        tenants.push(json!({
            "tenant": tenant,
            "keys": client.keys(&name, &page()).await.unwrap().items,
            "modules": modules,
            "settings": settings,
            "routes": client.routes(&name, &page()).await.unwrap().items,
            "certificates": client.certificates(&name, &page()).await.unwrap().items,
            "variables": client.variables(&name, &page()).await.unwrap().items,
        }));
    }
    Value::from(tenants)
}

async fn stored(client: &Client, tenant: &str, store: &str) -> Vec<(String, Vec<u8>)> {
    let (tenant, store): (TenantName, StoreName) =
        (tenant.parse().unwrap(), store.parse().unwrap());
    let mut pairs = Vec::new();
    let keys = client.store_keys(&tenant, &store, &page()).await.unwrap();
    for key in keys.items {
        let value = client.store_value(&tenant, &store, &key.key).await.unwrap();
        pairs.push((key.key, value));
    }
    pairs
}

async fn put(client: &Client, tenant: &str, store: &str, key: &str, value: &[u8]) {
    let (tenant, store): (TenantName, StoreName) =
        (tenant.parse().unwrap(), store.parse().unwrap());
    let put = client.put_store_value(&tenant, &store, key, value.to_vec().into());
    put.await.unwrap();
}

/// A node with some of everything.
async fn furnished(edge: &TestEdge, authority: &Authority) {
    let acme = edge
        .tenant_limited("acme", json!({"concurrent_requests_max": 7}))
        .await;
    for guest in ["hello", "spin5-keeps", "spin5-counter"] {
        acme.guest(guest).await;
    }
    let newer = with_section(&component("hello"), "another");
    acme.version("hello", 2, newer).await;
    acme.route("pinned.acme.test/", "hello", Some(1))
        .await
        .unwrap();
    acme.instances("hello", json!({"mode": "reuse", "requests_max": 9}))
        .await
        .unwrap();
    let granted = json!({
        "key_value": ["default"],
        "variables": ["greeting", "password"],
        "outbound": ["https://api.example.com"],
    });
    acme.grants("spin5-keeps", granted).await.unwrap();
    acme.grants("spin5-counter", json!({"key_value": ["default"]}))
        .await
        .unwrap();
    acme.variable("greeting", json!({"value": "hello"}))
        .await
        .unwrap();
    acme.variable("password", json!({"value": SECRET, "secret": true}))
        .await
        .unwrap();
    let issued = authority.issue(&["hello.acme.test"]);
    acme.certificate("site", &issued).await.unwrap();
    for number in 0..20 {
        let value = vec![number; 20_000];
        put(
            edge.client(),
            "acme",
            "cache",
            &format!("big-{number:02}"),
            &value,
        )
        .await;
    }

    let other = edge.tenant("other").await;
    other.guest("hello").await;
    put(edge.client(), "other", "default", "theirs", b"\x00\xff").await;
    other
        .settings(&TenantWrite {
            suspended: true,
            hosts: vec!["*.other.test".parse().unwrap()],
            ..TenantWrite::default()
        })
        .await;
    // Its highest version outlives it.
    let gone = edge.tenant("gone").await;
    gone.version("hello", 5, component("hello")).await;
    let client = edge.client();
    client
        .delete_tenant(gone.name(), control_api::view::Precondition::None)
        .await
        .unwrap();
}

#[test]
fn a_node_is_backed_up_under_load_and_restored_on_an_empty_directory_equal_in_everything() {
    run(async {
        let (bag, authority) = (Bag::new(), Authority::new());
        let mut edge = over_tls().start().await;
        furnished(&edge, &authority).await;
        let before = picture(edge.client()).await;
        let acme: TenantName = "acme".parse().unwrap();
        let given = edge.client().receipt(&acme).await.unwrap();
        let cached = stored(edge.client(), "acme", "cache").await;
        let revision = edge.status().await.revision;

        // Guests count and an operator writes, one key after another, while the archive is written.
        let done = Arc::new(AtomicBool::new(false));
        let (http, stop) = (edge.http(), Arc::clone(&done));
        let asking = beside(async move {
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                let place = "spin5-counter.acme.test/";
                let answer = Ask::new(http, "GET", place).send().await;
                assert_eq!(answer.status(), 200, "{}", answer.text());
                answered += 1;
            }
            answered
        });
        let (client, stop) = (edge.client().clone(), Arc::clone(&done));
        let writing = beside(async move {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                put(&client, "acme", "load", &format!("{written:06}"), b"x").await;
                written += 1;
            }
            written
        });
        until("guests keep things", async || {
            let kept = stored(edge.client(), "acme", "load").await;
            (kept.len() > 3).then_some(())
        })
        .await;
        let passphrase = bag.text("passphrase");
        let archive = bag.text("node.littoral");
        let arguments = ["backup", "-o", &archive, "--passphrase-file", &passphrase];
        let output = littoral(&edge, &[&arguments[..], &["--output", "json"]].concat()).await;
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{wrong}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        done.store(true, Ordering::Relaxed);
        let (answered, written) = (asking.await.unwrap(), writing.await.unwrap());
        assert!(answered > 0 && written > 3, "{answered} {written}");
        // A key of a certificate, a secret, and the node's keys for admin tokens and receipts.
        assert_eq!(report["secrets"], 4, "{report}");
        assert_eq!(report["components"], 4, "{report}");
        assert_eq!(report["left_out"], json!([]), "{report}");
        assert_eq!(report["sealed"], true);
        let bytes = std::fs::read(bag.at("node.littoral")).unwrap();
        for secret in [SECRET, PASSPHRASE, "PRIVATE KEY"] {
            let secret = secret.as_bytes();
            assert!(!bytes.windows(secret.len()).any(|at| at == secret));
        }
        let verify = [
            "backup",
            "--verify",
            &archive,
            "--passphrase-file",
            &passphrase,
        ];
        let output = littoral(&edge, &verify).await;
        assert!(output.status.success());
        // The node that it is of may be gone.
        edge.stop().await;

        let builder = over_tls();
        let data = builder.home().join("data");
        restore(&data, &bag.at("node.littoral"), Some(&bag.at("passphrase")))
            .await
            .unwrap();
        let restored = builder.start().await;
        assert_eq!(picture(restored.client()).await, before);
        assert_eq!(stored(restored.client(), "acme", "cache").await, cached);
        let theirs = stored(restored.client(), "other", "default").await;
        assert_eq!(theirs, [("theirs".to_owned(), b"\x00\xff".to_vec())]);
        // As of one commit: no later write without all before it.
        let load = stored(restored.client(), "acme", "load").await;
        assert!((4..=written).contains(&load.len()), "{}", load.len());
        for (number, (key, _)) in load.iter().enumerate() {
            assert_eq!(*key, format!("{number:06}"));
        }
        let usage = restored
            .client()
            .usage(&"acme".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(usage.key_value_keys as usize, 20 + load.len() + 1);

        // Its audit log came along, and its revisions go on where the other node's cannot be met.
        let audit = restored.client().audit(&page()).await.unwrap().items;
        let actions: Vec<_> = audit.iter().map(|entry| entry.action.as_str()).collect();
        assert!(actions.contains(&"node.backup") && actions.contains(&"tenant.delete"));
        assert!(restored.status().await.revision > revision + 100_000);

        // Receipts go on under the same key.
        let next = restored.client().receipt(&acme).await.unwrap();
        let next = control_api::receipt::verify(&next.receipt, &given.key).unwrap();
        assert!(next.serial > given.usage.serial && next.since == given.usage.since);
        assert!(next.requests > given.usage.requests, "{next:?}");

        // Served again: compiled here, with its secret, its count, its certificate.
        until("the module is served", async || {
            let answer = restored.get("hello.acme.test/").await;
            (answer.status() == 200 && answer.text() == HELLO).then_some(())
        })
        .await;
        let read = restored
            .get("spin5-keeps.acme.test/variable?key=password")
            .await;
        assert_eq!((read.status(), read.text().as_str()), (200, SECRET));
        let counted = restored.get("spin5-counter.acme.test/").await.text();
        let count: usize = counted.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(
            (1..=answered + 1).contains(&count),
            "{counted} of {answered}"
        );
        let https = restored.https().await;
        let mut session = authority
            .client()
            .connect(https, "hello.acme.test")
            .await
            .unwrap();
        assert_eq!(session.get("hello.acme.test/").await.status(), 200);
        assert_eq!(restored.get("hello.other.test/").await.status(), 503);
        // A version that was accepted once is not accepted again.
        let gone = restored.tenant("gone").await;
        let again = gone.upload("hello", 5, component("hello")).await;
        assert_eq!(refusal(again), "version-not-above");
    });
}

#[test]
fn without_a_passphrase_no_secret_is_in_an_archive_and_those_missing_are_named() {
    run(async {
        let (bag, authority) = (Bag::new(), Authority::new());
        let edge = over_tls().start().await;
        furnished(&edge, &authority).await;
        let archive = bag.text("node.littoral");
        let output = littoral(&edge, &["backup", "-o", &archive]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        for named in [
            "`password` of tenant `acme`",
            "certificate `site` of tenant `acme`",
        ] {
            assert!(said.contains(named), "{said}");
        }
        let output = littoral(
            &edge,
            &[
                "backup",
                "--verify",
                &archive,
                "--passphrase-file",
                &bag.text("passphrase"),
            ],
        )
        .await;
        assert_eq!(output.status.code(), Some(4));
        assert!(String::from_utf8_lossy(&output.stderr).contains("needs none"));

        let builder = over_tls();
        let data = builder.home().join("data");
        restore(&data, &bag.at("node.littoral"), None)
            .await
            .unwrap();
        let restored = builder.start().await;
        let log = restored.log();
        assert!(
            log.contains("a secret cannot be read: set it again"),
            "{log}"
        );
        assert!(log.contains("a certificate cannot be served"), "{log}");
        until("the module is served", async || {
            let answer = restored.get("hello.acme.test/").await;
            (answer.status() == 200).then_some(())
        })
        .await;
        let read = restored
            .get("spin5-keeps.acme.test/variable?key=password")
            .await;
        assert_eq!(read.status(), 418);
        let plain = restored
            .get("spin5-keeps.acme.test/variable?key=greeting")
            .await;
        assert_eq!((plain.status(), plain.text().as_str()), (200, "hello"));
    });
}

/// What a guest says to a statement on `ledger`, which goes well.
async fn ledger(edge: &TestEdge, statement: &str) -> String {
    let encoded = statement.replace(' ', "+");
    let place = format!("spin7-sql.acme.test/?db=ledger&sql={encoded}");
    let answer = edge.get(&place).await;
    let said = answer.text();
    assert_eq!(answer.status(), 200, "{statement}: {said}");
    said
}

#[test]
fn sql_databases_are_as_of_one_commit_each_while_guests_write() {
    run(async {
        let bag = Bag::new();
        let edge = Arc::new(TestEdge::start().await);
        let tenant = edge.tenant("acme").await;
        tenant.guest("spin7-sql").await;
        let granted = json!({"databases": ["ledger"]});
        tenant.grants("spin7-sql", granted).await.unwrap();
        ledger(&edge, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)").await;
        // More than one page, some of it in the log and some not.
        let insert = "INSERT INTO t(v) VALUES (hex(randomblob(3000)))";
        for _ in 0..40 {
            ledger(&edge, insert).await;
        }
        let done = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn({
            let (edge, done) = (Arc::clone(&edge), Arc::clone(&done));
            async move {
                let mut written = 0;
                while !done.load(Ordering::Relaxed) {
                    ledger(&edge, insert).await;
                    written += 1;
                }
                written
            }
        });
        let archive = bag.text("node.littoral");
        let output = littoral(&edge, &["backup", "-o", &archive, "--output", "json"]).await;
        done.store(true, Ordering::Relaxed);
        let written: u32 = writing.await.unwrap();
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{wrong}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["databases"], 1, "{report}");

        let builder = TestEdge::build();
        let data = builder.home().join("data");
        restore(&data, &bag.at("node.littoral"), None)
            .await
            .unwrap();
        let restored = builder.start().await;
        until("the module is served", async || {
            let answer = restored.get("spin7-sql.acme.test/?sql=SELECT+1").await;
            (answer.status() != 404 && answer.status() != 503).then_some(())
        })
        .await;
        let said = ledger(
            &restored,
            "SELECT count(*) AS n, max(id) AS m, min(length(v)) AS l FROM t",
        )
        .await;
        let of = |name: &str| -> u32 {
            let (_, rest) = said.split_once(&format!("{name}=Value::Integer(")).unwrap();
            rest.split_once(')').unwrap().0.parse().unwrap()
        };
        assert!((40..=40 + written).contains(&of("n")), "{said} {written}");
        assert_eq!((of("m"), of("l")), (of("n"), 6000), "{said}");
        // It is a database like any other.
        ledger(&restored, insert).await;
    });
}

#[test]
fn what_is_no_whole_archive_of_this_passphrase_leaves_an_empty_directory() {
    run(async {
        let (bag, authority) = (Bag::new(), Authority::new());
        let edge = over_tls().start().await;
        furnished(&edge, &authority).await;
        let (archive, passphrase) = (bag.text("node.littoral"), bag.text("passphrase"));
        let arguments = ["backup", "-o", &archive, "--passphrase-file", &passphrase];
        assert!(littoral(&edge, &arguments).await.status.success());
        let whole = std::fs::read(&archive).unwrap();
        let right = bag.at("passphrase");
        let data = bag.at("data");
        let refused = async |bytes: &[u8], passphrase: Option<&Path>| {
            std::fs::write(bag.at("bad"), bytes).unwrap();
            let said = restore(&data, &bag.at("bad"), passphrase)
                .await
                .unwrap_err();
            let left = std::fs::read_dir(&data).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{said}");
            said
        };
        for length in [whole.len() - 1, whole.len() - 40, whole.len() / 2, 300] {
            let said = refused(&whole[..length], Some(&right)).await;
            assert!(said.contains("the archive is cut off"), "{length}: {said}");
        }
        for at in [whole.len() - 70, whole.len() / 2, whole.len() / 3] {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            let said = refused(&altered, Some(&right)).await;
            assert!(said.contains("altered or has decayed"), "{at}: {said}");
        }
        let mut newer = whole.clone();
        newer[16] = 9;
        let said = refused(&newer, Some(&right)).await;
        assert!(
            said.contains("format 9; this build reads up to 1"),
            "{said}"
        );
        let said = refused(b"#!/bin/sh\nexit 0\n", None).await;
        assert!(said.contains("no archive of `littoral backup`"), "{said}");
        let said = refused(&whole, None).await;
        assert!(
            said.contains("sealed under a passphrase: it is needed"),
            "{said}"
        );
        std::fs::write(bag.at("other"), "another horse battery staple").unwrap();
        let said = refused(&whole, Some(&bag.at("other"))).await;
        assert!(
            said.contains("not the one that the archive is sealed under"),
            "{said}"
        );
        std::fs::write(bag.at("short"), "horse").unwrap();
        let said = refused(&whole, Some(&bag.at("short"))).await;
        assert!(said.contains("allowed: 12 to 1024"), "{said}");

        // Into a directory that has something, a running node's for instance, nothing is restored.
        let said = restore(&edge.data(), &bag.at("node.littoral"), Some(&right)).await;
        assert!(said.unwrap_err().contains("is not empty, it has `"));
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        restore(&data, &bag.at("node.littoral"), Some(&right))
            .await
            .unwrap();
    });
}

#[test]
fn a_restore_that_was_interrupted_keeps_the_node_from_starting_until_it_is_repeated() {
    run(async {
        let (bag, authority) = (Bag::new(), Authority::new());
        let edge = over_tls().start().await;
        furnished(&edge, &authority).await;
        let archive = bag.text("node.littoral");
        assert!(
            littoral(&edge, &["backup", "-o", &archive])
                .await
                .status
                .success()
        );
        let whole = std::fs::read(&archive).unwrap();

        let builder = over_tls();
        let data = builder.home().join("data");
        // It waits for the rest of its input, and is killed there.
        let mut half = std::process::Command::new(littorald())
            .env_clear()
            .env("LITTORAL_NODE_DATA_DIR", &data)
            .args(["restore", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = half.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, &whole[..whole.len() - 100]).unwrap();
        until("components are there", async || {
            let components = data.join("restoring/components");
            let found = std::fs::read_dir(components).ok()?;
            (found.count() > 1).then_some(())
        })
        .await;
        let said = restore(&data, &bag.at("node.littoral"), None).await;
        assert!(said.unwrap_err().contains("another restore into"));
        half.kill().unwrap();
        half.wait().unwrap();
        drop(input);

        let mut node = std::process::Command::new(littorald());
        node.env_clear()
            .env("LITTORAL_NODE_DATA_DIR", &data)
            .env("LITTORAL_ADMIN_LISTEN", "127.0.0.1:0")
            .env("LITTORAL_HTTP_LISTEN", "127.0.0.1:0");
        let output = tokio::task::spawn_blocking(move || node.output().unwrap())
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(
            said.contains("did not come to its end: repeat it"),
            "{said}"
        );

        restore(&data, &bag.at("node.littoral"), None)
            .await
            .unwrap();
        let restored = builder.start().await;
        assert_eq!(
            picture(restored.client()).await.as_array().unwrap().len(),
            2
        );
    });
}

#[test]
fn one_backup_is_taken_at_a_time_and_one_that_nobody_reads_gives_its_place_back() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("hello").await;
        // More than fits between the node and a client that does not read.
        for number in 0..12 {
            let value = vec![number; 1 << 20];
            put(
                edge.client(),
                "acme",
                "default",
                &format!("{number}"),
                &value,
            )
            .await;
        }
        let token = edge.token(&[Scope::NodeAdmin], None);
        let mut slow = edge.admin_wire().await;
        let ask = format!(
            "POST /v1/backup HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        slow.send(ask).await;
        let first = slow.some(1024).await;
        assert!(first.starts_with(b"HTTP/1.1 200"));
        let write = BackupWrite::default();
        assert_eq!(refusal(edge.client().backup(&write).await), "backup-busy");
        // It changes nothing meanwhile that the node takes changes and serves.
        acme.variable("greeting", json!({"value": "hello"}))
            .await
            .unwrap();
        assert_eq!(edge.get("hello.acme.test/").await.text(), HELLO);
        drop(slow);
        let mut download = until("the place is free again", async || {
            edge.client().backup(&write).await.ok()
        })
        .await;
        let mut bytes = Vec::new();
        while let Some(chunk) = download.chunk().await.unwrap() {
            bytes.extend_from_slice(&chunk);
        }
        let archive = control_api::archive::ArchiveReader::open(&*bytes).unwrap();
        let (_, summary) = archive.verify().unwrap();
        assert_eq!((summary.pairs, summary.components), (12, 1));
        let short = BackupWrite {
            passphrase: Some("short".to_owned().into()),
        };
        assert_eq!(refusal(edge.client().backup(&short).await), "value-invalid");
    });
}
