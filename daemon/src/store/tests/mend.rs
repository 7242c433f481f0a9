//! What a crash, a power cut or a failing disk leaves, and what opening makes of it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::store::contents::{Change, Contents};
use crate::store::export::{self, Export};
use crate::store::ledger::Ledger;
use crate::store::record::{NodeRecord, seal};

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn broken_dirs(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("sled.broken-"))
        .collect();
    names.sort();
    names
}

/// The store opens with all three tenants, says what it mended, and is intact the next time.
fn mends(dir: &Path, expected: impl FnOnce(&Recovery) -> bool) {
    let (snapshot, recovery) = reopen(dir);
    assert!(expected(&recovery), "{recovery:?}");
    assert_eq!(names(&snapshot), THREE);
    let (snapshot, recovery) = reopen(dir);
    assert_eq!(recovery, Recovery::Intact);
    assert_eq!(names(&snapshot), THREE);
    // And it still takes changes, numbered on from there.
    assert_eq!(commit_all(dir, vec![put(tenant("acme", 1))]), [4]);
}

/// An export of three changes, each in a group of its own, and where each group ends.
fn three_changes(dir: &Path) -> (PathBuf, Vec<u64>) {
    let mut export = Export::begin(dir, 0, &Contents::default()).unwrap();
    let path = dir.join("journal-0000000000000000");
    let mut ends = vec![path.metadata().unwrap().len()];
    for seq in 1..=3_u64 {
        let writes = vec![
            (vec![b'x'], Some(vec![0; 20])),
            (seq.to_be_bytes().to_vec(), Some(vec![1])),
        ];
        export.append(&[Change { seq, writes }]).unwrap();
        ends.push(path.metadata().unwrap().len());
    }
    (path, ends)
}

#[test]
fn a_journal_torn_at_any_byte_gives_the_groups_before() {
    let dir = TempDir::new().unwrap();
    let (path, ends) = three_changes(dir.path());
    let whole = fs::read(&path).unwrap();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let found = export::read(dir.path()).unwrap();
        let groups = ends.iter().filter(|&&end| end <= cut as u64).count();
        let seq = groups.saturating_sub(1) as u64;
        assert_eq!(found.seq, seq, "cut at {cut}");
        assert!(found.damage.is_none(), "cut at {cut}: {:?}", found.damage);
        assert_eq!(found.contents.0.len() as u64, seq + u64::from(seq > 0));
        let goes_on = Export::go_on(dir.path(), &found).unwrap().is_some();
        assert_eq!(goes_on, ends.contains(&(cut as u64)), "cut at {cut}");
    }
}

#[test]
fn a_journal_with_any_byte_flipped_is_never_taken_as_whole() {
    let dir = TempDir::new().unwrap();
    let (path, ends) = three_changes(dir.path());
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(&path, &damaged).unwrap();
        let found = export::read(dir.path()).unwrap();
        // In the last group it looks like a torn end; before, acknowledged changes are known to be missing.
        let in_last = at as u64 >= ends[2];
        assert_eq!(found.damage.is_some(), !in_last, "byte {at}");
        assert_eq!(found.damage.as_ref().map_or(3, |damage| damage.seq), 3);
        assert!(found.seq < 3, "byte {at}");
        assert!(Export::go_on(dir.path(), &found).unwrap().is_none());
    }
}

#[test]
fn a_torn_end_is_cut_and_the_store_goes_on() {
    let dir = TempDir::new().unwrap();
    three_tenants(dir.path());
    let journal = journal_of(dir.path());
    let mut bytes = fs::read(&journal).unwrap();
    bytes.extend_from_slice(b"\xf5GRP\x40\0\0\0 and then the power went");
    fs::write(&journal, bytes).unwrap();
    mends(dir.path(), |recovery| *recovery == Recovery::Intact);
}

#[test]
fn a_lost_or_damaged_export_is_written_anew() {
    type Harm = fn(&Path);
    let harms: [Harm; 5] = [
        |journal| fs::remove_file(journal).unwrap(),
        |journal| fs::remove_dir_all(journal.parent().unwrap()).unwrap(),
        |journal| fs::write(journal, "").unwrap(),
        |journal| {
            let bytes = fs::read(journal).unwrap();
            fs::write(journal, &bytes[..bytes.len() - 1]).unwrap();
        },
        |journal| {
            let mut bytes = fs::read(journal).unwrap();
            bytes[60] ^= 1;
            fs::write(journal, bytes).unwrap();
        },
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let dir = TempDir::new().unwrap();
        three_tenants(dir.path());
        harm(&journal_of(dir.path()));
        mends(dir.path(), |recovery| {
            matches!(recovery, Recovery::ExportRewritten { to_seq: 3, from_seq, reason }
                if *from_seq < 3 && !reason.is_empty())
                || panic!("harm {number}: {recovery:?}")
        });
    }
}

