//! From the figures to samples, at the moment of a scrape and under one lock: the samples of a scrape agree.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::counts::{Counts, STATUS_CLASSES, seconds};
use super::family::{self, Samples};
use super::labels::{ArtifactState, CompileOutcome, PressureStep, UploadEnd};
use super::state::{Live, OTHER, State, StoreFigures};
use super::tls;
use crate::confine::FilterState;
use crate::quota::{Outcome, Refusal};

/// The label of requests that belong to no tenant.
const NO_TENANT: &str = "";

/// Everything but the processes.
pub(super) struct StateCollector {
    state: Arc<Mutex<State>>,
    wasmtime: &'static str,
    descs: Vec<Desc>,
}

impl StateCollector {
    pub(super) fn new(state: Arc<Mutex<State>>, wasmtime: &'static str) -> Self {
        Self {
            state,
            wasmtime,
            descs: family::descs(family::NODE_FAMILIES),
        }
    }
}

impl Collector for StateCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut samples = Samples::default();
        let build = [env!("CARGO_PKG_VERSION"), self.wasmtime];
        samples.count(&family::BUILD_INFO, &build, 1);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        tenants(&mut samples, &state);
        worker(&mut samples, &state);
        modules(&mut samples, &state);
        tls::collect(&mut samples, &state);
        if let Some(figures) = &state.store {
            store(&mut samples, figures);
        }
        if let Some(recovery) = state.recovery {
            samples.count(&family::STORE_RECOVERY, &[recovery], 1);
        }
        samples.into_families()
    }
}

fn tenants(samples: &mut Samples, state: &State) {
    for (name, tenant) in &state.tenants {
        if let Some(counts) = &tenant.labelled {
            one_tenant(samples, name, counts, tenant.live);
        }
    }
    one_tenant(samples, OTHER, &state.other, state.other_live());
    refusals(samples, NO_TENANT, &state.unrouted);
    samples.count(&family::WORKER_CRASHES, &[NO_TENANT], state.worker_crashes);
    samples.count(&family::LOG_LINES_DROPPED, &[], state.log_lines_dropped);
}

fn one_tenant(samples: &mut Samples, tenant: &str, counts: &Counts, live: Live) {
    let label = [tenant];
    samples.count(&family::REQUESTS, &label, counts.requests);
    samples.histogram(&family::REQUEST_DURATION, &label, &counts.durations);
    for (class, count) in STATUS_CLASSES.iter().zip(counts.status_classes) {
        samples.count(&family::RESPONSES, &[tenant, class], count);
    }
    refusals(samples, tenant, &counts.refusals);
    samples.count(
        &family::REQUEST_BODY_BYTES,
        &label,
        counts.request_body_bytes,
    );
    samples.count(
        &family::RESPONSE_BODY_BYTES,
        &label,
        counts.response_body_bytes,
    );
    samples.number(&family::GUEST_CPU, &label, seconds(counts.cpu_us));
    samples.count(&family::GUEST_MEMORY, &label, live.memory_bytes);
    samples.count(&family::CONCURRENT_REQUESTS, &label, live.requests);
    samples.count(&family::WAITING_REQUESTS, &label, live.waiting);
    samples.count(&family::TENANT_CONNECTIONS, &label, live.connections);
    let rests = u64::from(live.quarantine_left_ms > 0);
    samples.count(&family::QUARANTINED, &label, rests);
    samples.count(&family::LOG_BYTES_DROPPED, &label, counts.log_bytes_dropped);
    samples.count(&family::WORKER_CRASHES, &label, counts.worker_crashes);
    for (outcome, count) in Outcome::ALL.iter().zip(counts.outbound) {
        samples.count(&family::OUTBOUND, &[tenant, outcome.name()], count);
    }
    samples.count(
        &family::OUTBOUND_CONNECTIONS,
        &label,
        counts.outbound_connections,
    );
    for (direction, bytes) in ["sent", "received"].into_iter().zip(counts.outbound_bytes) {
        samples.count(&family::OUTBOUND_BYTES, &[tenant, direction], bytes);
    }
}

/// Every reason for every tenant, also those that never occurred: a rate needs the zero before the first one.
fn refusals(samples: &mut Samples, tenant: &str, counts: &[u64; Refusal::ALL.len()]) {
    for (refusal, count) in Refusal::ALL.iter().zip(counts) {
        samples.count(&family::REFUSALS, &[tenant, refusal.reason()], *count);
    }
}

