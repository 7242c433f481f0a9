//! What lies on the disk: lost, damaged, moved.

use std::path::{Path, PathBuf};

use littoral_tests::{TestEdge, beside, component, run, until, with_section};
use littorald::store::{ModuleRecord, Record, Revised, Store, StoreOptions, Transaction};

/// The artifacts that are in use.
fn artifacts(edge: &TestEdge) -> Vec<PathBuf> {
    let entries = |folder: PathBuf| {
        std::fs::read_dir(folder)
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
    };
    entries(edge.data().join("artifacts"))
        .filter(|folder| folder.file_name().unwrap().len() == 2)
        .flat_map(entries)
        .collect()
}

/// Puts another file in the place of one, as a new file: the one that a worker has mapped stays what it was.
fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, path).unwrap();
}

async fn served_again_after(harm: impl Fn(&Path), state: &str) {
    let edge = TestEdge::start().await;
    let acme = edge.tenant("acme").await;
    acme.guest("hello").await;
    assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
    let [artifact] = artifacts(&edge).try_into().unwrap();
    let before = std::fs::read(&artifact).unwrap();
    harm(&artifact);
    // A new worker has nothing loaded.
    edge.kill_worker().await;
    let answer = edge.get("hello.acme.test/").await;
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, "Hello from the edge!\n")
    );
    let count = async |state: &str| {
        edge.metric(&format!(
            "littoral_artifact_states_total{{state=\"{state}\"}}"
        ))
        .await
    };
    assert_eq!((count(state).await, count("recompiled").await), (1.0, 1.0));
    assert_eq!(std::fs::read(&artifact).unwrap().len(), before.len());
}

/// A new route has its component loaded beforehand: only then is nobody else at its files.
async fn loaded(edge: &TestEdge) {
    until("the component is loaded", async || {
        (edge.metric("littoral_artifact_loads_total").await > 0.0).then_some(())
    })
    .await;
}

#[test]
fn a_tampered_artifact_is_compiled_again() {
    run(served_again_after(
        |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            replace(path, &bytes);
        },
        "tampered",
    ));
}

#[test]
fn a_truncated_artifact_is_compiled_again() {
    run(served_again_after(
        |path| {
            let bytes = std::fs::read(path).unwrap();
            replace(path, &bytes[..bytes.len() / 2]);
        },
        "truncated",
    ));
}

#[test]
fn a_lost_artifact_is_compiled_again() {
    run(served_again_after(
        |path| std::fs::remove_file(path).unwrap(),
        "missing",
    ));
}

#[test]
fn a_tampered_component_is_not_compiled() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("hello").await;
        loaded(&edge).await;
        let [artifact] = artifacts(&edge).try_into().unwrap();
        std::fs::remove_file(artifact).unwrap();
        let (_, files) = edge.left().await;
        let component = files
            .iter()
            .find(|path| path.contains("/components/"))
            .unwrap();
        let mut bytes = std::fs::read(component).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        replace(Path::new(component), &bytes);
        edge.kill_worker().await;
        let answer = edge.get("hello.acme.test/").await;
        assert_eq!((answer.status(), answer.reason()), (503, "unavailable"));
        assert!(artifacts(&edge).is_empty());
    });
}

/// Native code is for one layout of memory: here there is no longer room for guard pages.
#[test]
fn artifacts_of_another_engine_are_compiled_again_and_go() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("hello").await;
        loaded(&edge).await;
        let before = artifacts(&edge);
        assert!(edge.stop().await.success());
        edge.limit_address_space(1 << 40);
        edge.start_again().await;
        assert_eq!(
            edge.get("hello.acme.test/").await.text(),
            "Hello from the edge!\n"
        );
        let states = |state: &str| format!("littoral_artifact_states_total{{state=\"{state}\"}}");
        assert_eq!(edge.metric(&states("recompiled")).await, 1.0);
        assert_eq!(edge.metric(&states("compiled")).await, 0.0);
        let now = artifacts(&edge);
        assert!(now.len() == 1 && now != before, "{before:?} {now:?}");
    });
}

