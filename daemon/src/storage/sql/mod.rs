//! Tenants' SQL databases: one SQLite file each, open in a process of the tenant's own.
//!
//! Takes statements that guests wrote, with what their tenant may use; gives rows, or why not. Promises:
//!
//! - What was acknowledged survives kill -9 and power loss; a transaction that was not committed is as if it never was.
//! - A tenant's statements use no more time, memory, space and rows than its limits say, and reach nothing but the
//!   database they were opened on.
//! - What one tenant's statements do, and be it to break SQLite, holds up no other's.
//!
//! Statements are programs of strangers, and SQLite has been broken by such. So they run neither in control nor in the
//! worker, but in a process that the tenant shares with nobody: it is confined to the tenant's own folder, SQLite's
//! memory in it is bounded as a whole (`hard_heap_limit`, which no connection has), and control can kill it when one
//! long step of a statement listens to nothing. Killing is safe at any moment: what was committed lies in the log
//! written ahead. The process is started by the first connection, and ends when none was open for a while.
//!
//! - *Time* of a statement and of a transaction: a clock that SQLite looks at every thousand steps ([`watch`]), and the
//!   parent's, which kills. One statement of a tenant computes at a time, so that it has one core at most.
//! - *Memory*: temporary tables, sorters and caches are SQLite's heap, and bounded with it; nothing spills to files.
//! - *Space*: `max_page_count`; the log beside the database by `RLIMIT_FSIZE`.
//! - *Reach*: an authorizer, `SQLITE_DBCONFIG_DEFENSIVE` and SQLite's own limits ([`rules`]); landlock behind them.

mod child;
mod connection;
mod message;
mod process;
mod registry;
mod rules;
#[cfg(test)]
mod tests;
mod turn;
mod watch;

pub use child::child_main;
pub use message::Bounds;
pub use process::SqlConnection;
pub use registry::{Databases, Found, ProcessBounds};
pub(crate) use registry::{file_of, folder_in};