fn worker(samples: &mut Samples, state: &State) {
    samples.count(&family::INSTANCES, &[], state.worker.instances);
    let resting = state.worker.resting_instances;
    samples.count(&family::RESTING_INSTANCES, &[], resting);
    samples.count(&family::REUSED, &[], state.reused);
    samples.count(
        &family::RESIDENT_MODULES,
        &[],
        state.worker.resident_modules,
    );
    samples.count(&family::CONNECTIONS, &[], state.worker.connections);
    samples.count(&family::RESIDENT_BYTES, &[], state.worker.resident_bytes);
    samples.count(&family::BUFFER_BYTES, &[], state.worker.buffer_bytes);
    let available = f64::from(state.available_percent) / 100.0;
    samples.number(&family::MEMORY_AVAILABLE, &[], available);
    for (step, count) in PressureStep::ALL.iter().zip(&state.pressure_steps) {
        let is_at = u64::from(*step == state.pressure);
        samples.count(&family::PRESSURE_STEP, &[step.word()], is_at);
        samples.count(&family::PRESSURE_STEPS, &[step.word()], *count);
    }
    samples.count(&family::LOADS, &[], state.loads);
    samples.histogram(&family::LOAD_DURATION, &[], &state.load_durations);
    samples.count(&family::EVICTIONS, &[], state.evictions);
    samples.count(&family::WORKER_READY, &[], u64::from(state.worker_ready));
    samples.count(&family::WORKER_RESTARTS, &[], state.worker_restarts);
    let confined = &state.worker_confined;
    let barriers = [
        ("filter", confined.filter == FilterState::Enforced),
        ("landlock", confined.landlock_abi > 0),
        ("user", confined.user != 0),
        ("capabilities", confined.without_capabilities),
    ];
    for (barrier, stands) in barriers {
        let stands = state.worker_ready && stands;
        samples.count(&family::CONFINED, &[barrier], u64::from(stands));
    }
    samples.count(&family::ENTRIES_IGNORED, &[], state.entries_ignored);
    if let Some(at) = state.last_report {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        samples.number(&family::LAST_REPORT, &[], since.as_secs_f64());
    }
}

fn modules(samples: &mut Samples, state: &State) {
    for (artifact, count) in ArtifactState::ALL.iter().zip(&state.artifacts) {
        samples.count(&family::ARTIFACTS, &[artifact.word()], *count);
    }
    for (end, count) in UploadEnd::ALL.iter().zip(&state.uploads) {
        samples.count(&family::UPLOADS, &[end.word()], *count);
    }
    for (outcome, durations) in CompileOutcome::ALL.iter().zip(&state.compilations) {
        samples.histogram(&family::COMPILE_DURATION, &[outcome.word()], durations);
    }
    samples.count(&family::COMPILE_QUEUE, &[], state.compile_queue);
    samples.count(&family::TENANTS, &[], state.registered.tenants);
    samples.count(&family::MODULES, &[], state.registered.modules);
    samples.count(&family::ROUTES, &[], state.registered.routes);
    samples.count(&family::PUBLISHER_KEYS, &[], state.registered.keys);
}

fn store(samples: &mut Samples, figures: &StoreFigures) {
    samples.count(&family::STORE_HEALTHY, &[], u64::from(figures.healthy));
    samples.count(&family::STORE_TRANSACTIONS, &[], figures.transactions);
    samples.count(&family::STORE_GROUPS, &[], figures.groups);
    samples.count(&family::STORE_JOURNAL_BYTES, &[], figures.journal_bytes);
    samples.number(
        &family::STORE_JOURNAL_TIME,
        &[],
        seconds(figures.journal_us),
    );
    samples.number(&family::STORE_LEDGER_TIME, &[], seconds(figures.ledger_us));
    samples.count(&family::STORE_COMPACTIONS, &[], figures.compactions);
    samples.count(&family::STORE_REBUILDS, &[], figures.rebuilds);
    samples.count(&family::STORE_CONTENTS_BYTES, &[], figures.contents_bytes);
    samples.count(&family::STORE_LEDGER_BYTES, &[], figures.ledger_bytes);
}
