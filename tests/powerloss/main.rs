//! Nothing acknowledged is lost, nothing half is there: after kill -9 and after power loss (emulated).
//!
//! First the shim itself is shown to forget what was not synced and to keep what was; then the store is run under it,
//! then a whole node.

#[cfg(test)]
mod node;
#[cfg(test)]
mod shim;
#[cfg(test)]
mod store;
#[cfg(test)]
#[allow(dead_code, reason = "the other half is for the writing side")]
mod workload;
