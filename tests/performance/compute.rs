//! What checks cost guests that compute: `cargo bench -p littoral-tests --bench compute`.
//!
//! Compiles one guest under the node's own configuration and under others that differ in one thing each: how bounds are
//! checked, whether a guest can be interrupted, what the code generator is told. Runs each of its loops under each of
//! them, interleaved, and writes the medians as ratios to guard pages without interruption into
//! `tests/performance/results/compute.md`. Holds no figure: they are the CPU's as much as ours.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use littoral_tests::component;
use littorald::artifact::compile::pace_module;
use littorald::engine::{EngineShape, compiler_config};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, Linker, Module, OptLevel, PoolingAllocationConfig,
    Store, TypedFunc,
};

/// The loops of `tests/guests/computes`.
const LOOPS: [&str; 8] = [
    "reads_in_order",
    "writes_in_order",
    "writes_anywhere",
    "follows_links",
    "multiplies_matrices",
    "hashes_bytes",
    "updates_fields",
    "calls_itself",
];
const ROUNDS: usize = 41;
/// A round of one loop repeats it until this much time has passed once, so that short ones are measured too.
const ROUND_MIN: Duration = Duration::from_millis(4);
const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// One way to compile.
struct Way {
    name: &'static str,
    config: Config,
    /// Whether the module is written anew as the node does with what is uploaded.
    paced: bool,
}

/// One way, compiled and instantiated.
struct Ready {
    name: &'static str,
    store: Store<()>,
    loops: Vec<TypedFunc<u32, u64>>,
    state: u32,
    code_bytes: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plain = component("computes");
    let paced = pace_module(&plain)?.ok_or("none of its loops is small")?;
    let mut ready = ways()?
        .into_iter()
        .map(|way| {
            let bytes = if way.paced { &paced } else { &plain[..] };
            Ready::new(way, bytes)
        })
        .collect::<wasmtime::Result<Vec<_>>>()?;
    let mut medians = Vec::new();
    for (index, name) in LOOPS.iter().enumerate() {
        medians.push(measure(&mut ready, index)?);
        eprintln!("{name} measured");
    }
    let table = table(&ready, &medians);
    print!("{table}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("performance/results/compute.md");
    std::fs::write(path, page(&table))?;
    Ok(())
}

/// The node's configuration for a box where guard pages fit or do not, and what differs from it.
fn ways() -> wasmtime::Result<Vec<Way>> {
    let guarded = EngineShape::fit(1, MEMORY_BYTES_MAX, 1 << 47, false)?;
    // So many that only compact slots fit.
    let compact = EngineShape::fit(1_000, MEMORY_BYTES_MAX, 1 << 39, false)?;
    let way = |name, shape: &EngineShape, paced, change: fn(&mut Config)| {
        let mut config = compiler_config(shape);
        let mut pool = PoolingAllocationConfig::default();
        pool.total_memories(1)
            .total_core_instances(1)
            .total_component_instances(1)
            .total_tables(1)
            .total_stacks(1)
            .total_gc_heaps(0)
            .max_memory_size(usize::try_from(shape.memory_bytes_max).unwrap_or(usize::MAX));
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        change(&mut config);
        Way {
            name,
            config,
            paced,
        }
    };
    let as_it_is: fn(&mut Config) = |_| {};
    let without_epochs: fn(&mut Config) = |config| {
        config.epoch_interruption(false);
    };
    Ok(vec![
        way("guard pages, no epochs", &guarded, false, without_epochs),
        way("guard pages, epochs", &guarded, false, as_it_is),
        way("**guard pages: the node**", &guarded, true, as_it_is),
        way("the same, no epochs", &guarded, true, without_epochs),
        way("the same, for speed and size", &guarded, true, |config| {
            config.cranelift_opt_level(OptLevel::SpeedAndSize);
        }),
        way("compact, no epochs", &compact, false, without_epochs),
        way("compact, epochs", &compact, false, as_it_is),
        way("**compact: the node**", &compact, true, as_it_is),
        way("the same, guard of 32 MiB", &compact, true, |config| {
            config.memory_guard_size(32 << 20);
        }),
        way("the same, bound from memory", &compact, true, |config| {
            config.memory_may_move(true);
        }),
    ])
}

impl Ready {
    fn new(way: Way, bytes: &[u8]) -> wasmtime::Result<Self> {
        let Way { name, config, .. } = way;
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, bytes)?;
        let code_bytes = module.serialize()?.len();
        let mut linker = Linker::new(&engine);
        // What std would call if it panicked.
        linker.define_unknown_imports_as_traps(&module)?;
        let mut store = Store::new(&engine, ());
        // Nothing turns the clock here; only the checks are measured.
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = linker.instantiate(&mut store, &module)?;
        if let Ok(start) = instance.get_typed_func::<(), ()>(&mut store, "_initialize") {
            start.call(&mut store, ())?;
        }
        let make = instance.get_typed_func::<(), u32>(&mut store, "make")?;
        let state = make.call(&mut store, ())?;
        let loops = LOOPS
            .iter()
            .map(|name| instance.get_typed_func(&mut store, name))
            .collect::<wasmtime::Result<_>>()?;
        Ok(Self {
            name,
            store,
            loops,
            state,
            code_bytes,
        })
    }

