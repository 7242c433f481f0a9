//! The store as a whole: what it keeps, what it refuses, and what it mends.

mod canary;
mod cost;
mod fault;
mod mend;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::writer::GROUP_TRANSACTIONS_MAX;
use super::*;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        cache_mib: 1,
        audit_entries_max: 5,
        reserve_bytes: 0,
        ..StoreOptions::at(dir)
    }
}

fn tenant(name: &str, created_at_s: u64) -> Record {
    Record::Tenant(TenantRecord {
        tenant: name.to_owned(),
        created_at_s,
        limits: vec![("limits.instance.memory_mib_max".into(), 64)],
        hosts: vec![format!("{name}.test")],
        suspended: false,
    })
}

fn put(record: Record) -> Transaction {
    Transaction {
        puts: vec![record],
        ..Transaction::default()
    }
}

fn entry(who: &str) -> AuditRecord {
    AuditRecord {
        who: who.to_owned(),
        action: "tenant.set".into(),
        ..AuditRecord::default()
    }
}

/// Opens, commits, closes.
fn commit_all(dir: &Path, transactions: Vec<Transaction>) -> Vec<Seq> {
    runtime().block_on(async {
        let opened = Store::open(options(dir)).unwrap();
        let mut seqs = Vec::new();
        for transaction in transactions {
            seqs.push(opened.store.commit(transaction).await.unwrap());
        }
        opened.store.close().await;
        seqs
    })
}

/// Opens, closes, gives what was found.
fn reopen(dir: &Path) -> (Snapshot, Recovery) {
    runtime().block_on(async {
        let opened = Store::open(options(dir)).unwrap();
        opened.store.close().await;
        (opened.snapshot, opened.recovery)
    })
}

/// Three tenants, committed one by one.
fn three_tenants(dir: &Path) {
    let seqs = commit_all(
        dir,
        ["acme", "beta", "corp"]
            .map(|name| put(tenant(name, 1)))
            .into(),
    );
    assert_eq!(seqs, [1, 2, 3]);
}

fn names(snapshot: &Snapshot) -> Vec<(&str, u64)> {
    snapshot
        .tenants
        .iter()
        .map(|tenant| (tenant.record.tenant.as_str(), tenant.revision))
        .collect()
}

const THREE: [(&str, u64); 3] = [("acme", 1), ("beta", 2), ("corp", 3)];