#[test]
fn a_database_that_is_gone_comes_back_from_the_export() {
    let dir = TempDir::new().unwrap();
    three_tenants(dir.path());
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let behind = Recovery::LedgerBehind {
        from_seq: 0,
        to_seq: 3,
    };
    mends(dir.path(), |recovery| *recovery == behind);
}

#[test]
fn garbage_in_place_of_the_database_is_mended_whatever_sled_makes_of_it() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 8] = [
        ("db of 0xff", |sled| {
            fs::write(sled.join("db"), vec![0xff; 1 << 19]).unwrap()
        }),
        ("db of counting bytes", |sled| {
            let bytes: Vec<u8> = (0..1_u32 << 17).flat_map(u32::to_le_bytes).collect();
            fs::write(sled.join("db"), bytes).unwrap();
        }),
        ("db empty", |sled| fs::write(sled.join("db"), "").unwrap()),
        ("db gone", |sled| fs::remove_file(sled.join("db")).unwrap()),
        ("db a directory", |sled| {
            fs::remove_file(sled.join("db")).unwrap();
            fs::create_dir(sled.join("db")).unwrap();
        }),
        ("conf of text", |sled| {
            fs::write(sled.join("conf"), "these are not the settings").unwrap()
        }),
        ("snapshots of text", |sled| {
            fs::write(sled.join("snap.0000000000FFFFFF"), "this is not a snapshot").unwrap();
        }),
        ("a file in place of it all", |sled| {
            fs::remove_dir_all(sled).unwrap();
            fs::write(sled, "not even a directory").unwrap();
        }),
    ];
    for (what, harm) in harms {
        let dir = TempDir::new().unwrap();
        three_tenants(dir.path());
        harm(&dir.path().join("sled"));
        mends(dir.path(), |recovery| {
            eprintln!("{what}: {recovery:?}");
            matches!(
                recovery.label(),
                "ledger_rebuilt" | "ledger_behind" | "ledger_differed"
            )
        });
    }
}

#[test]
fn a_flipped_byte_anywhere_in_the_database_costs_nothing() {
    let dir = TempDir::new().unwrap();
    three_tenants(dir.path());
    let db = fs::read(dir.path().join("sled/db")).unwrap();
    let written = db.iter().rposition(|&byte| byte != 0).unwrap();
    for step in 0..40 {
        let at = written * step / 39;
        let copy = TempDir::new().unwrap();
        copy_dir(dir.path(), copy.path());
        let mut damaged = db.clone();
        damaged[at] ^= 0x81;
        fs::write(copy.path().join("sled/db"), &damaged).unwrap();
        let (snapshot, recovery) = reopen(copy.path());
        assert_eq!(names(&snapshot), THREE, "byte {at}: {recovery:?}");
        assert_eq!(reopen(copy.path()).1, Recovery::Intact, "byte {at}");
    }
}

#[test]
fn two_broken_databases_are_kept_and_no_more() {
    let dir = TempDir::new().unwrap();
    three_tenants(dir.path());
    for round in 1..=4_u64 {
        let sled = dir.path().join("sled");
        fs::remove_dir_all(&sled).unwrap();
        fs::write(&sled, "not a database").unwrap();
        let (snapshot, recovery) = reopen(dir.path());
        assert_eq!(names(&snapshot), THREE);
        let moved = dir.path().join(format!("sled.broken-{round}"));
        assert!(
            matches!(&recovery, Recovery::LedgerRebuilt { moved_to, seq: 3, .. } if *moved_to == moved),
            "{recovery:?}"
        );
    }
    assert_eq!(broken_dirs(dir.path()), ["sled.broken-3", "sled.broken-4"]);
}

#[test]
fn a_database_that_differs_at_the_same_number_is_brought_to_the_exports_contents() {
    let dir = TempDir::new().unwrap();
    three_tenants(dir.path());
    let mut ledger = Ledger::open(&dir.path().join("sled"), 1 << 20).unwrap();
    let acme = Key::Tenant {
        tenant: "acme".into(),
    };
    ledger
        .apply(&[(acme.encode(), None), (b"stray".to_vec(), Some(vec![1]))])
        .unwrap();
    drop(ledger);
    let differed = Recovery::LedgerDiffered { seq: 3, keys: 2 };
    mends(dir.path(), |recovery| *recovery == differed);
}

