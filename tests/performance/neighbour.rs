//! What a well-behaved tenant notices of a hostile one: `cargo bench -p littoral-tests --bench neighbour`.
//!
//! For each hostile guest, interleaved and several times: the neighbour's latency at a fixed rate beside an idle tenant,
//! then beside 16 connections that ask the hostile guest over and over. Prints the medians of p50 and p99, their ratio,
//! lost requests, the worker's memory and its restarts. Asserts nothing.
//!
//! `GUESTS` names the guests (by default all of `guests/built/hostile`), `ROUNDS`, `RATE` and `SECONDS` say how often,
//! how many requests a second, and for how long.

use std::path::PathBuf;
use std::time::Duration;

use littoral_tests::{TestEdge, component, now_s};
use serde_json::json;

mod load;
use load::{Flood, open_loop};

const CONNECTIONS: u32 = 8;
const HOSTILE_CONNECTIONS: u32 = 16;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(measure());
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn guests() -> Vec<String> {
    if let Ok(names) = std::env::var("GUESTS") {
        return names.split(',').map(str::to_owned).collect();
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guests/built/hostile");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(format!("hostile/{}", name.strip_suffix(".wasm")?))
        })
        .collect();
    names.sort();
    names
}

async fn measure() {
    let (rounds, rate) = (number("ROUNDS", 3), number("RATE", 500));
    let span = Duration::from_secs(number("SECONDS", 4).into());
    let began = now_s();
    println!(
        "{rate} requests/s over {CONNECTIONS} connections, {rounds} rounds of {span:?} each way"
    );
    println!(
        "| guest | idle p50 | idle p99 | beside p50 | beside p99 | p99 ratio | lost | worker RSS | restarts |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for guest in guests() {
        one(&guest, rounds, rate, span).await;
    }
    println!("{} s", now_s() - began);
}

async fn one(guest: &str, rounds: u32, rate: u32, span: Duration) {
    let edge = TestEdge::start().await;
    let neighbour = edge.tenant("neighbour").await;
    neighbour.guest("hello").await;
    let hog = edge
        .tenant_limited("hog", json!({ "failures_in_a_row_max": 0 }))
        .await;
    let uploaded = hog.upload("guest", 1, component(guest)).await;
    if let Err(refused) = uploaded {
        println!("| {guest} | refused at upload: {refused} |");
        return;
    }
    hog.route("guest.hog.test/", "guest", None)
        .await
        .expect("the route is free");
    let (node, host) = (edge.http(), "hello.neighbour.test");
    open_loop(node, host, rate, CONNECTIONS, Duration::from_millis(500)).await;
    let (mut idle, mut beside, mut lost, mut rss) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..rounds {
        idle.push(open_loop(node, host, rate, CONNECTIONS, span).await);
        let flood = Flood::start(node, "guest.hog.test", "/", "", HOSTILE_CONNECTIONS);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let outcome = open_loop(node, host, rate, CONNECTIONS, span).await;
        rss = rss.max(rss_mib(edge.status().await.worker.pid));
        drop(flood);
        lost += outcome.lost;
        beside.push(outcome);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let median = |outcomes: &[load::Outcome], share: f64| {
        let mut all: Vec<_> = outcomes
            .iter()
            .map(|outcome| outcome.percentile(share))
            .collect();
        all.sort_unstable();
        all.get(all.len() / 2)
            .copied()
            .unwrap_or_default()
            .as_secs_f64()
            * 1000.0
    };
    let (before, after) = (median(&idle, 0.99), median(&beside, 0.99));
    println!(
        "| {guest} | {:.2} ms | {before:.2} ms | {:.2} ms | {after:.2} ms | {:.2} | {lost} | {rss} MiB | {} |",
        median(&idle, 0.5),
        median(&beside, 0.5),
        after / before.max(0.001),
        edge.status().await.worker.restarts,
    );
}

fn rss_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