fn journal_of(dir: &Path) -> PathBuf {
    let mut journals: Vec<PathBuf> = fs::read_dir(dir.join("export"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("journal-"))
        .collect();
    assert_eq!(journals.len(), 1, "{journals:?}");
    journals.remove(0)
}

#[test]
fn a_new_store_is_created_once_and_then_intact() {
    let dir = TempDir::new().unwrap();
    let (snapshot, recovery) = reopen(dir.path());
    assert_eq!(snapshot, Snapshot::default());
    assert_eq!(recovery, Recovery::Created);
    assert_eq!(reopen(dir.path()).1, Recovery::Intact);
}

#[test]
fn every_kind_of_record_comes_back_with_its_revision() {
    let dir = TempDir::new().unwrap();
    let module = ModuleRecord {
        tenant: "acme".into(),
        module: "hello".into(),
        active_version: 2,
        highest_version: 2,
        versions: vec![VersionRecord {
            version: 2,
            digest: "sha-256:00".into(),
            statement: "e30.e30.AA".into(),
            // Longer than one piece of the database's.
            inspection: (0..100_000).map(|n: u32| n.to_le_bytes()[0]).collect(),
            ..VersionRecord::default()
        }],
        grants: Some(GrantsRecord {
            key_value: vec!["default".into()],
            databases: vec!["default".into()],
            outbound: vec!["https://example.com".into()],
            environment: vec![("A".into(), "b".into())],
            ..GrantsRecord::default()
        }),
        reuse: Some(ReuseRecord {
            requests_max: 128,
            idle_ms_max: 60_000,
            concurrency_max: 4,
            memory_bytes_max: 32 << 20,
        }),
    };
    let key = PublisherKeyRecord {
        tenant: "acme".into(),
        kid: "ci".into(),
        public_key: vec![7; 32],
        added_at_s: 9,
    };
    let floor = FloorRecord {
        tenant: "gone".into(),
        module: "old".into(),
        highest_version: 12,
    };
    let certificate = CertificateRecord {
        tenant: "acme".into(),
        certificate: "shop".into(),
        chain: vec![vec![1; 900], vec![2; 1200]],
        sealed_key: vec![3; 165],
        added_at_s: 9,
    };
    let route = RouteRecord {
        host: "*.acme.test".into(),
        path: "/".into(),
        tenant: "acme".into(),
        module: "hello".into(),
        version: None,
    };
    let variable = VariableRecord {
        tenant: "acme".into(),
        variable: "hello/db_url".into(),
        secret: true,
        value: vec![9; 16 << 10],
        changed_at_s: 9,
    };
    commit_all(
        dir.path(),
        vec![
            put(tenant("acme", 1)),
            Transaction {
                puts: vec![
                    Record::Module(module.clone()),
                    Record::PublisherKey(key.clone()),
                    Record::Certificate(certificate.clone()),
                    Record::Floor(floor.clone()),
                    Record::Route(route.clone()),
                    Record::Variable(variable.clone()),
                ],
                known_good_time_s: Some(1_790_000_000),
                ..Transaction::default()
            },
            Transaction {
                known_good_time_s: Some(5),
                ..Transaction::default()
            },
        ],
    );
    let (snapshot, recovery) = reopen(dir.path());
    assert_eq!(recovery, Recovery::Intact);
    let at = |revision| move |record| Revised { revision, record };
    assert_eq!(snapshot.seq, 3);
    assert_eq!(snapshot.known_good_time_s, 1_790_000_000);
    assert_eq!(names(&snapshot), [("acme", 1)]);
    assert_eq!(
        snapshot.modules,
        [Revised {
            revision: 2,
            record: module
        }]
    );
    assert_eq!(
        snapshot.publisher_keys,
        [Revised {
            revision: 2,
            record: key
        }]
    );
    assert_eq!(
        snapshot.certificates,
        [Revised {
            revision: 2,
            record: certificate
        }]
    );
    assert_eq!(
        snapshot.floors,
        [Revised {
            revision: 2,
            record: floor
        }]
    );
    assert_eq!(snapshot.routes, [at(2)(route)]);
    assert_eq!(
        snapshot.variables,
        [Revised {
            revision: 2,
            record: variable
        }]
    );
}

#[test]
fn a_shorter_value_leaves_nothing_of_a_longer_one() {
    let dir = TempDir::new().unwrap();
    let module = |bytes: usize| {
        put(Record::Module(ModuleRecord {
            tenant: "acme".into(),
            module: "hello".into(),
            versions: vec![VersionRecord {
                inspection: vec![1; bytes],
                ..VersionRecord::default()
            }],
            ..ModuleRecord::default()
        }))
    };
    commit_all(dir.path(), vec![module(50_000), module(10)]);
    let (snapshot, recovery) = reopen(dir.path());
    assert_eq!(recovery, Recovery::Intact);
    assert_eq!(snapshot.modules[0].record.versions[0].inspection.len(), 10);
    commit_all(
        dir.path(),
        vec![Transaction {
            deletes: vec![Key::Module {
                tenant: "acme".into(),
                module: "hello".into(),
            }],
            ..Transaction::default()
        }],
    );
    assert_eq!(reopen(dir.path()).0.modules, []);
}

#[test]
fn deletes_come_before_puts_and_later_puts_win() {
    let dir = TempDir::new().unwrap();
    commit_all(
        dir.path(),
        vec![
            put(tenant("acme", 1)),
            Transaction {
                deletes: vec![Key::Tenant {
                    tenant: "acme".into(),
                }],
                puts: vec![tenant("acme", 2), tenant("acme", 3)],
                ..Transaction::default()
            },
        ],
    );
    let (snapshot, _) = reopen(dir.path());
    assert_eq!(snapshot.tenants[0].record.created_at_s, 3);
}

#[test]
fn audit_entries_are_paged_newest_first_and_the_oldest_go() {
    let dir = TempDir::new().unwrap();
    runtime().block_on(async {
        let store = Store::open(options(dir.path())).unwrap().store;
        for n in 1..=8 {
            let audit = (n != 6).then(|| entry(&format!("caller {n}")));
            let transaction = Transaction {
                audit,
                ..Transaction::default()
            };
            store.commit(transaction).await.unwrap();
        }
        let seqs = |page: Vec<Revised<AuditRecord>>| -> Vec<Seq> {
            page.iter().map(|entry| entry.revision).collect()
        };
        let newest = store.audit_page(None, 2).await.unwrap();
        assert_eq!(newest[0].record.who, "caller 8");
        assert_eq!(seqs(newest), [8, 7]);
        assert_eq!(seqs(store.audit_page(Some(7), 2).await.unwrap()), [5, 4]);
        assert_eq!(seqs(store.audit_page(Some(4), 9).await.unwrap()), [3]);
        assert_eq!(seqs(store.audit_page(Some(3), 9).await.unwrap()), [0; 0]);
        store.close().await;

        let store = Store::open(options(dir.path())).unwrap().store;
        store
            .commit(Transaction {
                audit: Some(entry("after reopening")),
                ..Transaction::default()
            })
            .await
            .unwrap();
        assert_eq!(
            seqs(store.audit_page(None, 9).await.unwrap()),
            [9, 8, 7, 5, 4]
        );
        store.close().await;
    });
}

/// Entries were once bounded by their number alone: large ones could fill the control state, and end all changes.
#[test]
fn audit_entries_are_bounded_by_their_bytes_as_well() {
    let dir = TempDir::new().unwrap();
    let options = StoreOptions {
        audit_entries_max: 1000,
        audit_bytes_max: 10_000,
        contents_bytes_max: 20_000,
        ..options(dir.path())
    };
    let change = |who: &str| Transaction {
        audit: Some(entry(who)),
        ..Transaction::default()
    };
    runtime().block_on(async {
        let store = Store::open(options.clone()).unwrap().store;
        for _ in 0..100 {
            store.commit(change(&"x".repeat(1000))).await.unwrap();
        }
        let kept = store.audit_page(None, 1000).await.unwrap();
        assert!((7..10).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept[0].revision, 100);
        // One that is larger than all may be together is there, and nothing else.
        store.commit(change(&"y".repeat(12_000))).await.unwrap();
        assert_eq!(store.audit_page(None, 9).await.unwrap().len(), 1);
        store.close().await;

        // What is counted is what lies there, also after a restart.
        let store = Store::open(options).unwrap().store;
        store.commit(change("small")).await.unwrap();
        store.commit(change("too")).await.unwrap();
        let kept = store.audit_page(None, 9).await.unwrap();
        let kept: Vec<_> = kept.iter().map(|entry| entry.record.who.as_str()).collect();
        assert_eq!(kept, ["too", "small"]);
        store.close().await;
    });
}

#[test]
fn transactions_that_wait_together_are_synced_together() {
    let dir = TempDir::new().unwrap();
    let runtime = runtime();
    runtime.block_on(async {
        let store = Store::open(options(dir.path())).unwrap().store;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..200_u64 {
            let store = store.clone();
            tasks.spawn(async move {
                store
                    .commit(put(tenant(&format!("t{n}"), n)))
                    .await
                    .unwrap()
            });
        }
        let mut seqs = tasks.join_all().await;
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=200).collect::<Vec<_>>());
        let stats = store.stats();
        assert_eq!(stats.transactions, 200);
        assert!(
            stats.groups < 100,
            "{} groups for 200 transactions",
            stats.groups
        );
        assert!(stats.groups >= 200 / GROUP_TRANSACTIONS_MAX as u64);
        store.close().await;
    });
    assert_eq!(reopen(dir.path()).0.tenants.len(), 200);
}

