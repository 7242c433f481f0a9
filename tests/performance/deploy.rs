//! What a deployment costs beside compiling: `cargo bench -p littoral-tests --bench deploy`.
//!
//! Each round, interleaved: `Engine::precompile_component` alone on one variant of a component of 80 KiB, then the whole
//! way of another variant through a real node (statement, upload, compile child, artifact, component and state made
//! durable, route, first response). Prints medians and their ratio, and ends with 1 where that is above what
//! SPECIFICATION.md promises.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use littoral_tests::{TestEdge, component, with_section};
use littorald::engine::{EngineShape, compiler_config};

const ROUNDS: u64 = 21;
/// The size of the component, in bytes: a hello with a custom section of what it lacks.
const COMPONENT_BYTES: usize = 80 << 10;
/// The whole way takes at most so many times what compiling alone does.
const RATIO_MAX: f64 = 3.0;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ratio = runtime.block_on(measure());
    if ratio <= RATIO_MAX {
        ExitCode::SUCCESS
    } else {
        eprintln!("{ratio:.2} is above {RATIO_MAX}, which is promised");
        ExitCode::FAILURE
    }
}

async fn measure() -> f64 {
    let hello = component("hello");
    // A section has its name, a kind and a length besides: the size is met to some ten bytes.
    let padding = "p".repeat(COMPONENT_BYTES - hello.len());
    let hello = with_section(&hello, &padding);
    let shape = EngineShape::fit(1000, 64 << 20, 1 << 47, false).expect("a layout for this box");
    let engine = wasmtime::Engine::new(&compiler_config(&shape)).expect("an engine that compiles");
    let edge = TestEdge::start().await;
    let tenant = edge.tenant("bench").await;

    let (mut alone, mut uploads, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let bytes = with_section(&hello, &format!("alone {round}"));
        let began = Instant::now();
        engine.precompile_component(&bytes).expect("hello compiles");
        alone.push(began.elapsed());

        let bytes = with_section(&hello, &format!("deployed {round}"));
        let began = Instant::now();
        tenant.version("hello", round, bytes).await;
        uploads.push(began.elapsed());
        tenant
            .route("hello.bench.test/", "hello", None)
            .await
            .expect("the route is free");
        let answer = edge.get("hello.bench.test/").await;
        whole.push(began.elapsed());
        assert_eq!(
            answer.head.status, 200,
            "a deployment that does not answer has no duration"
        );
    }
    let (alone, uploads, whole) = (median(alone), median(uploads), median(whole));
    println!("component: {} bytes, {ROUNDS} rounds, medians", hello.len());
    println!("precompile_component alone    {:>8.1} ms", ms(alone));
    println!(
        "upload to its 201             {:>8.1} ms  {:.2} x",
        ms(uploads),
        ratio(uploads, alone)
    );
    println!(
        "upload to the first response  {:>8.1} ms  {:.2} x",
        ms(whole),
        ratio(whole, alone)
    );
    ratio(whole, alone)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn ratio(time: Duration, of: Duration) -> f64 {
    time.as_secs_f64() / of.as_secs_f64()
}