/// A statement that says nothing of the component, as somebody with the disk in hand could put in its place.
#[test]
fn a_component_is_not_compiled_again_on_the_word_of_another_statement() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("hello").await.guest("echo").await;
        until("both components are loaded", async || {
            (edge.metric("littoral_artifact_loads_total").await >= 2.0).then_some(())
        })
        .await;
        assert!(edge.stop().await.success());
        for artifact in artifacts(&edge) {
            std::fs::remove_file(artifact).unwrap();
        }
        let opened = Store::open(StoreOptions::at(edge.data().join("store"))).unwrap();
        let mut records: Vec<_> = opened.snapshot.modules.into_iter().collect();
        let of = |records: &[Revised<ModuleRecord>], name: &str| {
            records
                .iter()
                .position(|module| module.record.module == name)
                .unwrap()
        };
        let (hello, echo) = (of(&records, "hello"), of(&records, "echo"));
        records[hello].record.versions[0].statement =
            records[echo].record.versions[0].statement.clone();
        let change = Transaction {
            puts: vec![Record::Module(records.swap_remove(hello).record)],
            ..Transaction::default()
        };
        opened.store.commit(change).await.unwrap();
        opened.store.close().await;
        edge.start_again().await;
        let answer = edge.get("hello.acme.test/").await;
        assert_eq!((answer.status(), answer.reason()), (503, "unavailable"));
        assert_eq!(edge.get("echo.acme.test/").await.status(), 200);
        assert_eq!(artifacts(&edge).len(), 1);
    });
}

#[test]
fn everything_is_there_after_a_restart() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("hello").await.guest("echo").await;
        until("both components are loaded", async || {
            (edge.metric("littoral_artifact_loads_total").await >= 2.0).then_some(())
        })
        .await;
        let before = (edge.status().await, edge.left().await.1);
        assert!(edge.stop().await.success());
        edge.start_again().await;
        let after = (edge.status().await, edge.left().await.1);
        assert_eq!(
            (
                after.0.revision,
                after.0.tenants,
                after.0.modules,
                after.0.routes
            ),
            (before.0.revision, 1, 2, 2)
        );
        assert_eq!(after.1, before.1);
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        assert_eq!(
            edge.metric("littoral_artifact_states_total{state=\"compiled\"}")
                .await,
            0.0
        );
    });
}

#[test]
fn a_data_folder_can_be_moved() {
    run(async {
        let mut edge = TestEdge::start().await;
        edge.tenant("acme").await.guest("hello").await;
        assert!(edge.stop().await.success());
        let builder = TestEdge::build();
        std::fs::rename(edge.data(), builder.home().join("data")).unwrap();
        let moved = builder.start().await;
        assert_eq!(moved.get("hello.acme.test/").await.status(), 200);
        assert_eq!(
            moved
                .metric("littoral_artifact_states_total{state=\"recompiled\"}")
                .await,
            0.0
        );
    });
}

#[test]
fn the_store_is_rebuilt_from_its_export_where_sled_does_not_open() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("hello").await;
        loaded(&edge).await;
        let revision = edge.status().await.revision;
        assert!(edge.stop().await.success());
        let db = edge.data().join("store/sled/db");
        let length = std::fs::metadata(&db).unwrap().len();
        std::fs::write(&db, vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
        edge.start_again().await;
        assert_eq!(edge.status().await.revision, revision);
        assert_eq!(edge.get("hello.acme.test/").await.status(), 200);
        let page = edge.client().metrics().await.unwrap();
        assert!(
            page.contains("littoral_store_recovery_info{recovery=\"ledger_"),
            "{}",
            edge.log()
        );
        // And takes changes again, which last.
        acme.route("new.acme.test/", "hello", None).await.unwrap();
        edge.restart().await;
        until("the route is served", async || {
            (edge.get("new.acme.test/").await.status() == 200).then_some(())
        })
        .await;
    });
}

#[test]
fn a_second_node_on_the_same_data_does_not_start() {
    run(async {
        let edge = TestEdge::start().await;
        let data = edge.data();
        let output = std::process::Command::new(littoral_tests::littorald())
            .args([
                "dev",
                "--http",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--data",
                data.to_str().unwrap(),
            ])
            .env_clear()
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("store"), "{said}");
        assert_eq!(
            edge.admin_ask("GET", "/readyz", &[], b"").await.status(),
            200
        );
    });
}

/// Every removal of a tenant begins a collection, which once took the artifacts of uploads that had not committed yet.
#[test]
fn a_collection_leaves_what_uploads_under_way_stand_on() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        let client = edge.client().clone();
        let collecting = beside(async move {
            let (name, settings) = ("gone".parse().unwrap(), Default::default());
            loop {
                let made = client.put_tenant(&name, &settings, Default::default());
                made.await.unwrap();
                let removed = client.delete_tenant(&name, Default::default());
                removed.await.unwrap();
            }
        });
        for number in 0..12 {
            let name = format!("m{number}");
            let bytes = with_section(&component("hello"), &name);
            acme.version(&name, 1, bytes).await;
            assert_eq!(edge.status().await.artifacts, number + 1);
        }
        collecting.abort();
    });
}
