//! What a guest's calls of a key-value store cost: `cargo bench -p littoral-tests --bench key_value`.
//!
//! Each round, interleaved: how many values guests read a second, one call after another in each of a few requests; how
//! long one read takes, measured as a whole request that makes one; how many durable writes one guest makes a second, one
//! after another, beside how often this disk syncs a file that a page was appended to. Prints medians, writes
//! `results/key_value.json`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use littoral_tests::measure::{median, write_figures};
use littoral_tests::{Ask, Tenant, TestEdge};
use serde_json::json;

const ROUNDS: usize = 5;
/// Requests at once that read, and calls in each.
const READERS: usize = 8;
const READS_EACH: usize = 5_000;
/// Requests of one read each, one after another.
const SINGLE_READS: usize = 2_000;
const WRITES: usize = 300;
/// What a commit writes at the least.
const PAGE_BYTES: usize = 4096;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let edge = TestEdge::start().await;
    let tenant = edge.tenant("bench").await;
    prepare(&tenant).await;
    let ask = |target: &str| edge.ask("GET", &format!("spin5-keeps.bench.test{target}"));
    well(ask("/set?key=k&value=a+value+of+some+bytes")).await;
    let (mut reads, mut p50, mut p99, mut writes, mut syncs) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let began = Instant::now();
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..READERS {
            let read = ask(&format!("/get?key=k&times={READS_EACH}"));
            asked.spawn(well(read));
        }
        asked.join_all().await;
        reads.push((READERS * READS_EACH) as f64 / began.elapsed().as_secs_f64());

        let mut each = Vec::with_capacity(SINGLE_READS);
        for _ in 0..SINGLE_READS {
            let read = ask("/get?key=k");
            let began = Instant::now();
            well(read).await;
            each.push(began.elapsed());
        }
        each.sort_unstable();
        let at = |share: usize| {
            each.get(SINGLE_READS * share / 100)
                .copied()
                .unwrap_or_default()
        };
        p50.push(ms(at(50)));
        p99.push(ms(at(99)));

        let began = Instant::now();
        well(ask(&format!("/set?key=w{round}.&value=v&times={WRITES}"))).await;
        writes.push(WRITES as f64 / began.elapsed().as_secs_f64());
        syncs.push(syncs_per_s(&edge));
    }
    let figures = json!({
        "reads_per_s": median(reads),
        "request_with_one_read_ms": { "p50": median(p50), "p99": median(p99) },
        "durable_writes_per_s_of_one_guest": median(writes.clone()),
        "syncs_per_s_of_this_disk": median(syncs.clone()),
        "writes_to_syncs": median(writes) / median(syncs),
        "rounds": ROUNDS,
        "readers": READERS,
    });
    println!("{figures:#}");
    write_figures("key_value.json", &mut figures.clone());
}

async fn prepare(tenant: &Tenant) {
    tenant.guest("spin5-keeps").await;
    let granted = json!({"key_value": ["default"]});
    tenant
        .grants("spin5-keeps", granted)
        .await
        .expect("a grant");
    tenant
        .limit(json!({
            "key_value_calls_per_s_max": 10_000_000, "request_deadline_ms_max": 600_000,
            "response_head_ms_max": 600_000, "request_cpu_ms_max": 600_000,
        }))
        .await;
}

async fn well(ask: Ask) {
    let answer = ask.send().await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// How often a page appended to a file, on the disk that the node is on, is made durable each second.
fn syncs_per_s(edge: &TestEdge) -> f64 {
    let path = edge.data().join("bench");
    let mut file = std::fs::File::create(&path).expect("a file");
    let began = Instant::now();
    for _ in 0..WRITES {
        file.write_all(&[0; PAGE_BYTES]).expect("a write");
        file.sync_data().expect("a sync");
    }
    let per_s = WRITES as f64 / began.elapsed().as_secs_f64();
    std::fs::remove_file(&path).expect("the file goes");
    per_s
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
