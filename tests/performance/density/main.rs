//! Ten thousand tenants on one node: `just bench-density`, or `cargo bench -p littoral-tests --bench density`.
//!
//! Idle memory and readiness by tenants, first requests, traffic over all of them, and what connections and instances
//! cost. Writes `results/density.md`, `density.json` and pictures. Asserts nothing.
//!
//! `TENANTS` says how many (the first time with ten thousand takes a quarter of an hour of compiling), `ROUNDS` and
//! `SECONDS` how often and for how long, `ONLY` names parts (`idle,first-requests,traffic,connections`), `RESULTS` another
//! folder to write to, `KEPT` whose published nodes are taken (see `publish.rs`).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a bench: a panic is the message, and figures are rounded anyway"
)]

mod connections;
mod idle;
mod publish;
mod traffic;

use littoral_tests::measure::{self, number};
use serde_json::{Value, json};

/// One part of the report.
struct Part {
    name: &'static str,
    text: String,
    json: Value,
    /// Name and SVG of each.
    pictures: Vec<(&'static str, String)>,
}

fn main() {
    measure::more_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run());
}

fn wanted(part: &str) -> bool {
    std::env::var("ONLY").map_or(true, |only| only.split(',').any(|name| name == part))
}

async fn run() {
    let machine = measure::describe();
    let most = number("TENANTS", 10_000) as usize;
    let mut parts = Vec::new();
    if wanted("idle") {
        parts.push(idle::measure(most).await);
    }
    if wanted("first-requests") {
        parts.push(traffic::first_requests(most).await);
    }
    if wanted("traffic") {
        parts.push(traffic::zipf(most).await);
    }
    if wanted("connections") {
        parts.push(connections::measure().await);
    }
    report(&machine, most, &parts);
}

fn report(machine: &Value, most: usize, parts: &[Part]) {
    let versions = json!({ "tenants": most });
    let mut text = format!(
        "# Many tenants on one node\n\n`just bench-density`. Each tenant has a component of its own, a `hello` of 61 KB under a digest of its\nown; the budget for code in memory is 128 MiB.\n\n{}",
        measure::facts(machine, &versions)
    );
    for part in parts {
        println!("\n## {}\n\n{}", part.name, part.text);
        text.push_str(&format!("\n## {}\n\n{}", part.name, part.text));
        for (name, _) in &part.pictures {
            text.push_str(&format!("\n![{name}]({name}.svg)\n"));
        }
    }
    let figures: serde_json::Map<String, Value> = parts
        .iter()
        .map(|part| (part.name.to_owned(), part.json.clone()))
        .collect();
    let mut all = json!({ "machine": machine, "tenants": most, "parts": figures });
    measure::write(
        &format!("raw/density-{}.json", measure::stamp()),
        &format!("{all}\n"),
    );
    // Only what a whole run found replaces what is checked in.
    if std::env::var_os("ONLY").is_none() {
        measure::write("density.md", &text);
        measure::write_figures("density.json", &mut all);
        for (name, svg) in parts.iter().flat_map(|part| &part.pictures) {
            measure::write(&format!("{name}.svg"), svg);
        }
    }
}
