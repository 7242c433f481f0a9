//! What a node does, from its start to its end: each test drives the real daemon and names the promise it proves.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic is the message"
)]

mod admin_tls;
mod apply;
mod backup;
mod bodies;
mod capacity;
mod changing;
mod command_line;
mod configuration;
mod crash;
mod databases;
mod dev;
mod faults;
mod files;
mod instances;
mod key_value;
mod lifecycle;
mod observe;
mod outbound;
mod programs;
mod receipts;
mod residency;
mod reuse;
mod routing;
mod service;
mod settings;
mod sqlite;
mod statements;
mod storage;
mod tls;
mod tokens;
mod variables;
mod workers;
