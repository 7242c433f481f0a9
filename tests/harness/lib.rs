//! The harness of the suites: a real node, driven as operators, publishers and clients drive it.
//!
//! Starts the real `littorald` in a folder of its own, on ports that the kernel chooses; talks to its admin API with
//! the typed client, and to its guests over bare sockets, so that nothing is tidied up on the way. Promises that what
//! it started has ended when its value is dropped, and that a failed test shows the node's log. Waits for states, each
//! with a time limit, never for a time to pass.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::missing_panics_doc,
    reason = "test code: a panic is the message"
)]

mod binary;
mod changes;
mod dev;
mod edge;
pub mod frames;
pub mod http2;
pub mod measure;
pub mod powerloss;
mod process;
mod tenant;
mod tls;
mod wait;
mod wire;

pub use binary::{FOREIGN, cli, foreign, littorald};
pub use changes::{Change, Model};
pub use dev::DevNode;
pub use edge::{Builder, Shared, SharedEdge, TestEdge};
pub use process::{Process, end, environment, open_files};
pub use tenant::{Tenant, component, digest, now_s, refusal, with_section};
pub use tls::{Authority, Issued, Session, TlsClient};
pub use wait::{SOON, until, until_within};
pub use wire::{Answer, Ask, Head, Wire};

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::Runtime;

/// The longest that one test may take. Reaching it is a failure with a name, where a hang would have none.
const TEST_MAX: Duration = Duration::from_secs(150);

/// One runtime for all tests of a suite: connections that a shared node's client keeps live as long as it does.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts")
});

/// Runs a test's body.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    run_within(TEST_MAX, test)
}

/// Runs a test's body that may take longer than most.
pub fn run_within<T>(most: Duration, test: impl Future<Output = T>) -> T {
    RUNTIME.block_on(async {
        tokio::time::timeout(most, test)
            .await
            .expect("the test ends within its time")
    })
}

/// Runs something beside the test's body.
pub fn beside<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    RUNTIME.spawn(work)
}
