//! Half an hour under load: `just bench-soak`, or `cargo bench -p littoral-tests --bench soak`.
//!
//! Requests by Zipf over a few hundred tenants at a share of what the node takes, with a budget for code that holds some of
//! them, while every other second a tenant gets a new version. Prints resident memory after three minutes and at the end, and every
//! request that was not answered 200. Writes `results/soak.md` and a picture. Asserts nothing.
//!
//! `SECONDS` says for how long, `TENANTS` how many, `SHARE` how much load in percent, `RESULTS` another folder to write to.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a bench: a panic is the message, and figures are rounded anyway"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use littoral_tests::measure::{
    self, Line, Load, Outcome, Pace, Pick, Plot, Scale, Zipf, memory_kib, number, tree,
};
use littoral_tests::{Tenant, TestEdge, component, with_section};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// When memory is first taken as what it should stay.
const SETTLED: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_secs(5);
const UPLOAD_EVERY: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 64;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run());
}

fn host(rank: usize) -> String {
    format!("s{rank}.test")
}

/// One moment of it.
struct Look {
    at: Duration,
    rss_mib: f64,
    resident_modules: u64,
}

async fn run() {
    let machine = measure::describe();
    let span = Duration::from_secs(number("SECONDS", 1800).into());
    let (edge, tenants) = node(number("TENANTS", 300) as usize).await;
    let load = |pace: Pace, span: Duration| Load {
        address: edge.http(),
        requests: (0..tenants.len())
            .map(|rank| format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", host(rank)).into_bytes())
            .collect(),
        pick: Pick::Zipf(Zipf::new(tenants.len())),
        connections: CONNECTIONS,
        pace,
        span,
    };
    // The least of some, since the whole of it should be below what the node takes.
    let mut most = f64::INFINITY;
    for _ in 0..3 {
        let outcome = beside(load(Pace::Closed, Duration::from_secs(5))).await;
        most = most.min(outcome.expect("the generator ends").per_s());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "requests a second"
    )]
    let rate = ((most * f64::from(number("SHARE", 80)) / 100.0) as u32).max(1);
    println!("the node takes {most:.0}/s; {rate}/s for {span:?}");

    let began = Instant::now();
    let under_load = beside(load(Pace::PerSecond(rate), span));
    let (mut looks, mut uploads, mut refused) = (Vec::new(), 0_usize, Vec::new());
    let mut look_at = Duration::ZERO;
    while !under_load.is_finished() {
        tokio::time::sleep(UPLOAD_EVERY).await;
        if let Err(error) = upload(&tenants, uploads).await {
            refused.push(error);
        }
        uploads += 1;
        if began.elapsed() >= look_at {
            looks.push(look(&edge, began).await);
            look_at += LOOK_EVERY;
        }
    }
    let outcome = under_load.await.expect("the generator ends");
    report(&machine, span, rate, &looks, &outcome, (uploads, &refused));
}

/// The generator is a thread that blocks.
fn beside(load: Load) -> JoinHandle<Outcome> {
    tokio::task::spawn_blocking(move || load.run())
}

async fn node(count: usize) -> (TestEdge, Vec<Tenant>) {
    let edge = TestEdge::build()
        .under(&["/usr/bin/setpriv", "--pdeathsig", "KILL", "--"])
        // Less than all of them need, so that the coldest come and go.
        .set("memory.code_mib_max", 24)
        .set("limits.concurrent_requests_max", 1000)
        .set("limits.requests_per_s_max", 1_000_000)
        .set("limits.requests_burst_max", 1_000_000)
        .start()
        .await;
    let hello = component("hello");
    let mut tenants = Vec::new();
    for rank in 0..count {
        let tenant = edge.tenant(&format!("s{rank}")).await;
        tenant
            .version("hello", 1, with_section(&hello, &host(rank)))
            .await;
        let place = format!("{}/", host(rank));
        let routed = tenant.route(&place, "hello", None).await;
        routed.expect("the route is free");
        tenants.push(tenant);
    }
    (edge, tenants)
}

