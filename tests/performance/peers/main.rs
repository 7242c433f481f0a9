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
mod drive;
mod install;
mod report;
mod scenario;
mod side;

use littoral_tests::component;
use littoral_tests::measure::{self, number};

use drive::Question;
use report::Part;
use scenario::Scenario;
use side::{Guest, Who};

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

const GET: Question<'static> = Question {
    body: "",
    content_type: "",
};

const LEFT_OUT: [&str; 2] = [
    "an outbound call: guests cannot make one yet",
    "a key-value read: guests have no key-value store yet",
];

const HELLO_JS: &str = "export default { async fetch() { return new Response('Hello from the edge!\\n', \
                        { headers: { 'content-type': 'text/plain' } }); } };";

fn wanted(part: &str) -> bool {
    std::env::var("ONLY").map_or(true, |only| only.split(',').any(|name| name == part))
}

async fn run() {
    let machine = measure::describe();
    let peers = install::peers();
    let connections = number("CONNECTIONS", 64) as usize;
    let scenarios = [
        Scenario {
            name: "hello-0.2",
            guest: Guest {
                component: component("hello"),
                p3: false,
                script: Some(HELLO_JS),
            },
            question: GET,
            sides: &[
                Who::Littoral,
                Who::LittoralReuse,
                Who::Bare,
                Who::Wasmtime,
                Who::WasmtimeTuned,
                Who::WasmtimeReuse,
                Who::Workerd,
            ],
            ratios: &[
                (Who::Littoral, Who::Wasmtime),
                (Who::Littoral, Who::WasmtimeTuned),
                (Who::Littoral, Who::Bare),
                (Who::LittoralReuse, Who::WasmtimeReuse),
                (Who::LittoralReuse, Who::Bare),
            ],
            pace_of: Who::Wasmtime,
            connections,
            curve: true,
        },
        Scenario {
            name: "hello-0.3",
            guest: Guest {
                component: component("hello-p3"),
                p3: true,
                script: None,
            },
            question: GET,
            sides: &[
                Who::Littoral,
                Who::LittoralReuse,
                Who::Bare,
                Who::Wasmtime,
                Who::WasmtimeTuned,
                Who::WasmtimeReuse,
            ],
            ratios: &[
                (Who::Littoral, Who::Wasmtime),
                (Who::Littoral, Who::WasmtimeTuned),
                (Who::Littoral, Who::Bare),
                (Who::LittoralReuse, Who::WasmtimeReuse),
                (Who::LittoralReuse, Who::Bare),
            ],
            pace_of: Who::Wasmtime,
            connections,
            curve: false,
        },
    ];
    let mut parts: Vec<Part> = Vec::new();
    for scenario in &scenarios {
        if wanted(scenario.name) {
            parts.push(scenario.run(&peers).await.into());
        }
    }
    let whole = std::env::var_os("ONLY").is_none();
    report::write(&machine, &peers, &LEFT_OUT, &parts, whole);
}
