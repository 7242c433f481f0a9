//! What Prometheus scrapes and what `usage` shows.
//!
//! Takes the reports of workers and what control says of its own work. Promises counters that never fall while control
//! lives, whatever becomes of workers and tenants, and a bounded number of series: labels come from closed lists and
//! from the operator's tenant names, of which at most `tenants_label_max` are labels at once. Never runs on the path of
//! a request, never awaits, keeps nothing on disk: the totals begin at zero with control.
//!
//! `tenant` has two values that are no tenant: `other`, the sum over tenants without a label of their own, forgotten
//! ones included; and the empty text, which no tenant's name is and Prometheus reads as the label's absence, for
//! requests that belong to no tenant. A tenant that is called `other` never gets a label of its own and is in that sum.
//!
//! Every family stands in `METRICS.md`, which a test compares with the table in `family.rs` and with what is rendered.

mod collect;
mod counts;
mod family;
mod labels;
mod process;
mod state;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(test)]
mod watching;

use std::collections::BTreeMap;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus::{Registry, TextEncoder};

pub use labels::{ArtifactState, CompileOutcome, PressureStep, UploadEnd};
pub use state::{StoreFigures, TenantTotals};

use crate::confine::InForce;
use crate::link::WorkerReport;
use collect::StateCollector;
use process::{ProcessCollector, Watched};
use state::State;

/// The metrics could not be written as text: a fault of ours, for instance a family without a name.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be written as text")]
pub struct RenderError(#[source] prometheus::Error);

/// All figures of the node. Every call takes one short lock.
pub struct Metrics {
    state: Arc<Mutex<State>>,
    /// The worker's process, while there is one.
    worker: Watched,
    registry: Registry,
}

impl Metrics {
    /// Metrics that have seen nothing yet.
    ///
    /// At most `tenants_label_max` tenants have a label of their own at once. `wasmtime` is the version of wasmtime
    /// inside.
    #[must_use]
    pub fn new(tenants_label_max: usize, wasmtime: &'static str) -> Self {
        let state = Arc::new(Mutex::new(State::new(tenants_label_max)));
        let worker = Watched::default();
        let registry = Registry::new();
        let node = StateCollector::new(Arc::clone(&state), wasmtime);
        let processes = ProcessCollector::new(Watched::clone(&worker));
        registry
            .register(Box::new(node))
            .and_then(|()| registry.register(Box::new(processes)))
            .expect(
                "the names in the table of families are valid and distinct, which a test shows",
            );
        Self {
            state,
            worker,
            registry,
        }
    }

    /// Adds what happened in a worker since its last report; its gauges replace those of the last one, and a tenant
    /// that it does not name has gauges of zero.
    ///
    /// `known` says whether a tenant is there: a worker may name one that is already gone, and what it says is not
    /// trusted beyond that. It is asked under the lock that [`Metrics::forget`] takes, so that a tenant which is first
    /// removed and then forgotten leaves nothing behind, and must not call back. Figures of tenants that are not known go to `other`; entries that this node has no name for
    /// are left out and counted.
    pub fn report(&self, report: &WorkerReport, known: impl Fn(&str) -> bool, now: SystemTime) {
        self.lock().report(report, known, now);
    }

    /// A report of a worker that was relieved: what it did counts, what lives is the other's to say.
    pub fn report_of_relieved(
        &self,
        report: &WorkerReport,
        known: impl Fn(&str) -> bool,
        now: SystemTime,
    ) {
        self.lock().report_of_relieved(report, known, now);
    }

    /// There is no worker: what is alive now is nothing.
    pub fn worker_gone(&self) {
        self.worker.forget();
        self.lock().worker_gone();
    }

    /// A worker takes the place of one that ended by itself.
    pub fn worker_restarted(&self) {
        let mut state = self.lock();
        state.worker_restarts = state.worker_restarts.saturating_add(1);
    }

    /// A worker crashed, in a guest of `tenant`, which is there, or in nobody's for certain.
    pub fn worker_crashed(&self, tenant: Option<&str>) {
        self.lock().worker_crashed(tenant);
    }

    /// What confines the worker.
    pub fn worker_confined(&self, in_force: InForce) {
        self.lock().worker_confined = in_force;
    }

    /// Whether the worker accepts connections.
    pub fn worker_ready(&self, ready: bool) {
        self.lock().worker_ready = ready;
    }

    /// A worker was started. Its figures are read from `/proc` at each scrape until [`Metrics::worker_gone`]; the file is
    /// opened here, before the worker becomes a user whose processes may be hidden.
    pub fn worker_started(&self, pid: u32) {
        self.worker.watch(pid);
    }

    /// A compile child ended after `took`.
    pub fn compile_finished(&self, outcome: CompileOutcome, took: Duration) {
        if let Some(durations) = self.lock().compilations.get_mut(outcome.index()) {
            durations.observe(took);
        }
    }

    /// An artifact was found to be so, or became so.
    pub fn artifact(&self, artifact: ArtifactState) {
        if let Some(count) = self.lock().artifacts.get_mut(artifact.index()) {
            *count = count.saturating_add(1);
        }
    }

    /// An upload ended.
    pub fn upload(&self, end: UploadEnd) {
        if let Some(count) = self.lock().uploads.get_mut(end.index()) {
            *count = count.saturating_add(1);
        }
    }

    /// So many uploads wait for the compiler.
    pub fn compile_queue(&self, waiting: u64) {
        self.lock().compile_queue = waiting;
    }

    /// Control signed for a handshake within `took`, or refused to.
    pub fn signed(&self, took: Option<Duration>) {
        self.lock().tls.signed(took);
    }

    /// So many certificates are kept; and of each tenant that has any, how long the one that ends first still lasts, in
    /// seconds.
    pub fn certificates(&self, count: u64, left_s: BTreeMap<String, i64>) {
        self.lock().certificates(count, left_s);
    }

    /// So much is registered, of all tenants together.
    pub fn set_counts(&self, tenants: u64, modules: u64, routes: u64, keys: u64) {
        self.lock().registered = state::Registered {
            tenants,
            modules,
            routes,
            keys,
        };
    }

    /// How the store stands. Its counters may only rise while control lives.
    pub fn store(&self, figures: StoreFigures) {
        self.lock().store = Some(figures);
    }

    /// What opening the store had to mend: a word from the store's closed list.
    pub fn recovery(&self, label: &'static str) {
        self.lock().recovery = Some(label);
    }

    /// How short of memory the node is: what it does about it, and what it and its group have available.
    pub fn memory_pressure(&self, step: PressureStep, available_percent: u32) {
        self.lock().pressure(step, available_percent);
    }

    /// So many guest lines of tenants that are not there were dropped.
    pub fn log_lines_dropped(&self, lines: u64) {
        let mut state = self.lock();
        state.log_lines_dropped = state.log_lines_dropped.saturating_add(lines);
    }

    /// What a tenant has used since control started, and uses now; zero for one that was never reported.
    #[must_use]
    pub fn totals(&self, tenant: &str) -> TenantTotals {
        self.lock().totals(tenant)
    }

    /// A tenant is gone: its label is free, and its counts go on in `other`, which rises by them at once.
    pub fn forget(&self, tenant: &str) {
        self.lock().forget(tenant);
    }

    /// The Prometheus text exposition, format 0.0.4.
    ///
    /// Reads a few files below `/proc`.
    ///
    /// # Errors
    /// [`RenderError`] where a family cannot be written, which is a bug.
    pub fn render(&self) -> Result<String, RenderError> {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(RenderError)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