    /// CPU time of this thread, so that other work on the machine is not counted.
    fn run(&mut self, index: usize, times: usize) -> wasmtime::Result<Duration> {
        let began = cpu_time();
        for _ in 0..times {
            let each = self.loops.get(index).expect("one of LOOPS");
            std::hint::black_box(each.call(&mut self.store, self.state)?);
        }
        Ok(cpu_time().saturating_sub(began))
    }
}

fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

/// The median time of one loop under each way, in microseconds a run.
fn measure(ready: &mut [Ready], index: usize) -> wasmtime::Result<Vec<f64>> {
    let first = ready.first_mut().expect("there is one");
    let mut times = 1;
    while first.run(index, times)? < ROUND_MIN {
        times *= 2;
    }
    let mut spent = vec![Vec::new(); ready.len()];
    for _ in 0..ROUNDS {
        for (ready, spent) in ready.iter_mut().zip(&mut spent) {
            spent.push(ready.run(index, times)?);
        }
    }
    let median = |mut spent: Vec<Duration>| {
        spent.sort_unstable();
        spent.get(spent.len() / 2).copied().unwrap_or_default()
    };
    #[expect(clippy::cast_precision_loss, reason = "a handful of runs")]
    let runs = times as f64;
    Ok(spent
        .into_iter()
        .map(|spent| median(spent).as_secs_f64() * 1e6 / runs)
        .collect())
}

fn table(ready: &[Ready], medians: &[Vec<f64>]) -> String {
    let mut table = String::from("| |");
    for name in LOOPS {
        let _ = write!(table, " {} |", name.replace('_', " "));
    }
    table.push_str(" geometric mean | native code |\n| --- |");
    table.push_str(&" ---: |".repeat(LOOPS.len() + 2));
    table.push('\n');
    for (at, ready) in ready.iter().enumerate() {
        let ratios: Vec<f64> = medians
            .iter()
            .filter_map(|times| Some(times.get(at)? / times.first()?))
            .collect();
        let _ = write!(table, "| {} |", ready.name);
        for (ratio, times) in ratios.iter().zip(medians) {
            match times.get(at) {
                Some(us) if at == 0 => {
                    let _ = write!(table, " {us:.0} us |");
                }
                _ => {
                    let _ = write!(table, " {ratio:.2} |");
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "eight loops")]
        let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        let _ = writeln!(table, " {mean:.2} | {} KiB |", ready.code_bytes >> 10);
    }
    table
}

fn page(table: &str) -> String {
    format!(
        "# What checks cost guests that compute\n\n\
         Written by `cargo bench -p littoral-tests --bench compute` on {} with {} cores: medians of {ROUNDS} rounds,\n\
         interleaved; CPU time of one run in the first row, ratios to it in the others, lower is better. What the ways are,\n\
         and what follows, is in ARCHITECTURE.md.\n\n{table}",
        std::env::consts::ARCH,
        std::thread::available_parallelism().map_or(1, usize::from),
    )
}