#[test]
fn a_database_whose_opening_killed_the_process_is_given_up_the_fourth_time() {
    let dir = TempDir::new().unwrap();
    three_tenants(dir.path());
    fs::write(dir.path().join("sled.opening"), "!!").unwrap();
    assert_eq!(reopen(dir.path()).1, Recovery::Intact);
    fs::write(dir.path().join("sled.opening"), "!!!").unwrap();
    mends(dir.path(), |recovery| recovery.label() == "ledger_rebuilt");
}

#[test]
fn with_both_broken_it_refuses_and_names_both() {
    let dir = TempDir::new().unwrap();
    three_tenants(dir.path());
    let sled = dir.path().join("sled");
    fs::remove_dir_all(&sled).unwrap();
    fs::write(&sled, "not a database").unwrap();
    let journal = journal_of(dir.path());
    let mut bytes = fs::read(&journal).unwrap();
    bytes[60] ^= 1;
    fs::write(&journal, bytes).unwrap();
    let error = Store::open(options(dir.path())).err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, StoreError::BothBroken { .. }), "{text}");
    assert!(text.contains(sled.to_str().unwrap()), "{text}");
    assert!(text.contains(journal.to_str().unwrap()), "{text}");
    // Nothing was moved or written over: a backup of either is still one.
    assert_eq!(fs::read_to_string(&sled).unwrap(), "not a database");
    assert_eq!(broken_dirs(dir.path()), [""; 0]);

    // The same where the database opens, but is not as far as what the export's remains speak of.
    fs::remove_file(&sled).unwrap();
    let error = Store::open(options(dir.path())).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("it holds the state up to change 0 of at least 3"),
        "{error}"
    );

    // The way out that the message names.
    fs::remove_file(&journal).unwrap();
    let (snapshot, _) = reopen(dir.path());
    assert_eq!(snapshot, Snapshot::default());
}

#[test]
fn a_broken_database_without_an_export_is_refused() {
    let dir = TempDir::new().unwrap();
    three_tenants(dir.path());
    fs::write(dir.path().join("sled/db"), vec![0xff; 1 << 19]).unwrap();
    fs::remove_file(dir.path().join("sled/conf")).unwrap();
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    fs::write(dir.path().join("sled"), "not a database").unwrap();
    fs::remove_dir_all(dir.path().join("export")).unwrap();
    let error = Store::open(options(dir.path())).err().unwrap();
    assert!(matches!(error, StoreError::BothBroken { .. }), "{error}");
}

#[test]
fn a_store_of_a_newer_schema_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    three_tenants(dir.path());
    let node = NodeRecord {
        schema: 9,
        seq: 4,
        known_good_time_s: 0,
    };
    let write = (Key::Node.encode(), Some(seal(&node).unwrap()));
    let mut ledger = Ledger::open(&dir.path().join("sled"), 1 << 20).unwrap();
    ledger.apply(&[write]).unwrap();
    drop(ledger);
    let error = Store::open(options(dir.path())).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the store was written with schema 9; this build reads up to schema 1"
    );
    assert_eq!(broken_dirs(dir.path()), [""; 0]);
}

