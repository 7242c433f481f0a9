//! Harness.

pub mod powerloss;
