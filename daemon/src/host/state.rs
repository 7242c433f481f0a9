//! What the host holds for one instance.

use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::capabilities::Capabilities;
use super::clock::{ClockResolution, GuestMonotonicClock, GuestWallClock};
use super::databases::OPEN_MAX;
use super::files::Files;
use super::outbound::OutboundHooks;
use super::program::Program;
use super::sockets::Names;
use super::stdio::{GuestLog, GuestStream, Output, Stdio};
use crate::engine::{InstanceLimits, Slice};

/// Most random bytes in one call.
pub(super) const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// The in-memory size of one set of header fields, in bytes; about what 64 KiB on the wire take.
const FIELDS_BYTES_MAX: usize = 128 << 10;

/// The data of one guest's store: dropped with it, shared with nobody.
pub struct GuestState {
    output: Arc<Output>,
    clocks: ClockResolution,
    /// What it may call, and on whose account.
    pub(super) capabilities: Arc<Capabilities>,
    /// Key-value stores that it has open.
    pub(super) open_stores: usize,
    /// Those that were deployed with its component.
    pub(super) files: Option<Arc<Files>>,
    /// Connections to its SQL databases that it has open.
    pub(super) open_sql: usize,
    /// Places for connections to databases elsewhere.
    pub(super) open_databases: Arc<Semaphore>,
    /// What it looked up.
    pub(super) names: Names,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: OutboundHooks,
    /// Asked at each growth of a memory or table.
    pub limits: InstanceLimits,
    /// Bytes that the guest may hand over in one host call beyond its own memory: lists and strings on their way.
    pub hostcall_bytes_max: usize,
    /// Shared with whoever polls the guest.
    pub slice: Arc<Slice>,
}

/// What a guest's state is made with.
pub struct GuestOptions {
    /// Where its output goes.
    pub log: Arc<dyn GuestLog>,
    /// Of its memories and tables.
    pub limits: InstanceLimits,
    /// Most handles it may have open: requests, bodies, streams, pollables.
    pub handles_max: usize,
    /// As in [`GuestState`].
    pub hostcall_bytes_max: usize,
    /// As in [`GuestState`].
    pub slice: Arc<Slice>,
    /// How exact its clocks are.
    pub clocks: ClockResolution,
    /// What it may call, and on whose account.
    pub capabilities: Arc<Capabilities>,
    /// Files that were deployed with its component.
    pub files: Option<Arc<Files>>,
}

/// What is another request's own in the state of an instance that serves it.
#[derive(Clone)]
pub struct NextRequest {
    /// Where its output goes.
    pub log: Arc<dyn GuestLog>,
    /// As in [`GuestOptions`].
    pub handles_max: usize,
    /// As in [`GuestState`].
    pub hostcall_bytes_max: usize,
    /// Bytes that all its linear memories together may have.
    pub memory_bytes_max: u64,
    /// Whether growth that is refused ends the guest.
    pub memory_refused_traps: bool,
}

impl GuestState {
    /// A guest that sees clocks, random bytes and its own output, and nothing else.
    #[must_use]
    pub fn new(options: GuestOptions) -> Self {
        let GuestOptions {
            log,
            limits,
            handles_max,
            hostcall_bytes_max,
            slice,
            clocks,
            capabilities,
            files,
        } = options;
        let output = Output::new(Arc::clone(&log));
        let mut wasi = wasi(&output, clocks);
        let wasi = wasi.envs(&capabilities.grants().environment).build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES_MAX);
        let mut table = ResourceTable::new();
        table.set_max_capacity(handles_max);
        Self {
            output,
            clocks,
            hooks: OutboundHooks::new(Arc::clone(&capabilities), log),
            capabilities,
            open_stores: 0,
            files,
            open_sql: 0,
            open_databases: Arc::new(Semaphore::new(OPEN_MAX)),
            names: Names::default(),
            wasi,
            http,
            table,
            limits,
            hostcall_bytes_max,
            slice,
        }
    }
}

/// Clocks, random bytes and output lines.
fn wasi(output: &Arc<Output>, clocks: ClockResolution) -> WasiCtxBuilder {
    let mut wasi = WasiCtx::builder();
    wasi.stdout(Stdio::new(output, GuestStream::Stdout))
        .stderr(Stdio::new(output, GuestStream::Stderr))
        .monotonic_clock(GuestMonotonicClock::new(clocks))
        .wall_clock(GuestWallClock(clocks))
        .max_random_size(RANDOM_BYTES_MAX);
    wasi
}

impl GuestState {
    /// The guest is a program, and about to run: from here on it has these streams, arguments and environment.
    pub(crate) fn run_program(&mut self, program: Program) {
        let Program {
            environment,
            arguments,
            input,
            output,
        } = program;
        self.wasi = wasi(&self.output, self.clocks)
            .envs(&self.capabilities.grants().environment)
            .envs(&environment)
            .args(&arguments)
            .stdin(input)
            .stdout(output)
            .build();
    }

    /// What it sends to others.
    pub(super) fn outbound(&mut self) -> &mut OutboundHooks {
        &mut self.hooks
    }

    /// Handles that the guest has.
    pub(super) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// The request is over, and the instance may serve another.
    pub fn rest(&mut self) {
        self.output.finish();
    }

    /// The instance turns to another request of the same tenant, with that request's log and limits.
    pub fn turn_to(&mut self, request: NextRequest) {
        let NextRequest {
            log,
            handles_max,
            hostcall_bytes_max,
            memory_bytes_max,
            memory_refused_traps,
        } = request;
        self.output.turn_to(Arc::clone(&log));
        self.hooks.turn_to(log);
        self.table.set_max_capacity(handles_max);
        self.hostcall_bytes_max = hostcall_bytes_max;
        self.limits.turn_to(memory_bytes_max, memory_refused_traps);
    }

    /// For a guest of 0.2 that has returned: a body that it did not finish is not whole (`wasi:http/types`,
    /// `outgoing-body`), and whoever reads it must not take it for that.
    pub fn abort_unfinished_bodies(&mut self) {
        for entry in self.table.iter_mut() {
            if let Some(body) = entry.downcast_mut::<HostOutgoingBody>() {
                let (spent, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
                std::mem::replace(body, spent).abort();
            }
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
