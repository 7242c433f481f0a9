//! The hostile suite: every guest of `guests/hostile` misbehaves, meets its limit and is told apart by a reason, while a
//! neighbour on the same node is served without a miss and the worker stays the process that it was.
//!
//! What each guest does and what a host should make of it: `guests/hostile/EXPECTED.md`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use littoral_tests::{Answer, Tenant, TestEdge, beside, component, run, run_within, until};
use serde_json::json;

/// How it ends for the client and in the tenant's books.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// The component is refused.
    AtUpload,
    /// The node answers in the guest's place.
    Refused(&'static str),
    /// The head went out, and then the connection was closed amid the body.
    BrokenOff(&'static str),
    /// The response was whole; the guest was ended afterwards.
    Ended(&'static str),
    /// The response was whole, and that was all.
    Served,
}

/// A group may take so long on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(900);

use Outcome::{AtUpload, BrokenOff, Ended, Refused, Served};

/// A guest with what it is asked and the outcomes that will do.
struct Row {
    guest: &'static str,
    path: &'static str,
    body_bytes: usize,
    outcomes: Vec<Outcome>,
}

fn row<const N: usize>(guest: &'static str, outcomes: [Outcome; N]) -> Row {
    Row {
        guest,
        path: "/",
        body_bytes: 0,
        outcomes: outcomes.into(),
    }
}

impl Row {
    fn at(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    fn with_body(self, body_bytes: usize) -> Self {
        Self { body_bytes, ..self }
    }
}

/// Limits that are met soon: the guests do not know them, so what they show holds for all others. A guest that should meet
/// its CPU limit gets time for that on a machine that does much else.
fn limits(row: &Row) -> serde_json::Value {
    let waits = |outcome: &Outcome| {
        matches!(
            outcome,
            Refused("deadline") | BrokenOff("deadline" | "idle")
        )
    };
    let (deadline_ms, idle_ms) = if row.outcomes.iter().any(waits) {
        (2_000, 700)
    } else {
        (120_000, 120_000)
    };
    json!({
        "request_cpu_ms_max": 150,
        "request_deadline_ms_max": deadline_ms,
        "response_head_ms_max": deadline_ms,
        "stream_idle_ms_max": idle_ms,
        "response_body_kib_max": 1_024,
        "request_body_kib_max": 4_096,
        "failures_in_a_row_max": 0,
    })
}

/// A node on which compiling is bounded tightly, too.
async fn node() -> TestEdge {
    TestEdge::build()
        .set("compile.cpu_ms_max", 8_000)
        .set("compile.wall_ms_max", 40_000)
        .set("compile.memory_mib_max", 512)
        .start()
        .await
}

/// Asks the neighbour over and over until told to stop; gives how often it answered and how often not.
fn ask_the_neighbour(edge: &TestEdge, stop: &Arc<AtomicBool>) -> (Arc<AtomicU64>, Arc<AtomicU64>) {
    let (served, lost) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let (node, stop) = (edge.http(), Arc::clone(stop));
    let counts = (Arc::clone(&served), Arc::clone(&lost));
    beside(async move {
        while !stop.load(Ordering::Relaxed) {
            let ask = littoral_tests::Ask::new(node, "GET", "hello.neighbour.test/");
            let answer = ask.send().await;
            let count = if answer.status() == 200 && answer.whole {
                &served
            } else {
                &lost
            };
            count.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    counts
}

/// Lets each guest loose, one after another; what came of them that should not have is the panic's message.
async fn check(rows: Vec<Row>) {
    let edge = node().await;
    edge.tenant("neighbour").await.guest("hello").await;
    let worker = edge.status().await.worker.pid;
    let stop = Arc::<AtomicBool>::default();
    let (served, lost) = ask_the_neighbour(&edge, &stop);
    let mut wrong = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let (guest, path) = (row.guest, row.path);
        let tenant = edge
            .tenant_limited(&format!("hostile-{number}"), limits(row))
            .await;
        let outcome = outcome(&edge, &tenant, row).await;
        println!("{guest}{path}: {outcome:?}");
        if !row.outcomes.contains(&outcome) {
            let lines: Vec<_> = tenant
                .logs()
                .await
                .iter()
                .map(|line| line.text.clone())
                .collect();
            let lines: Vec<_> = lines.iter().rev().take(3).collect();
            wrong.push(format!(
                "{guest}{path}: {outcome:?} instead of {:?}; its log: {lines:?}",
                row.outcomes
            ));
        }
        let usage = until("nothing of it is left", async || {
            let usage = tenant.usage().await;
            (usage.concurrent_requests == 0 && usage.memory_bytes == 0).then_some(usage)
        })
        .await;
        for reason in usage.refusals.keys() {
            // Lines travel behind figures.
            until("its tenant's log has the reason", async || {
                let said = format!("{reason}: ");
                let lines = tenant.logs().await;
                lines
                    .iter()
                    .any(|line| line.text.starts_with(&said))
                    .then_some(())
            })
            .await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (served, lost) = (served.load(Ordering::Relaxed), lost.load(Ordering::Relaxed));
    println!("the neighbour was served {served} times");
    let status = edge.status().await.worker;
    assert_eq!((status.pid, status.restarts), (worker, 0), "{}", edge.log());
    // The operator's changes, and a line or two for each guest that was ended; none for each thing it did.
    let log = edge.log();
    let lines = log.lines().filter(|line| !line.contains("admin request"));
    let lines = lines.count();
    assert!(lines < 12 * (rows.len() + 2), "{lines} lines:\n{log}");
    assert_eq!(wrong, Vec::<String>::new());
    assert!(
        served > 0 && lost == 0,
        "the neighbour lost {lost} of {served}"
    );
}

/// Uploads the guest and asks it.
async fn outcome(edge: &TestEdge, tenant: &Tenant, row: &Row) -> Outcome {
    let bytes = component(&format!("hostile/{}", row.guest));
    if tenant.upload("guest", 1, bytes).await.is_err() {
        return AtUpload;
    }
    let host = format!("{}.test", tenant.name());
    tenant
        .route(&format!("{host}/"), "guest", None)
        .await
        .unwrap();
    let body = vec![b'b'; row.body_bytes];
    let method = if body.is_empty() { "GET" } else { "POST" };
    let ask = edge.ask(method, &format!("{host}{}", row.path)).body(body);
    let answer = ask.send().await;
    let reason = reason_in_usage(tenant).await;
    match (answer.status(), answer.whole, reason) {
        (200..300, true, None) => Served,
        (200..300, true, Some(reason)) => Ended(reason),
        (200..300, false, Some(reason)) => BrokenOff(reason),
        (_, true, Some(reason)) => {
            assert_refusal(row, &answer, reason);
            Refused(reason)
        }
        (status, whole, reason) => panic!(
            "{}: {status}, {}, {reason:?} in its books: {}",
            row.guest,
            if whole { "whole" } else { "broken off" },
            answer.text()
        ),
    }
}

/// The one reason that the tenant's books have once its guest is gone.
async fn reason_in_usage(tenant: &Tenant) -> Option<&'static str> {
    let usage = until("the guest is gone", async || {
        let usage = tenant.usage().await;
        (usage.concurrent_requests == 0).then_some(usage)
    })
    .await;
    assert!(usage.refusals.len() <= 1, "{:?}", usage.refusals);
    let reason = usage.refusals.into_keys().next()?;
    Some(Box::leak(reason.into_boxed_str()))
}

/// The same reason in header and problem, and nothing of the inside.
fn assert_refusal(row: &Row, answer: &Answer, reason: &str) {
    assert_eq!(answer.reason(), reason, "{}", row.guest);
    assert_eq!(answer.problem(), reason, "{}", row.guest);
    let members: BTreeSet<_> = answer.json().as_object().unwrap().keys().cloned().collect();
    let known = ["request_id", "status", "title", "type"].map(str::to_owned);
    assert_eq!(members, BTreeSet::from(known), "{}", row.guest);
}

#[test]
fn guests_that_compute_are_ended_at_their_cpu_limit() {
    run_within(
        PATIENCE,
        check(vec![
            row("asks-for-random-bytes", [Refused("cpu"), Refused("trap")]),
            row("asks-the-time", [Refused("cpu")]),
            row("copies-a-table", [Refused("cpu")]),
            row("copies-memory", [Refused("cpu")]),
            row("divides", [Refused("cpu")]),
            row("fills-a-table", [Refused("cpu")]),
            row("fills-memory", [Refused("cpu")]),
            row("fills-memory-without-a-loop", [Refused("cpu")]),
            row("grows-in-vain", [Refused("cpu")]),
            row("initializes-memory", [Refused("cpu")]),
            row("makes-and-drops-handles", [Refused("cpu")]),
            row("matches-by-backtracking", [Refused("cpu")]),
            row("spins-after-the-response", [Ended("cpu")]),
            row("spins-amid-the-body", [BrokenOff("cpu")]),
            row("spins-by-indirect-calls", [Refused("cpu")]),
            row("spins-by-recursion", [Refused("cpu")]),
            row("spins-by-tail-calls", [Refused("cpu")]),
            row("spins-in-a-loop", [Refused("cpu")]),
            row("spins-in-a-task-p3", [Ended("cpu")]),
            row("spins-in-core-start", [Refused("cpu")]),
            row("spins-in-post-return", [Ended("cpu")]),
            row("spins-in-realloc", [Refused("cpu")]),
            row("spins-p3", [Refused("cpu")]),
            row("starts-and-cancels-p3", [Refused("cpu")]),
            row("talks-to-itself-p3", [Refused("cpu"), Refused("deadline")]),
            row(
                "yields-its-thread-p3",
                [Refused("cpu"), Refused("deadline")],
            ),
            row(
                "yields-without-end-p3",
                [Refused("cpu"), Refused("deadline")],
            ),
        ]),
    );
}

#[test]
fn guests_that_want_memory_get_what_they_may_have() {
    run_within(
        PATIENCE,
        check(vec![
            row("allocates-until-it-aborts", [Refused("memory")]),
            row("declares-a-huge-memory", [AtUpload]),
            row("declares-a-huge-table", [AtUpload]),
            row("declares-all-its-memory", [Refused("deadline")]),
            row("declares-all-its-memory", [Served]).at("/ok"),
            row("grows-a-table", [Served]),
            row("grows-eight-memories", [Served]),
            row("grows-page-by-page", [Served]),
            row("has-a-huge-name", [AtUpload]),
            row("has-huge-data", [Served]),
            row("has-many-core-instances", [AtUpload]),
            row("has-many-exports", [AtUpload]),
            row("has-many-functions", [Served, AtUpload]),
            row("has-many-globals", [AtUpload]),
            row("has-many-imports", [AtUpload]),
            row("has-many-tables", [AtUpload]),
            row("has-nine-memories", [AtUpload]),
            row("multiplies-its-instances", [AtUpload]),
            row("spreads-its-data", [Served, AtUpload]),
        ]),
    );
}

#[test]
fn guests_that_overflow_their_stack_trap() {
    run_within(
        PATIENCE,
        check(vec![
            row("recurses-in-realloc", [Refused("trap")]),
            row("recurses-into-the-host", [Refused("trap")]),
            row("recurses-with-big-frames", [Refused("trap")]),
            row("recurses-without-end", [Refused("trap")]),
        ]),
    );
}

#[test]
fn odd_responses_are_refused_or_broken_off() {
    run_within(
        PATIENCE,
        check(vec![
            row("answers-a-huge-error", [Refused("guest-error")]),
            row("answers-in-single-bytes", [Served, BrokenOff("cpu")]),
            row("answers-odd-statuses", [Refused("guest-error")]).at("/?status=600"),
            row("answers-odd-statuses", [Refused("guest-error"), Served]).at("/?status=101"),
            row("answers-twice", [Ended("trap"), Refused("trap")]),
            row("answers-without-end", [BrokenOff("response-body")]),
            row("answers-without-end-p3", [BrokenOff("response-body")]),
            row("drips", [BrokenOff("deadline")]),
            row(
                "drops-the-outparam",
                [Refused("no-response"), Refused("guest-error")],
            ),
            row(
                "floods-the-header",
                [Refused("trap"), Refused("response-header")],
            ),
            row("floods-the-header", [Served]).at("/?fields=1000"),
            row(
                "floods-the-trailers",
                [
                    BrokenOff("response-header"),
                    BrokenOff("trap"),
                    Refused("trap"),
                    Ended("trap"),
                    Served,
                ],
            ),
            row(
                "floods-the-trailers-p3",
                [
                    BrokenOff("response-header"),
                    BrokenOff("trap"),
                    Refused("trap"),
                    Served,
                ],
            ),
            row("injects-headers", [Served]),
            row("leaves-halfway", [BrokenOff("guest-error")]),
            row(
                "lies-about-its-length",
                [Refused("guest-error"), BrokenOff("guest-error")],
            ),
            row(
                "lies-about-its-length",
                [
                    Refused("guest-error"),
                    Refused("trap"),
                    BrokenOff("guest-error"),
                    BrokenOff("trap"),
                ],
            )
            .at("/more"),
            row(
                "lies-about-its-length",
                [
                    Refused("guest-error"),
                    Refused("trap"),
                    BrokenOff("guest-error"),
                ],
            )
            .at("/twice"),
            row("never-answers", [Refused("deadline")]),
            row("sends-a-huge-header", [Refused("response-header")]),
            row("sends-a-huge-header", [Served]).at("/under"),
            row("stops-halfway", [BrokenOff("idle")]),
            row("stops-halfway-p3", [BrokenOff("idle")]),
            row("withholds-the-end-p3", [BrokenOff("idle")]),
            row(
                "writes-before-the-head",
                [Refused("deadline"), Refused("cpu")],
            ),
        ]),
    );
}

#[test]
fn odd_readers_and_hoarders_meet_their_limits() {
    run_within(
        PATIENCE,
        check(vec![
            row("asks-out-in-a-loop", [Refused("cpu")]),
            row("asks-out-in-a-loop", [Refused("cpu")]).at("/malformed"),
            row("never-reads", [Refused("deadline")]).with_body(2 << 20),
            row("never-reads-p3", [Refused("deadline")]).with_body(2 << 20),
            row("reads-byte-by-byte", [Refused("deadline")]).with_body(4_000),
            row("reads-without-end", [Refused("cpu")]).with_body(1_000),
            row("floods-tasks-p3", [Refused("trap"), Refused("cpu")]),
            row("hoards-fields", [Refused("trap")]),
            row("hoards-fields-p3", [Refused("trap")]),
            row("hoards-futures-p3", [Refused("trap"), Refused("cpu")]),
            row("hoards-pollables", [Refused("trap")]),
            row("hoards-streams-p3", [Refused("trap"), Refused("cpu")]),
            row("misplaces-in-realloc", [Refused("trap")]),
            row("passes-bad-pointers", [Refused("trap")]),
            row("polls-thousands", [Refused("cpu")]),
            row("uses-dead-handles", [Refused("trap")]),
            row(
                "awaits-an-unwritten-future-p3",
                [Refused("deadline"), Refused("trap")],
            ),
            row("waits-for-the-end-of-time", [Refused("deadline")]),
            row("waits-in-tiny-steps", [Refused("cpu"), Refused("deadline")]),
            row(
                "waits-in-tiny-steps-p3",
                [Refused("cpu"), Refused("deadline")],
            ),
            row("waits-on-a-clock", [Refused("deadline")]),
            row(
                "waits-on-nothing-p3",
                [Refused("deadline"), Refused("trap")],
            ),
            row("floods-stdout", [Refused("cpu")]),
            row("never-ends-a-line", [Refused("cpu")]),
            row("prints-garbage", [Served]),
        ]),
    );
}

#[test]
fn traps_of_every_kind_and_in_every_phase_are_told() {
    run_within(
        PATIENCE,
        check(vec![
            row("exits", [Refused("trap"), Refused("no-response")]),
            row("panics", [Refused("trap")]),
            row("traps-after-the-head", [Refused("trap"), BrokenOff("trap")]),
            row("traps-after-the-response", [Ended("trap")]),
            row("traps-amid-the-body", [BrokenOff("trap")]),
            row("traps-by-access", [Refused("trap")]),
            row("traps-by-conversion", [Refused("trap")]),
            row("traps-by-division", [Refused("trap")]),
            row("traps-by-memory-fill", [Refused("trap")]),
            row("traps-by-null-call", [Refused("trap")]),
            row("traps-by-overflow", [Refused("trap")]),
            row("traps-by-table-access", [Refused("trap")]),
            row("traps-by-unreachable", [Refused("trap")]),
            row("traps-by-wrong-call", [Refused("trap")]),
            row("traps-in-a-task-p3", [Ended("trap")]),
            row("traps-in-core-start", [Refused("trap")]),
            row("traps-in-post-return", [Ended("trap"), Refused("trap")]),
            row("traps-in-realloc", [Refused("trap")]),
        ]),
    );
}

#[test]
fn bombs_for_the_parser_and_the_compiler_cost_their_upload_and_nobody_else() {
    run_within(
        PATIENCE,
        check(vec![
            row("has-a-giant-function", [AtUpload, Served]),
            row("has-giant-branch-tables", [AtUpload, Served]),
            row("has-many-locals", [AtUpload]),
            row("has-many-types", [AtUpload, Served]),
            row("nests-blocks", [AtUpload, Served]),
            row("nests-components", [AtUpload]),
            row("nests-types", [AtUpload]),
            row("waits-on-an-atomic", [AtUpload]),
        ]),
    );
}

#[test]
fn nothing_is_left_of_the_tenant_before() {
    run(async {
        // One thread and few instances: slots and stacks are used again at once.
        let edge = TestEdge::build().set("http.threads", 1).start().await;
        for name in ["writer", "reader"] {
            let tenant = edge.tenant(name).await;
            tenant
                .upload("guest", 1, component("hostile/remembers-nothing"))
                .await
                .unwrap();
            tenant
                .route(&format!("{name}.test/"), "guest", None)
                .await
                .unwrap();
        }
        for round in 0..20 {
            let written = edge.get("writer.test/write").await;
            assert_eq!(written.status(), 200, "{}", written.text());
            let (one, other) =
                tokio::join!(edge.get("reader.test/read"), edge.get("writer.test/read"));
            for read in [one, other] {
                assert_eq!(
                    (read.status(), read.text().trim()),
                    (200, "0 0 0"),
                    "round {round}"
                );
            }
        }
    });
}

#[test]
fn every_hostile_guest_has_its_row() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/built/hostile");
    let source = include_str!("hostile.rs");
    let elsewhere = ["measures-the-clock"];
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".wasm").unwrap();
        assert!(
            source.contains(&format!("\"{name}\""))
                || source.contains(&format!("hostile/{name}\""))
                || elsewhere.contains(&name),
            "{name} is never let loose"
        );
    }
}
