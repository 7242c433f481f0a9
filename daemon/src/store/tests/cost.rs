//! What durability costs on this machine. Run by hand:
//! `cargo test --release -p littorald --lib store::tests::cost -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::*;
use crate::store::contents::{Change, Contents};
use crate::store::export::Export;
use crate::store::ledger::Ledger;

const ROUNDS: u64 = 500;

/// Bytes this process caused to be sent to the device.
fn device_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.unwrap().parse().unwrap()
}

fn report(what: &str, transactions: u64, took: Duration, bytes: u64) {
    println!(
        "{what}: {:.0} transactions/s, {:.2} ms each, {} bytes to the device each",
        transactions as f64 / took.as_secs_f64(),
        took.as_secs_f64() * 1000.0 / transactions as f64,
        bytes / transactions
    );
}

fn route_writes(number: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let prepared = prepare(route(number)).unwrap();
    let mut writes = prepared.writes;
    writes.push((Key::Node.encode(), Some(vec![0; 14])));
    writes.push((Key::Audit { seq: number }.encode(), prepared.audit));
    writes
}

fn route(number: u64) -> Transaction {
    Transaction {
        audit: Some(AuditRecord {
            at_s: 1_790_000_000,
            who: "operator@littoral".into(),
            action: "route.set".into(),
            tenant: Some("acme".into()),
            resource: format!("host{}.acme.test/", number % 300),
            before: None,
            after: Some(br#"{"module":"hello","version":null}"#.to_vec()),
            request_id: "01J9ZZZZZZZZZZZZZZZZZZZZZZ".into(),
        }),
        ..put(Record::Route(RouteRecord {
            host: format!("host{}.acme.test", number % 300),
            path: "/".into(),
            tenant: "acme".into(),
            module: "hello".into(),
            version: None,
        }))
    }
}

#[test]
#[ignore = "prints figures of the machine it runs on; asserts nothing about them"]
fn what_a_durable_transaction_costs() {
    let home = TempDir::new().unwrap();

    let mut ledger = Ledger::open(&home.path().join("sled"), 8 << 20).unwrap();
    let (began, bytes) = (Instant::now(), device_bytes());
    for number in 1..=ROUNDS {
        ledger.apply(&route_writes(number)).unwrap();
    }
    report(
        "database alone",
        ROUNDS,
        began.elapsed(),
        device_bytes() - bytes,
    );

    let mut export = Export::begin(home.path(), 0, &Contents::default()).unwrap();
    let (began, bytes) = (Instant::now(), device_bytes());
    for seq in 1..=ROUNDS {
        let writes = route_writes(seq);
        export.append(&[Change { seq, writes }]).unwrap();
    }
    report(
        "journal alone",
        ROUNDS,
        began.elapsed(),
        device_bytes() - bytes,
    );

    for callers in [1, 8, 32] {
        let dir = home.path().join(format!("store-{callers}"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        runtime.block_on(async {
            let store = Store::open(StoreOptions::at(&dir)).unwrap().store;
            let (began, bytes) = (Instant::now(), device_bytes());
            let mut tasks = tokio::task::JoinSet::new();
            for caller in 0..callers {
                let store = store.clone();
                tasks.spawn(async move {
                    for number in 0..ROUNDS {
                        store.commit(route(caller * ROUNDS + number)).await.unwrap();
                    }
                });
            }
            tasks.join_all().await;
            let what = format!("store, {callers} at once");
            report(
                &what,
                callers * ROUNDS,
                began.elapsed(),
                device_bytes() - bytes,
            );
            println!("  {:?}", store.stats());
            store.close().await;
        });
        let began = Instant::now();
        let (snapshot, _) = reopen(&dir);
        println!(
            "  opened again in {:?}: {} routes",
            began.elapsed(),
            snapshot.routes.len()
        );
    }
}

#[test]
#[ignore = "prints how the database file grows; asserts only that its bound holds"]
fn how_the_database_file_grows() {
    let dir = TempDir::new().unwrap();
    runtime().block_on(async {
        let store = Store::open(StoreOptions::at(dir.path())).unwrap().store;
        for round in 0..40_u64 {
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..1000 {
                let store = store.clone();
                tasks.spawn(
                    async move { store.commit(route(round * 1000 + number)).await.unwrap() },
                );
            }
            tasks.join_all().await;
            let stats = store.stats();
            println!(
                "{} transactions: contents {} KiB, database {} KiB, {} rebuilds, {} compactions",
                stats.transactions,
                stats.contents_bytes >> 10,
                stats.ledger_bytes >> 10,
                stats.rebuilds,
                stats.compactions
            );
            assert!(stats.ledger_bytes < 80 << 20);
        }
        store.close().await;
    });
}