/// A version more of one tenant after the other.
async fn upload(tenants: &[Tenant], number: usize) -> Result<(), String> {
    let (rank, version) = (number % tenants.len(), number / tenants.len() + 2);
    let bytes: Bytes = with_section(&component("hello"), &format!("{rank} version {version}"));
    let version = u64::try_from(version).expect("a count");
    let uploaded = tenants[rank].upload("hello", version, bytes).await;
    uploaded.map(drop).map_err(|error| error.to_string())
}

async fn look(edge: &TestEdge, began: Instant) -> Look {
    let worker = edge.status().await.worker;
    // The child that compiles comes and goes: what stays is looked at.
    let pids: Vec<u32> = tree(edge.pid())
        .into_iter()
        .filter(|pid| [edge.pid(), worker.pid].contains(pid))
        .collect();
    Look {
        at: began.elapsed(),
        rss_mib: memory_kib(&pids, "VmRSS") as f64 / 1024.0,
        resident_modules: worker.resident_modules,
    }
}

fn report(
    machine: &Value,
    span: Duration,
    rate: u32,
    looks: &[Look],
    outcome: &Outcome,
    (uploads, refused): (usize, &[String]),
) {
    // A short run settles sooner.
    let settled = SETTLED.min(span / 3);
    let early = looks
        .iter()
        .find(|look| look.at >= settled)
        .map_or(f64::NAN, |look| look.rss_mib);
    let late = looks.last().map_or(f64::NAN, |look| look.rss_mib);
    let modules = looks.last().map_or(0, |look| look.resident_modules);
    let text = format!(
        "# Under load for {} s\n\n`just bench-soak`.\n\n{}\n\
         - RSS of control and worker after {} s: {early:.1} MiB, at the end: {late:.1} MiB, {:.3} times that\n\
         - {} requests answered 200 at {rate}/s, {} not (by status: {:?}; {} broken off, {} without an answer at the end), p50 {:.2} ms, p99 {:.2} ms\n\
         - {uploads} uploads under way, {} refused{}\n\
         - {modules} modules in memory at the end\n",
        span.as_secs(),
        measure::facts(machine, &json!({})),
        settled.as_secs(),
        late / early,
        outcome.good(),
        outcome.bad(),
        outcome.statuses,
        outcome.lost,
        outcome.unanswered,
        outcome.ms(0.5),
        outcome.ms(0.99),
        refused.len(),
        refused
            .first()
            .map(|first| format!(", the first: {first}"))
            .unwrap_or_default(),
    );
    println!("{text}");
    let plot = Plot {
        title: "Resident memory under load",
        x: ("seconds", Scale::Even),
        y: ("MiB", Scale::Even),
        lines: vec![Line {
            name: "control and worker".to_owned(),
            points: looks
                .iter()
                .map(|look| (look.at.as_secs_f64(), look.rss_mib))
                .collect(),
        }],
    };
    let figures: Vec<Value> = looks
        .iter()
        .map(|look| json!([look.at.as_secs(), look.rss_mib, look.resident_modules]))
        .collect();
    let all = json!({
        "machine": machine, "seconds": span.as_secs(), "per_s": rate, "good": outcome.good(), "bad": outcome.bad(), "broken": outcome.lost, "unanswered": outcome.unanswered,
        "p50_ms": outcome.ms(0.5), "p99_ms": outcome.ms(0.99), "uploads": uploads, "refused": refused,
        "rss_mib_early": early, "rss_mib_late": late, "looks": figures,
    });
    measure::write(
        &format!("raw/soak-{}.json", measure::stamp()),
        &format!("{all}\n"),
    );
    measure::write(
        "soak.md",
        &format!("{text}\n![memory under load](soak.svg)\n"),
    );
    measure::write("soak.svg", &plot.svg());
}
