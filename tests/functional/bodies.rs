//! Uploads whose bytes are wrong, too many, too slow, or too much for the compiler.

use std::time::{Duration, Instant};

use bytes::Bytes;
use control_api::auth::Scope;
use control_api::client::UploadAnswer;
use control_api::statement;
use control_api::view::JobState;
use littoral_tests::{
    Tenant, TestEdge, Wire, beside, component, refusal, run, until, until_within, with_section,
};

/// A core module with the import `env.x`, which no adapter has.
const IMPORTS_ENV: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x09\x01\x03env\x01x\0\0";

#[test]
fn every_bad_body_has_its_own_answer_and_leaves_nothing() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        let before = edge.left().await;
        let hello = component("hello");
        let cases: [(&str, Bytes); 7] = [
            ("body-empty", Bytes::new()),
            ("not-a-component", "just some text, not WebAssembly".into()),
            ("not-a-component", hello.slice(..hello.len() / 2)),
            ("not-a-component", hello.slice(..7)),
            ("not-a-component", IMPORTS_ENV.into()),
            ("imports-not-offered", component("wants-unknown")),
            ("exports-not-served", component("not-http")),
        ];
        for (wanted, bytes) in cases {
            let length = bytes.len();
            assert_eq!(
                refusal(acme.upload("site", 1, bytes).await),
                wanted,
                "{length} bytes"
            );
        }
        let unknown = acme
            .upload("site", 1, component("wants-unknown"))
            .await
            .unwrap_err();
        let problem = unknown.problem().unwrap();
        assert_eq!(
            problem.more["imports"],
            serde_json::json!(["acme:nothing/here@1.2.3"])
        );
        assert_eq!(edge.left().await, before, "something was left behind");
    });
}

#[test]
fn a_hundred_mebibytes_against_a_limit_of_sixteen_are_refused() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("large").await;
        let before = edge.left().await;
        // Announced: refused without reading.
        let mut wire = upload_head(&edge, &acme, "site", b"x", "Content-Length: 104857600").await;
        let answer = wire.answer().await;
        assert_eq!(
            (answer.status(), answer.problem().as_str()),
            (413, "body-too-large")
        );
        assert_eq!(answer.json()["bytes_max"], 16 << 20);
        // Not announced: refused once it is over; what comes after is not kept.
        let mut wire = upload_head(&edge, &acme, "site", b"x", "Transfer-Encoding: chunked").await;
        let chunk = [b"10000\r\n".as_slice(), &vec![0; 0x10000], b"\r\n"].concat();
        let mut sent_bytes = 0;
        while sent_bytes < 100 << 20 && wire.try_send(&chunk).await.is_ok() {
            sent_bytes += 0x10000;
        }
        let answer = wire.answer().await;
        assert_eq!(
            (answer.status(), answer.problem().as_str()),
            (413, "body-too-large")
        );
        assert_eq!(edge.left().await, before, "something was left behind");
    });
}

#[test]
fn a_slow_upload_is_ended_and_a_broken_one_leaves_nothing() {
    run(async {
        let edge = TestEdge::build()
            .set("uploads.duration_ms_max", 1000)
            .start()
            .await;
        let acme = edge.tenant("slow").await;
        let before = edge.left().await;
        let began = Instant::now();
        let mut wire = upload_head(&edge, &acme, "site", b"x", "Content-Length: 1000").await;
        wire.send(b"half").await;
        let answer = wire.answer().await;
        assert_eq!(
            (answer.status(), answer.problem().as_str()),
            (408, "request-too-slow")
        );
        assert!(
            began.elapsed() >= Duration::from_millis(900),
            "{:?}",
            began.elapsed()
        );

        let mut wire = upload_head(&edge, &acme, "site", b"x", "Content-Length: 1000").await;
        wire.send(b"half").await;
        until("its bytes are in a file", async || {
            (edge.left().await.1 != before.1).then_some(())
        })
        .await;
        drop(wire);
        until("nothing is left of it", async || {
            (edge.left().await == before).then_some(())
        })
        .await;
    });
}

#[test]
fn uploads_at_once_are_bounded() {
    run(async {
        let edge = TestEdge::build()
            .set("uploads.concurrent_max", 2)
            .start()
            .await;
        let (acme, other) = (edge.tenant("many").await, edge.tenant("other").await);
        let third = edge.tenant("third").await;
        let before = edge.left().await.1.len();
        let mut open = Vec::new();
        let hello = component("hello");
        let busy = async |tenant: &Tenant, said: &str| {
            let refused = tenant.upload("site", 1, hello.clone()).await.unwrap_err();
            let problem = refused.problem().unwrap();
            assert_eq!(
                (problem.status, problem.kind().unwrap().slug()),
                (503, "uploads-busy")
            );
            assert!(problem.detail.contains(said), "{}", problem.detail);
        };
        for (number, tenant) in [&acme, &other].into_iter().enumerate() {
            let mut wire = upload_head(&edge, tenant, "site", b"x", "Content-Length: 1000").await;
            wire.send(b"x").await;
            open.push(wire);
            until("it is being received", async || {
                (edge.left().await.1.len() == before + number + 1).then_some(())
            })
            .await;
            // Half of the places is all that one tenant gets.
            busy(&acme, "the most a tenant has").await;
        }
        busy(&third, "the most this node has").await;
        drop(open);
        until("there is room again", async || {
            acme.upload("site", 1, hello.clone()).await.ok()
        })
        .await;
    });
}

