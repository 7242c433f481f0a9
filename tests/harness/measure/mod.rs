//! What benchmarks share: load, figures of processes and of the machine, statistics, pictures, and where results go.
//!
//! Nothing in here asserts a time. The load generator is one thread with bare sockets, since on a small box it takes its
//! cores from what is measured.

mod answer;
mod load;
mod machine;
mod once;
mod plot;
mod processes;
mod results;
mod stats;
mod zipf;

pub use load::{Load, Outcome, Pace, Pick};
pub use machine::{describe, more_descriptors, stamp};
pub use once::each_once;
pub use plot::{Line, Plot, Scale};
pub use processes::{Usage, busy_cpu, memory_kib, own_cpu, tree, usage};
pub use results::{Table, facts, folder, write, write_figures};
pub use stats::{Spread, median, percentile, ratios};
pub use zipf::Zipf;

/// A number from the environment, or what it is by default.
pub fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text}"))
    })
}
