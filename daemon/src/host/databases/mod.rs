//! Databases elsewhere that guests ask, in Spin's interfaces: Redis and PostgreSQL.
//!
//! Takes an address as Spin's guests write it; gives a connection where a grant of the module leads. Control judges where
//! it may go and makes it, as it does for outgoing requests; what is spoken on it is spoken here, since bytes that
//! strangers send are not parsed in control. A server is a stranger too: whatever it claims of sizes, counts and nesting,
//! nothing is reserved for it before it has come, and all that comes is within the tenant's limits. Promises that a
//! connection serves one module and one user of the server alone, and that whoever gets it next finds it as new.

mod address;
mod failure;
mod pool;
pub(super) mod postgres;
pub(super) mod redis;
mod session;
mod wire;

use std::sync::Arc;

use wasmtime::component::Linker;

use super::state::GuestState;
use pool::Pool;

pub(super) use session::OPEN_MAX;

/// Connections that the guests of one module used.
#[derive(Default)]
pub(super) struct Databases {
    redis: Arc<Pool<redis::Client>>,
    postgres: Arc<Pool<postgres::Client>>,
}

/// Adds all of them.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    redis::add_to_linker(linker)?;
    postgres::add_to_linker(linker)
}