#[test]
fn the_compile_queue_is_bounded_and_says_where_one_stands() {
    run(async {
        let edge = TestEdge::build().set("compile.queue_max", 2).start().await;
        let acme = edge.tenant("queue").await;
        let large = component("compile-bomb-slow");
        let mut jobs = Vec::new();
        // One is compiled, two wait.
        for number in 0..3 {
            let bytes = with_section(&large, &number.to_string());
            jobs.push(begin(&acme, &format!("m{number}"), bytes).await);
            until("it is in the queue", async || {
                (edge.status().await.compile_queue > number).then_some(())
            })
            .await;
        }
        let full = acme.upload("m3", 1, with_section(&large, "3")).await;
        assert_eq!(refusal(full), "compile-queue-full");
        let mut positions = Vec::new();
        for job in &jobs {
            positions.push(
                match edge.client().job(acme.name(), job).await.unwrap().state {
                    JobState::Queued { position } => position,
                    JobState::Compiling { .. } => 0,
                    other => panic!("{other:?}"),
                },
            );
        }
        assert_eq!(positions, [0, 1, 2]);
    });
}

#[test]
fn a_compile_bomb_ends_as_a_refusal_and_the_node_serves_on() {
    run(async {
        let edge = TestEdge::build()
            .set("compile.memory_mib_max", 256)
            .set("compile.wall_ms_max", 20_000)
            .start()
            .await;
        let acme = edge.tenant("bomb").await;
        acme.guest("hello").await;
        let worker = edge.status().await.worker.pid;
        let before = edge.left().await;
        let bomber = acme.clone();
        let upload =
            beside(async move { bomber.upload("bomb", 1, component("compile-bomb")).await });
        let (mut served, mut slowest) = (0, Duration::ZERO);
        while !upload.is_finished() {
            let began = Instant::now();
            assert_eq!(edge.get("hello.bomb.test/").await.status(), 200);
            slowest = slowest.max(began.elapsed());
            served += 1;
        }
        assert_eq!(refusal(upload.await.unwrap()), "compile-too-costly");
        println!("{served} requests answered meanwhile, the slowest in {slowest:?}");
        assert!(served > 0 && slowest < Duration::from_secs(2));
        assert_eq!(edge.status().await.worker.pid, worker);
        assert_eq!(edge.left().await, before, "something was left behind");
        // The compiler takes the next one.
        acme.version("next", 1, with_section(&component("hello"), "next"))
            .await;
    });
}

#[test]
fn a_compile_bomb_of_time_is_ended_by_the_clock() {
    run(async {
        let edge = TestEdge::build()
            .set("compile.wall_ms_max", 1000)
            .start()
            .await;
        let acme = edge.tenant("clock").await;
        let refused = acme
            .upload("bomb", 1, component("compile-bomb-slow"))
            .await
            .unwrap_err();
        let problem = refused.problem().unwrap();
        assert_eq!(problem.kind().unwrap().slug(), "compile-too-costly");
        assert!(problem.detail.contains("wall clock"), "{}", problem.detail);
        until_within(Duration::from_secs(5), "no child is left", async || {
            (edge.status().await.compile_queue == 0).then_some(())
        })
        .await;
    });
}

/// Both were once answered 201, and said to be created.
#[test]
fn of_two_identical_uploads_at_once_one_is_made() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("twice").await;
        let uploads = [(); 2].map(|()| {
            let acme = acme.clone();
            beside(async move { acme.upload("site", 1, component("hello")).await })
        });
        let mut made = 0;
        for upload in uploads {
            match upload.await.unwrap().unwrap() {
                UploadAnswer::Done { created, version } => {
                    assert_eq!(version.value.version, 1);
                    made += u32::from(created);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(made, 1);
    });
}

#[test]
fn a_key_that_is_taken_away_while_its_component_is_compiled_no_longer_counts() {
    run(async {
        let edge = TestEdge::build()
            .set("compile.wall_ms_max", 1500)
            .start()
            .await;
        let acme = edge.tenant("distrusted").await;
        // It waits behind one that takes long.
        begin(&acme, "slow", component("compile-bomb-slow")).await;
        let job = begin(&acme, "site", component("hello")).await;
        let kid = acme.key().kid().parse().unwrap();
        let gone = edge
            .client()
            .delete_key(acme.name(), &kid, Default::default());
        gone.await.unwrap();
        let problem =
            until_within(
                Duration::from_secs(140),
                "the job has ended",
                async || match edge.client().job(acme.name(), &job).await.unwrap().state {
                    JobState::Failed { problem } => Some(problem),
                    JobState::Done { .. } => panic!("it was accepted"),
                    _ => None,
                },
            )
            .await;
        assert_eq!(problem.kind().unwrap().slug(), "publisher-unknown");
    });
}

/// Sends the head of an upload and leaves the body to the test.
pub(crate) async fn upload_head(
    edge: &TestEdge,
    tenant: &Tenant,
    module: &str,
    bytes: &[u8],
    framing: &str,
) -> Wire {
    let stated = statement::sign(tenant.key(), &tenant.statement(module, 1, bytes));
    let token = edge.token(&[Scope::NodeAdmin], None);
    let mut wire = edge.admin_wire().await;
    wire.send(format!(
        "PUT /v1/tenants/{}/modules/{module} HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer {token}\r\n\
         Module-Signature: {stated}\r\n{framing}\r\n\r\n",
        tenant.name()
    ))
    .await;
    wire
}

/// Begins an upload as a job.
async fn begin(tenant: &Tenant, module: &str, bytes: Bytes) -> String {
    let mut request = tenant.request(module, 1, bytes);
    request.respond_async = true;
    match tenant.send(&request).await.unwrap() {
        UploadAnswer::Accepted(job) => job.id,
        done => panic!("{done:?}"),
    }
}