#[test]
fn a_commit_whose_caller_went_away_is_carried_out() {
    let dir = TempDir::new().unwrap();
    runtime().block_on(async {
        let store = Store::open(options(dir.path())).unwrap().store;
        let mut commit = Box::pin(store.commit(put(tenant("acme", 1))));
        // One poll puts it into the queue; then the caller is gone.
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(commit.as_mut().poll(context).is_ready())
        });
        polled.await;
        drop(commit);
        assert_eq!(store.commit(put(tenant("beta", 1))).await.unwrap(), 2);
        store.close().await;
    });
    assert_eq!(names(&reopen(dir.path()).0), [("acme", 1), ("beta", 2)]);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_written() {
    let dir = TempDir::new().unwrap();
    runtime().block_on(async {
        let store = Store::open(StoreOptions {
            contents_bytes_max: 50_000,
            ..options(dir.path())
        })
        .unwrap()
        .store;
        let module = |name: &str, bytes: usize| {
            put(Record::Module(ModuleRecord {
                tenant: "acme".into(),
                module: name.into(),
                versions: vec![VersionRecord {
                    inspection: vec![1; bytes],
                    ..VersionRecord::default()
                }],
                ..ModuleRecord::default()
            }))
        };
        let too_large = store.commit(module("a", TRANSACTION_BYTES_MAX)).await;
        assert!(matches!(
            too_large,
            Err(StoreError::TransactionTooLarge { .. })
        ));
        let node = store
            .commit(Transaction {
                deletes: vec![Key::Node],
                ..Transaction::default()
            })
            .await;
        assert!(matches!(
            node,
            Err(StoreError::NotDeletable { key: Key::Node })
        ));
        assert_eq!(store.commit(module("a", 40_000)).await.unwrap(), 1);
        let full = store.commit(module("b", 40_000)).await.unwrap_err();
        assert!(
            matches!(full, StoreError::Full { bytes, bytes_max: 50_000 } if bytes > 80_000),
            "{full}"
        );
        // Rewriting in place does not grow, and shrinking makes room.
        assert_eq!(store.commit(module("a", 40_001)).await.unwrap(), 2);
        assert_eq!(store.commit(module("a", 10)).await.unwrap(), 3);
        assert_eq!(store.commit(module("b", 40_000)).await.unwrap(), 4);
        store.close().await;
    });
    let (snapshot, _) = reopen(dir.path());
    assert_eq!(snapshot.modules.len(), 2);
}

