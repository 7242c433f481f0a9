//! Littoral and its peers, side by side: `just bench-peers`, or `cargo bench -p littoral-tests --bench peers`.
//!
//! Every side serves the same guest on this machine and is asked the same way, in rounds in which each has its turn. Writes
//! `results/peers.md`, `peers.json`, pictures, and the rounds of this sitting into `results/raw`. Asserts nothing.
//!
//! `ROUNDS` and `SECONDS` say how often and for how long, `ONLY` names parts (`hello-0.2,cold`, say), `RESULTS` another
//! folder to write to.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a bench: a panic is the message, and figures are rounded anyway"
)]

mod bare;
mod cold;
mod compared;
mod cores;
mod drive;
mod install;
mod report;
mod scenario;
mod scenarios;
mod side;

use littoral_tests::measure;

use report::Part;

fn main() {
    if std::env::args().nth(1).as_deref() == Some(bare::ARGUMENT) {
        return bare::serve();
    }
    measure::more_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run());
}

const LEFT_OUT: [&str; 2] = [
    "an outbound call: guests cannot make one yet",
    "a key-value read: guests have no key-value store yet",
];

fn wanted(part: &str) -> bool {
    std::env::var("ONLY").map_or(true, |only| only.split(',').any(|name| name == part))
}

async fn run() {
    let machine = measure::describe();
    let peers = install::peers();
    let mut parts: Vec<Part> = Vec::new();
    for scenario in scenarios::all(&peers) {
        if wanted(scenario.name) {
            parts.push(scenario.run(&peers).await.into());
        }
    }
    if wanted(cold::NAME) {
        parts.push(cold::measure(&peers).await);
    }
    if wanted(cores::NAME) {
        parts.push(cores::measure(&peers).await);
    }
    let whole = std::env::var_os("ONLY").is_none();
    report::write(&machine, &peers, &LEFT_OUT, &parts, whole);
}
