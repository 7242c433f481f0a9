//! The daemon's own log: to standard error, for people or as JSON.

use std::sync::OnceLock;

use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, reload};

/// What decides which lines are written, while the process logs.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Starts logging for this process; later calls change nothing.
///
/// `level` is one of error, warn, info, debug, trace. wasmtime's and hyper's own messages are kept from `warn` on:
/// below that they speak of every request.
pub fn start(level: &str, json: bool, process: &'static str) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(filter);
    let outcome = if json {
        let layer = fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr);
        registry.with(layer).try_init()
    } else {
        let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let layer = fmt::layer()
            .with_ansi(ansi)
            .with_target(false)
            .with_writer(std::io::stderr);
        registry.with(layer).try_init()
    };
    if outcome.is_ok() {
        // Set once: logging starts once.
        let _ = FILTER.set(handle);
        tracing::debug!(process, pid = std::process::id(), "logging");
    }
}

/// Writes lines of this level and more severe ones from here on.
pub fn set_level(level: &str) {
    let Some(handle) = FILTER.get() else { return };
    if let Err(error) = handle.reload(filter(level)) {
        tracing::warn!(%error, level, "the log's level stays as it was");
    }
}

fn filter(level: &str) -> Targets {
    let level: LevelFilter = level.parse().unwrap_or(LevelFilter::INFO);
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // Warns of what guests do wrong, once for each time they do it.
        .with_target("wasmtime_wasi_http", LevelFilter::OFF)
        .with_target("wasmtime_wasi", LevelFilter::OFF)
        .with_target("littorald", level)
        .with_target("control_api", level)
}

/// An error with its sources, outermost first.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
