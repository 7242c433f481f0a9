//! What the store's crash tests write: each transaction follows from its sequence number alone, so that a test knows
//! what the state must be at any number.

use std::collections::BTreeMap;

use edge_config::Digest;
use littoral_tests::powerloss::Coins;
use littorald::store::blobs::{BlobError, Blobs, digest_of};
use littorald::store::{
    AuditRecord, FloorRecord, Key, ModuleRecord, Record, RouteRecord, Snapshot, Store,
    StoreOptions, TenantRecord, Transaction, VersionRecord,
};

/// Audit entries kept: few, so that dropping them is part of most transactions.
pub(crate) const AUDIT_ENTRIES_MAX: usize = 20;
const TENANTS: u64 = 9;
const MODULES: u64 = 4;
const ROUTES: u64 = 12;
const TIME_S: u64 = 1_790_000_000;

/// The store's settings in these tests.
pub(crate) fn options(dir: &std::path::Path) -> StoreOptions {
    StoreOptions {
        cache_mib: 1,
        audit_entries_max: AUDIT_ENTRIES_MAX,
        reserve_bytes: 0,
        ..StoreOptions::at(dir.join("store"))
    }
}

/// The components of these tests.
pub(crate) fn blobs(dir: &std::path::Path) -> Result<Blobs, BlobError> {
    Blobs::open(dir.join("components"), 0)
}

/// The component that the transaction with this number refers to.
pub(crate) fn component(seq: u64) -> Option<Vec<u8>> {
    seq.is_multiple_of(4).then(|| {
        (0..700)
            .flat_map(|at: u64| (seq + at).to_le_bytes())
            .collect()
    })
}

fn name(what: &str, number: u64) -> String {
    format!("{what}-{number}")
}

/// The transaction with this number; `digest` is that of its component.
pub(crate) fn transaction(seq: u64, digest: Option<Digest>) -> Transaction {
    let mut coins = Coins(seq);
    let mut transaction = Transaction {
        audit: Some(AuditRecord {
            at_s: TIME_S + seq,
            who: "writer".into(),
            action: "test".into(),
            ..AuditRecord::default()
        }),
        known_good_time_s: Some(TIME_S + seq),
        ..Transaction::default()
    };
    for _ in 0..coins.below(3) {
        let tenant = name("tenant", coins.below(TENANTS));
        transaction.puts.push(Record::Tenant(TenantRecord {
            tenant,
            created_at_s: seq,
            ..TenantRecord::default()
        }));
    }
    if coins.below(4) == 0 {
        let tenant = name("tenant", coins.below(TENANTS));
        transaction.deletes.push(Key::Tenant { tenant });
    }
    if coins.below(3) == 0 {
        let module = name("module", coins.below(MODULES));
        transaction.puts.push(Record::Floor(FloorRecord {
            tenant: "acme".into(),
            module,
            highest_version: seq,
        }));
    }
    let host = name("host", coins.below(ROUTES));
    if coins.below(3) == 0 {
        let path = "/".into();
        transaction.deletes.push(Key::Route { host, path });
    } else {
        transaction.puts.push(Record::Route(RouteRecord {
            host,
            path: "/".into(),
            tenant: "acme".into(),
            module: name("module", seq % MODULES),
            version: Some(seq),
        }));
    }
    if let Some(digest) = digest {
        transaction.puts.push(Record::Module(ModuleRecord {
            tenant: "acme".into(),
            module: name("module", coins.below(MODULES)),
            active_version: seq,
            highest_version: seq,
            versions: vec![VersionRecord {
                version: seq,
                digest: digest.to_string(),
                inspection: vec![7; usize::try_from(coins.below(12_000)).unwrap_or(0)],
                ..VersionRecord::default()
            }],
            ..ModuleRecord::default()
        }));
    }
    transaction
}

/// A record's revision, by key.
pub(crate) type Revisions = BTreeMap<Key, u64>;

/// Applies a transaction to the revisions, as the store must.
pub(crate) fn apply(revisions: &mut Revisions, seq: u64, transaction: &Transaction) {
    for key in &transaction.deletes {
        revisions.remove(key);
    }
    for record in &transaction.puts {
        revisions.insert(record.key(), seq);
    }
}

/// What a loaded state holds. Its records are compared through their revisions: each test record follows from it.
pub(crate) fn revisions_of(snapshot: &Snapshot) -> Revisions {
    let mut revisions = Revisions::new();
    let mut note = |record: Record, revision| {
        let twice = revisions.insert(record.key(), revision);
        assert_eq!(twice, None, "{:?} is there twice", record.key());
        let written = transaction(revision, component(revision).map(|bytes| digest_of(&bytes)));
        assert!(
            written.puts.contains(&record),
            "{record:?} is not what change {revision} wrote"
        );
    };
    for tenant in &snapshot.tenants {
        note(Record::Tenant(tenant.record.clone()), tenant.revision);
    }
    for module in &snapshot.modules {
        note(Record::Module(module.record.clone()), module.revision);
    }
    for floor in &snapshot.floors {
        note(Record::Floor(floor.record.clone()), floor.revision);
    }
    for route in &snapshot.routes {
        note(Record::Route(route.record.clone()), route.revision);
    }
    revisions
}

/// The audit entries that a store at this number must have, newest first.
pub(crate) async fn check_audit(store: &Store, seq: u64) {
    let page = store
        .audit_page(None, AUDIT_ENTRIES_MAX + 5)
        .await
        .expect("audit is readable");
    let found: Vec<u64> = page.iter().map(|entry| entry.revision).collect();
    let wanted: Vec<u64> = (1..=seq).rev().take(AUDIT_ENTRIES_MAX).collect();
    assert_eq!(found, wanted);
    for entry in page {
        assert_eq!(entry.record.at_s, TIME_S + entry.revision);
    }
}

/// The time floor at this number.
pub(crate) fn known_good_time_s(seq: u64) -> u64 {
    if seq == 0 { 0 } else { TIME_S + seq }
}
