//! Littoral's node daemon.
//!
//! Three kinds of process from one binary: control owns all that is durable or secret, the worker runs guests, the
//! compile child turns one component into native code. See ARCHITECTURE.md at the root.

pub mod artifact;
pub mod engine;
pub mod gateway;
pub mod host;
pub mod link;
pub mod logging;
pub mod quota;
pub mod store;
pub mod worker;
