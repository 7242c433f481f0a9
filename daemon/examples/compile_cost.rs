//! What the compile child costs beside the compilation itself.
//!
//! `cargo run --release --example compile_cost -- PATH_OF_LITTORALD COMPONENT [ROUNDS]` prints medians, interleaved so
//! that whatever else the machine does meets all of them alike: `Engine::precompile_component` alone in a warm
//! process, a whole child from start to answer, a dry run, storing the artifact, and checking it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measuring tool for developers, where a panic is an answer"
)]

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use edge_config::Digest;
use littorald::artifact::cache::{ArtifactCache, ArtifactKey, CacheBounds};
use littorald::artifact::compile::{CompileJob, CompileLimits, Compiler};
use littorald::artifact::name::CompatHash;
use littorald::engine::{EngineShape, compiler_config};
use wasmtime::Engine;

const BYTES_MAX: u64 = 256 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(program), Some(component)) = (args.next(), args.next()) else {
        eprintln!("usage: compile_cost PATH_OF_LITTORALD COMPONENT [ROUNDS]");
        return;
    };
    let rounds: usize = args.next().map_or(21, |rounds| rounds.parse().unwrap());
    let compiler = Compiler::new(fs::canonicalize(PathBuf::from(program)).unwrap());
    let bytes = fs::read(&component).unwrap();
    let file = File::open(&component).unwrap();
    let shape = EngineShape::fit(100, 64 << 20, 1 << 47, false).unwrap();

    let began = Instant::now();
    let engine = Engine::new(&compiler_config(&shape)).unwrap();
    let compat = CompatHash::of(&engine);
    println!(
        "engine and compatibility hash: {:.2} ms",
        ms(began.elapsed())
    );

    let folder = tempfile::tempdir_in(".").unwrap();
    let bounds = CacheBounds {
        total_bytes_max: BYTES_MAX,
        artifact_bytes_max: BYTES_MAX,
        artifacts_max: 100_000,
    };
    let key = ArtifactKey::open_or_create(&folder.path().join("keys")).unwrap();
    let cache = ArtifactCache::open(&folder.path().join("artifacts"), key, compat, bounds).unwrap();

    let mut times = [const { Vec::new() }; 7];
    let mut last = None;
    for round in 0..rounds as u64 {
        let mut time = |what: usize, began: Instant| times[what].push(began.elapsed());

        let began = Instant::now();
        let native = engine.precompile_component(&bytes).unwrap();
        time(0, began);
        drop(native);

        for (what, niceness) in [(1, 0), (2, 10), (3, 19)] {
            let limits = limits(niceness);
            let output = cache.begin().unwrap();
            let began = Instant::now();
            let report = compiler
                .compile(CompileJob {
                    component: &file,
                    component_bytes: bytes.len() as u64,
                    output: &output,
                    limits: &limits,
                    shape: &shape,
                    on_inspected: None,
                })
                .await
                .unwrap();
            time(what, began);
            last = Some((report, output));
        }

        let began = Instant::now();
        compiler
            .inspect(&file, bytes.len() as u64, &limits(0))
            .await
            .unwrap();
        time(4, began);

        let (report, output) = last.as_ref().unwrap();
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&round.to_le_bytes());
        let digest = Digest::from_bytes(digest);
        let began = Instant::now();
        let stored = cache
            .commit(output, report.artifact_bytes, &digest, &|_| true)
            .unwrap();
        time(5, began);

        let began = Instant::now();
        cache.open_verified(&stored.name, &digest).unwrap();
        time(6, began);
    }

    let names = [
        "Engine::precompile_component alone",
        "compile child, start to answer",
        "the same at niceness 10",
        "the same at niceness 19",
        "dry run",
        "store (copy, authenticate, sync)",
        "open and verify",
    ];
    for (name, times) in names.iter().zip(&mut times) {
        times.sort();
        println!(
            "{name:35} median {:8.2} ms   fastest {:8.2} ms   slowest {:8.2} ms",
            ms(times[times.len() / 2]),
            ms(times[0]),
            ms(times[times.len() - 1])
        );
    }
    let (report, _) = last.unwrap();
    println!(
        "component {} bytes, artifact {} bytes; child: {} ms CPU, {} KiB resident at most",
        bytes.len(),
        report.artifact_bytes,
        report.cpu_ms,
        report.peak_rss_bytes / 1024
    );
}

fn limits(niceness: u8) -> CompileLimits {
    CompileLimits {
        cpu_s_max: 120,
        wall_max: Duration::from_secs(300),
        memory_bytes_max: 4 << 30,
        output_bytes_max: BYTES_MAX,
        threads_max: std::thread::available_parallelism()
            .map_or(1, |n| u32::try_from(n.get()).unwrap()),
        niceness,
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
