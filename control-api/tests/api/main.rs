//! The admin API over real sockets, its client and its command line, against a control plane in memory.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test"
)]

mod access;
mod cli;
mod databases;
mod grants;
mod instances;
mod jwks;
mod listening;
mod logs;
mod shapes;
mod stores;
mod support;
mod tls;
mod tokens;
mod uploads;
mod variables;
