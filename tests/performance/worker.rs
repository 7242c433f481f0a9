//! How soon a node answers again after its worker was killed: `cargo bench -p littoral-tests --bench worker`.
//!
//! Each round kills the worker and asks at once: the connection waits in the backlog for the next worker, which starts,
//! takes the routing table, loads the component and answers. Prints median and worst, and ends with 1 where the worst is
//! above what SPECIFICATION.md promises.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use littoral_tests::TestEdge;

const ROUNDS: usize = 11;
const BACK_MAX: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut times = runtime.block_on(measure());
    times.sort_unstable();
    let (Some(median), Some(worst)) = (times.get(ROUNDS / 2), times.last()) else {
        return ExitCode::FAILURE;
    };
    println!(
        "kill -9 of the worker to the next answer, {ROUNDS} rounds: median {} ms, worst {} ms",
        median.as_millis(),
        worst.as_millis()
    );
    if *worst <= BACK_MAX {
        ExitCode::SUCCESS
    } else {
        eprintln!(
            "that is above {} ms, which is promised",
            BACK_MAX.as_millis()
        );
        ExitCode::FAILURE
    }
}

async fn measure() -> Vec<Duration> {
    // As after a first death, every time: the waits of one that dies over and over are not measured here.
    let edge = TestEdge::build()
        .set("worker.restart_backoff_ms_max", 10)
        .start()
        .await;
    edge.tenant("bench").await.guest("hello").await;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        edge.kill_worker().await;
        let began = Instant::now();
        let answer = edge.get("hello.bench.test/").await;
        times.push(began.elapsed());
        assert_eq!(answer.status(), 200);
    }
    times
}