#[test]
fn the_known_good_time_only_rises_unless_somebody_knows_better() {
    let dir = TempDir::new().unwrap();
    let time = |known_good_s, lowers| Transaction {
        known_good_time_s: Some(known_good_s),
        lowers_known_good_time: lowers,
        ..Transaction::default()
    };
    for (given, kept) in [
        (time(100, false), 100),
        (time(50, false), 100),
        (time(50, true), 50),
        (time(60, false), 60),
    ] {
        commit_all(dir.path(), vec![given]);
        let (snapshot, _) = reopen(dir.path());
        assert_eq!(snapshot.known_good_time_s, kept);
    }
}

#[test]
fn a_disk_below_its_reserve_refuses_and_recovers_without_reopening() {
    let dir = TempDir::new().unwrap();
    runtime().block_on(async {
        let store = Store::open(StoreOptions {
            reserve_bytes: u64::MAX,
            ..options(dir.path())
        })
        .unwrap()
        .store;
        let refused = store.commit(put(tenant("acme", 1))).await.unwrap_err();
        assert!(matches!(refused, StoreError::NoSpace { .. }), "{refused}");
        assert_eq!(store.health(), Health::Working);
        store.close().await;
    });
}

#[test]
fn a_second_opener_is_refused() {
    let dir = TempDir::new().unwrap();
    runtime().block_on(async {
        let first = Store::open(options(dir.path())).unwrap();
        let error = Store::open(options(dir.path())).err().unwrap();
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        first.store.close().await;
        assert_eq!(
            Store::open(options(dir.path())).unwrap().recovery,
            Recovery::Intact
        );
    });
}

#[test]
fn a_closed_store_refuses() {
    let dir = TempDir::new().unwrap();
    runtime().block_on(async {
        let store = Store::open(options(dir.path())).unwrap().store;
        store.clone().close().await;
        let refused = store.commit(Transaction::default()).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the store takes no changes: it is closed"
        );
        assert!(store.audit_page(None, 1).await.is_err());
    });
}
