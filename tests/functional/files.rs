//! Files that were deployed with a component: guests read them, and nothing else.

use bytes::Bytes;
use control_api::files::with_files;
use littoral_tests::{Shared, component, refusal, run};

static NODE: Shared = Shared::new();

/// More than one read gives.
const LARGE_BYTES: usize = 2_000_000;

/// A guest with files behind it.
fn with(guest: &str, files: &[(&str, &[u8])]) -> Bytes {
    let files = files
        .iter()
        .map(|(path, content)| ((*path).to_owned(), content.to_vec()));
    with_files(component(guest).to_vec(), files).unwrap().into()
}

#[test]
fn guests_of_every_kind_read_the_files_that_came_with_them() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("reads-files").await;
        let large: Vec<u8> = (0..1_000_000_u32)
            .flat_map(|n| format!("{n}\n").into_bytes())
            .collect();
        let large = large.get(..LARGE_BYTES).unwrap();
        let files: [(&str, &[u8]); 4] = [
            ("index.html", b"<h1>Hello</h1>"),
            ("static/a/one.txt", b"0123456789"),
            ("static/two.txt", b""),
            ("large.txt", large),
        ];
        for guest in ["cgi", "cgi-p2"] {
            acme.version(guest, 1, with(guest, &files)).await;
            let place = format!("{guest}.reads-files.test/");
            acme.route(&place, guest, None).await.unwrap();
            let asked = async |query: &str| edge.get(&format!("{place}?{query}")).await.text();
            assert_eq!(asked("read=/index.html").await, "<h1>Hello</h1>");
            assert_eq!(asked("read=/static/two.txt").await, "");
            assert_eq!(asked("read=/static/../index.html").await, "<h1>Hello</h1>");
            assert_eq!(asked("list=/").await, "index.html large.txt static/\n");
            assert_eq!(asked("list=/static").await, "a/ two.txt\n");
            assert_eq!(asked("part=/static/a/one.txt").await, "10 56789\n");
            let answer = edge.get(&format!("{place}?read=/large.txt")).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            let read = answer.text();
            assert!(read.as_bytes() == large, "{} bytes", read.len());
            assert!(asked("read=/absent").await.contains("No such file"));
            assert!(
                asked("read=/index.html/x")
                    .await
                    .contains("Not a directory")
            );
        }
        for guest in ["spin5-keeps", "spin7-keeps"] {
            acme.version(guest, 1, with(guest, &files)).await;
            let place = format!("{guest}.reads-files.test/");
            acme.route(&place, guest, None).await.unwrap();
            let answer = edge
                .get(&format!("{place}read?key=/static/a/one.txt"))
                .await;
            assert_eq!(
                (answer.status(), answer.text()),
                (200, "0123456789".to_owned())
            );
        }
    });
}

#[test]
fn files_are_to_be_read_and_nothing_else_is_there() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("changes-files").await;
        for guest in ["cgi", "cgi-p2"] {
            acme.version(guest, 1, with(guest, &[("a.txt", b"as it was")]))
                .await;
            let place = format!("{guest}.changes-files.test/");
            acme.route(&place, guest, None).await.unwrap();
            let said = edge.get(&format!("{place}?change=/a.txt")).await.text();
            for line in [
                "create: read-only filesystem or storage medium",
                "write: read-only filesystem or storage medium",
                "append: read-only filesystem or storage medium",
                "truncate: read-only filesystem or storage medium",
                "remove: read-only filesystem or storage medium",
                "rename: read-only filesystem or storage medium",
                "link: read-only filesystem or storage medium",
                "folder: read-only filesystem or storage medium",
                "elsewhere: entity not found",
                "as a folder: not a directory",
                "a folder as a file: ",
            ] {
                assert!(said.contains(line), "{line}: {said}");
            }
            assert!(!said.contains("done"), "{said}");
            let read = edge.get(&format!("{place}?read=/a.txt")).await.text();
            assert_eq!(read, "as it was");
            // Without files there is no folder at all.
            let none = format!("{guest}-none");
            acme.version(&none, 1, component(guest)).await;
            let place = format!("{none}.changes-files.test/");
            acme.route(&place, &none, None).await.unwrap();
            for asked in ["read=/a.txt", "list=/"] {
                let said = edge.get(&format!("{place}?{asked}")).await.text();
                assert!(
                    !said.contains("as it was") && !said.contains("a.txt\n"),
                    "{said}"
                );
            }
        }
    });
}

#[test]
fn files_go_with_their_version_and_survive_worker_control_and_artifacts() {
    run(async {
        let mut edge = littoral_tests::TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        for (version, content) in [(1, "first"), (2, "second")] {
            let files = [("a.txt", content.as_bytes())];
            acme.version("cgi", version, with("cgi", &files)).await;
        }
        acme.route("new.acme.test/", "cgi", None).await.unwrap();
        acme.route("old.acme.test/", "cgi", Some(1)).await.unwrap();
        let read = async |edge: &littoral_tests::TestEdge, host: &str| {
            edge.get(&format!("{host}.acme.test/?read=/a.txt"))
                .await
                .text()
        };
        assert_eq!(read(&edge, "new").await, "second");
        assert_eq!(read(&edge, "old").await, "first");
        edge.kill_worker().await;
        assert_eq!(read(&edge, "old").await, "first");
        edge.kill_control();
        edge.control().wait().await;
        for artifact in std::fs::read_dir(edge.data().join("artifacts")).unwrap() {
            let artifact = artifact.unwrap().path();
            if artifact.is_file() {
                std::fs::remove_file(artifact).unwrap();
            }
        }
        edge.start_again().await;
        assert_eq!(read(&edge, "new").await, "second");
        assert_eq!(read(&edge, "old").await, "first");
    });
}

#[test]
fn files_that_are_none_are_refused_with_the_upload() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("wrong-files").await;
        let good = with("cgi", &[("a.txt", b"content")]);
        // An index that leads out of the upload, in place of the one that does not.
        let text = br#"[{"path":"a.txt","offset":0,"bytes":7}]"#;
        let at = good
            .windows(text.len())
            .position(|part| part == text)
            .unwrap();
        for (wrong, why) in [
            (
                &br#"[{"path":"a.txt","offset":9,"bytes":7}]"#[..],
                "lies beyond the end",
            ),
            (
                &br#"[{"path":"../xx","offset":0,"bytes":7}]"#[..],
                "is no path of a file",
            ),
            (
                &br#"[{"path":"a.txt","offset":0,"bytes":7},"#[..],
                "damaged",
            ),
        ] {
            let mut bytes = good.to_vec();
            bytes[at..at + text.len()].copy_from_slice(wrong);
            let refused = acme.upload("cgi", 1, bytes.into()).await;
            let said = format!("{refused:?}");
            assert!(said.contains(why), "{said}");
            assert_eq!(refusal(refused), "not-a-component");
        }
        // They count as the upload does.
        acme.limit(serde_json::json!({"component_kib_max": 512}))
            .await;
        let large = with("cgi", &[("a.bin", &vec![0; 600 << 10])]);
        assert_eq!(
            refusal(acme.upload("cgi", 1, large).await),
            "body-too-large"
        );
    });
}
