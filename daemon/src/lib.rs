//! Littoral's node daemon.
//!
//! Three kinds of process from one binary: control owns all that is durable or secret, the worker runs guests, the
//! compile child turns one component into native code. See ARCHITECTURE.md at the root.

pub mod artifact;
pub mod confine;
pub mod control;
pub mod dev;
pub mod doctor;
mod durable;
pub mod engine;
pub mod gateway;
mod hex;
pub mod host;
pub mod link;
pub mod logging;
pub mod metrics;
pub mod quota;
pub mod startup_code;
pub mod storage;
pub mod store;
pub mod worker;

/// Ready when the process is told to stop: SIGTERM from a supervisor, SIGINT from a terminal.
pub async fn until_told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals cannot be waited for; only SIGKILL will end this process");
            std::future::pending().await
        }
    }
}