/// What an older build wrote: its export alone, with a module's record of version 1.
#[test]
fn an_older_builds_export_is_recovered_and_written_on() {
    let dir = TempDir::new().unwrap();
    let key = Key::Module {
        tenant: "acme".into(),
        module: "hello".into(),
    };
    let version = VersionRecord {
        version: 3,
        ..VersionRecord::default()
    };
    let body = ("acme", "hello", 3_u64, 3_u64, vec![version]);
    let old = postcard::to_extend(&body, vec![1, 1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let node = NodeRecord {
        schema: 1,
        seq: 1,
        known_good_time_s: 0,
    };
    let writes = vec![
        (key.encode(), Some(old)),
        (Key::Node.encode(), Some(seal(&node).unwrap())),
    ];
    let exported = dir.path().join("export");
    fs::create_dir(&exported).unwrap();
    let mut export = Export::begin(&exported, 0, &Contents::default()).unwrap();
    export.append(&[Change { seq: 1, writes }]).unwrap();
    drop(export);

    let (snapshot, _) = reopen(dir.path());
    let [found] = snapshot.modules.as_slice() else {
        panic!("{snapshot:?}");
    };
    assert_eq!((found.revision, found.record.active_version), (1, 3));
    assert_eq!(found.record.reuse, None);
    assert_eq!(reopen(dir.path()).1, Recovery::Intact);

    let mut module = found.record.clone();
    module.reuse = Some(ReuseRecord {
        requests_max: 2,
        ..ReuseRecord::default()
    });
    commit_all(dir.path(), vec![put(Record::Module(module.clone()))]);
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let (snapshot, _) = reopen(dir.path());
    let record = module;
    assert_eq!(
        snapshot.modules,
        [Revised {
            revision: 2,
            record
        }]
    );
}

/// Enough for the journal to be compacted several times.
fn large_module(number: u64) -> Transaction {
    put(Record::Module(ModuleRecord {
        tenant: "acme".into(),
        module: format!("m{}", number % 3),
        highest_version: number,
        versions: vec![VersionRecord {
            inspection: vec![7; 200_000],
            ..VersionRecord::default()
        }],
        ..ModuleRecord::default()
    }))
}

#[test]
fn a_long_journal_becomes_a_snapshot() {
    let dir = TempDir::new().unwrap();
    runtime().block_on(async {
        let store = Store::open(options(dir.path())).unwrap().store;
        for number in 1..=20 {
            store.commit(large_module(number)).await.unwrap();
        }
        // 20 changes of 200 kB: the first MiB is full with the 6th, 4 times the snapshot's 600 kB with the 18th.
        assert_eq!(store.stats().compactions, 2);
        store.close().await;
    });
    let mut files: Vec<String> = fs::read_dir(dir.path().join("export"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        ["journal-0000000000000012", "snapshot-0000000000000012"]
    );
    let (snapshot, recovery) = reopen(dir.path());
    assert_eq!(recovery, Recovery::Intact);
    assert_eq!(
        snapshot
            .modules
            .iter()
            .map(|module| module.revision)
            .collect::<Vec<_>>(),
        [18, 19, 20]
    );
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    let (rebuilt, _) = reopen(dir.path());
    assert_eq!(rebuilt, snapshot);
}

/// A compaction leaves, in this order: the new snapshot, the new journal, then without the old ones.
#[test]
fn a_crash_at_any_step_of_a_compaction_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let (path, _) = three_changes(dir.path());
    let contents = export::read(dir.path()).unwrap().contents;
    let new = TempDir::new().unwrap();
    drop(Export::begin(new.path(), 3, &contents).unwrap());
    let steps: [(&[&str], bool); 5] = [
        (&[], true),
        (&["snapshot-0000000000000003"], true),
        (
            &["snapshot-0000000000000003", "journal-0000000000000003"],
            true,
        ),
        (
            &["snapshot-0000000000000003", "journal-0000000000000003"],
            false,
        ),
        (&["snapshot-0000000000000003"], false),
    ];
    for (made, old_kept) in steps {
        let crashed = TempDir::new().unwrap();
        fs::write(crashed.path().join("snapshot-0000000000000003.tmp"), "half").unwrap();
        for name in made {
            fs::copy(new.path().join(name), crashed.path().join(name)).unwrap();
        }
        if old_kept {
            fs::copy(&path, crashed.path().join(path.file_name().unwrap())).unwrap();
        }
        let found = export::read(crashed.path()).unwrap();
        assert_eq!(
            (found.seq, &found.contents),
            (3, &contents),
            "{made:?} {old_kept}"
        );
        assert!(found.damage.is_none(), "{made:?} {old_kept}");
        if let Some(mut export) = Export::go_on(crashed.path(), &found).unwrap() {
            export
                .append(&[Change {
                    seq: 4,
                    writes: vec![],
                }])
                .unwrap();
            assert_eq!(
                export::read(crashed.path()).unwrap().seq,
                4,
                "{made:?} {old_kept}"
            );
        }
    }
}

#[test]
fn an_unreadable_new_snapshot_is_no_loss_while_the_old_files_lead_past_it() {
    let dir = TempDir::new().unwrap();
    let (_, _) = three_changes(dir.path());
    fs::write(dir.path().join("snapshot-0000000000000002"), "half").unwrap();
    let found = export::read(dir.path()).unwrap();
    assert_eq!(found.seq, 3);
    assert!(found.damage.is_none());
    fs::write(dir.path().join("snapshot-0000000000000007"), "half").unwrap();
    let found = export::read(dir.path()).unwrap();
    assert_eq!(found.damage.unwrap().seq, 7);
}

#[test]
fn a_snapshot_that_is_gone_is_damage_up_to_the_journals_last_change() {
    let dir = TempDir::new().unwrap();
    three_tenants(dir.path());
    commit_all(dir.path(), (1..=10).map(large_module).collect());
    let export_dir = dir.path().join("export");
    let snapshot = fs::read_dir(&export_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains("snapshot-"))
        .unwrap();
    fs::remove_file(snapshot).unwrap();
    assert_eq!(export::read(&export_dir).unwrap().damage.unwrap().seq, 13);
    let (state, recovery) = reopen(dir.path());
    assert_eq!(recovery.label(), "export_rewritten");
    assert_eq!(
        (state.seq, state.tenants.len(), state.modules.len()),
        (13, 3, 3)
    );
    assert_eq!(reopen(dir.path()).1, Recovery::Intact);
}

#[test]
fn a_database_that_outgrew_its_contents_is_written_anew_while_open() {
    let dir = TempDir::new().unwrap();
    three_tenants(dir.path());
    runtime().block_on(async {
        let store = Store::open(options(dir.path())).unwrap().store;
        let db = fs::File::options()
            .write(true)
            .open(dir.path().join("sled/db"))
            .unwrap();
        db.set_len(65 << 20).unwrap();
        let transaction = Transaction {
            audit: Some(entry("after")),
            ..put(tenant("dora", 1))
        };
        store.commit(transaction).await.unwrap();
        store.commit(put(tenant("emil", 1))).await.unwrap();
        let stats = store.stats();
        assert_eq!(stats.rebuilds, 1);
        assert!(stats.ledger_bytes < 2 << 20, "{} bytes", stats.ledger_bytes);
        assert_eq!(
            store.audit_page(None, 9).await.unwrap()[0].record.who,
            "after"
        );
        store.close().await;
    });
    let (snapshot, recovery) = reopen(dir.path());
    assert_eq!(recovery, Recovery::Intact);
    assert_eq!(snapshot.tenants.len(), 5);
}

/// One step of the property test: some tenants put, some deleted.
fn any_steps() -> impl Strategy<Value = Vec<Vec<(u8, Option<u16>)>>> {
    let step = proptest::collection::vec((0_u8..6, proptest::option::of(any::<u16>())), 0..5);
    proptest::collection::vec(step, 1..10)
}

type Model = BTreeMap<String, u64>;

/// Deletes come first in a transaction, as the store has it.
fn transaction_of(step: &[(u8, Option<u16>)], model: &mut Model) -> Transaction {
    let name = |tenant: u8| format!("tenant-{tenant}");
    let mut transaction = Transaction {
        audit: step.len().is_multiple_of(2).then(|| entry("prop")),
        ..Transaction::default()
    };
    for &(number, value) in step {
        if value.is_none() {
            transaction.deletes.push(Key::Tenant {
                tenant: name(number),
            });
            model.remove(&name(number));
        }
    }
    for &(number, value) in step {
        if let Some(value) = value {
            transaction.puts.push(tenant(&name(number), value.into()));
            model.insert(name(number), value.into());
        }
    }
    transaction
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// A crash leaves the database after any acknowledged change, the journal there or further, and its end torn
    /// anywhere inside the next group: what opens is exactly the state the whole groups of the journal lead to.
    #[test]
    fn whatever_the_crash_point_the_state_is_a_prefix_with_everything_acknowledged(
        steps in any_steps(),
        database_at in any::<prop::sample::Index>(),
        journal_at in any::<prop::sample::Index>(),
        torn_at in any::<prop::sample::Index>(),
    ) {
        let home = TempDir::new().unwrap();
        let dir = home.path().join("store");
        reopen(&dir);
        let mut model = Model::new();
        let mut models = vec![model.clone()];
        let journal = journal_of(&dir);
        let mut ends = vec![journal.metadata().unwrap().len()];
        copy_dir(&dir.join("sled"), &home.path().join("sled-0"));
        for (number, step) in steps.iter().enumerate() {
            commit_all(&dir, vec![transaction_of(step, &mut model)]);
            models.push(model.clone());
            ends.push(journal.metadata().unwrap().len());
            copy_dir(&dir.join("sled"), &home.path().join(format!("sled-{}", number + 1)));
        }
        let acknowledged = database_at.index(models.len());
        let journaled = acknowledged + journal_at.index(models.len() - acknowledged);
        let whole = ends[journaled];
        let torn = ends.get(journaled + 1).map_or(0, |next| torn_at.index(usize::try_from(next - whole).unwrap()) as u64);

        fs::remove_dir_all(dir.join("sled")).unwrap();
        copy_dir(&home.path().join(format!("sled-{acknowledged}")), &dir.join("sled"));
        fs::File::options().write(true).open(&journal).unwrap().set_len(whole + torn).unwrap();

        let (snapshot, _) = reopen(&dir);
        prop_assert_eq!(snapshot.seq, journaled as u64);
        let found: Model = snapshot.tenants.iter()
            .map(|tenant| (tenant.record.tenant.clone(), tenant.record.created_at_s))
            .collect();
        prop_assert_eq!(&found, &models[journaled]);
        prop_assert_eq!(reopen(&dir).1, Recovery::Intact);
    }
}
