//! Quotas, one by one: what is refused, with what reason, and what it does to others.

mod cpu;
mod memory;
mod node;
mod requests;
