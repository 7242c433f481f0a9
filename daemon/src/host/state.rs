//! What the host holds for one instance.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::clock::{ClockResolution, GuestMonotonicClock, GuestWallClock};
use super::hooks::Hooks;
use super::stdio::{GuestLog, GuestStream, Stdio};
use crate::engine::InstanceLimits;

/// Most handles a guest may have open: requests, bodies, streams, pollables.
const HANDLES_MAX: usize = 4096;
/// Most random bytes in one call.
pub(super) const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// The in-memory size of one set of header fields, in bytes; about what 64 KiB on the wire take.
const FIELDS_BYTES_MAX: usize = 128 << 10;

/// The data of one guest's store: dropped with it, shared with nobody.
pub struct GuestState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: Hooks,
    /// Asked at each growth of a memory or table.
    pub limits: InstanceLimits,
}

impl GuestState {
    /// A guest that sees clocks, random bytes and its own output, and nothing else.
    #[must_use]
    pub fn new(log: Arc<dyn GuestLog>, limits: InstanceLimits, clocks: ClockResolution) -> Self {
        let wasi = WasiCtx::builder()
            .stdout(Stdio::new(Arc::clone(&log), GuestStream::Stdout))
            .stderr(Stdio::new(log, GuestStream::Stderr))
            .monotonic_clock(GuestMonotonicClock::new(clocks))
            .wall_clock(GuestWallClock(clocks))
            .max_random_size(RANDOM_BYTES_MAX)
            .build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES_MAX);
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Self {
            wasi,
            http,
            table,
            hooks: Hooks,
            limits,
        }
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}
