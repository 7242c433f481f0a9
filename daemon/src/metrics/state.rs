//! The figures themselves, and which tenant has a label.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::counts::{Counts, Histogram, add_refusals, raise};
use super::labels::{ArtifactState, CompileOutcome, PressureStep, UploadEnd};
use super::tls::TlsFigures;
use crate::confine::InForce;
use crate::link::WorkerReport;
use crate::quota::Refusal;

/// The label of the sum over tenants without one of their own.
pub(super) const OTHER: &str = "other";

/// Upper bounds for loading an artifact, in seconds: mapping a file takes well below a millisecond, a slow disk much
/// more.
const LOAD_BUCKETS_S: [f64; 10] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
];

/// Upper bounds for compiling, in seconds: from a hello component to the longest time an operator may allow.
const COMPILE_BUCKETS_S: [f64; 12] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// What a tenant has used since control started, and uses now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantTotals {
    /// Requests admitted.
    pub requests: u64,
    /// Refusals by reason; reasons that never occurred are left out.
    pub refusals: BTreeMap<String, u64>,
    /// Body bytes in.
    pub request_body_bytes: u64,
    /// Body bytes out.
    pub response_body_bytes: u64,
    /// Time guests ran, in microseconds.
    pub cpu_us: u64,
    /// Requests under way as of the last report.
    pub concurrent_requests: u64,
    /// Requests that waited for a place as of the last report.
    pub waiting_requests: u64,
    /// Connections whose last request was the tenant's, as of the last report.
    pub connections: u64,
    /// How long the tenant then still rested after failures, in milliseconds.
    pub quarantine_left_ms: u64,
    /// Linear memory and tables live as of the last report, in bytes.
    pub memory_bytes: u64,
    /// Log bytes that the rate limit dropped.
    pub log_bytes_dropped: u64,
}

/// How the store stands and what it has done since control opened it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreFigures {
    /// Whether it takes changes.
    pub healthy: bool,
    /// Transactions made durable.
    pub transactions: u64,
    /// Groups they were written in.
    pub groups: u64,
    /// Bytes appended to the journal.
    pub journal_bytes: u64,
    /// Time spent writing and syncing the journal, in microseconds.
    pub journal_us: u64,
    /// Time spent writing and syncing the database, in microseconds.
    pub ledger_us: u64,
    /// Journals that were replaced by a snapshot.
    pub compactions: u64,
    /// Times the database file was written anew.
    pub rebuilds: u64,
    /// The control state's size now, in bytes.
    pub contents_bytes: u64,
    /// The database file's size now, in bytes.
    pub ledger_bytes: u64,
}

/// What is alive in a worker for one tenant, or several together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Live {
    pub(super) requests: u64,
    pub(super) waiting: u64,
    pub(super) connections: u64,
    pub(super) quarantine_left_ms: u64,
    pub(super) memory_bytes: u64,
}

impl Live {
    fn add(&mut self, more: Self) {
        raise(&mut self.requests, more.requests);
        raise(&mut self.waiting, more.waiting);
        raise(&mut self.connections, more.connections);
        self.quarantine_left_ms = self.quarantine_left_ms.max(more.quarantine_left_ms);
        raise(&mut self.memory_bytes, more.memory_bytes);
    }
}

/// A tenant that was reported and is still there.
#[derive(Debug, Default)]
pub(super) struct Tenant {
    /// Since control started, for `usage`.
    used: Counts,
    /// Since the tenant has a label; what it used before that is in `other`.
    pub(super) labelled: Option<Counts>,
    pub(super) live: Live,
}

/// As of the worker's last report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WorkerLive {
    pub(super) instances: u64,
    pub(super) resting_instances: u64,
    pub(super) resident_modules: u64,
    pub(super) resident_bytes: u64,
    pub(super) buffer_bytes: u64,
    pub(super) connections: u64,
}

#[derive(Debug, Default)]
pub(super) struct Registered {
    pub(super) tenants: u64,
    pub(super) modules: u64,
    pub(super) routes: u64,
    pub(super) keys: u64,
}

#[derive(Debug)]
pub(super) struct State {
    tenants_label_max: usize,
    labels: usize,
    /// Bounded by the tenants that are there: only known ones come in, and those that go are forgotten.
    pub(super) tenants: BTreeMap<String, Tenant>,
    /// Of all without a label, and of those that are gone.
    pub(super) other: Counts,
    other_live: Live,
    pub(super) unrouted: [u64; Refusal::ALL.len()],
    pub(super) entries_ignored: u64,
    pub(super) last_report: Option<SystemTime>,
    pub(super) worker: WorkerLive,
    pub(super) worker_ready: bool,
    pub(super) worker_restarts: u64,
    pub(super) available_percent: u32,
    pub(super) pressure: PressureStep,
    pub(super) pressure_steps: Vec<u64>,
    /// Of guests that are nobody's for certain.
    pub(super) worker_crashes: u64,
    pub(super) worker_confined: InForce,
    pub(super) reused: u64,
    pub(super) loads: u64,
    pub(super) evictions: u64,
    pub(super) load_durations: Histogram,
    /// By [`CompileOutcome::index`].
    pub(super) compilations: Vec<Histogram>,
    pub(super) compile_queue: u64,
    /// By [`ArtifactState::index`].
    pub(super) artifacts: Vec<u64>,
    /// By [`UploadEnd::index`].
    pub(super) uploads: Vec<u64>,
    pub(super) registered: Registered,
    pub(super) tls: TlsFigures,
    pub(super) store: Option<StoreFigures>,
    pub(super) recovery: Option<&'static str>,
    pub(super) log_lines_dropped: u64,
}

impl State {
    pub(super) fn new(tenants_label_max: usize) -> Self {
        Self {
            tenants_label_max,
            labels: 0,
            tenants: BTreeMap::new(),
            other: Counts::default(),
            other_live: Live::default(),
            unrouted: [0; Refusal::ALL.len()],
            entries_ignored: 0,
            last_report: None,
            worker: WorkerLive::default(),
            worker_ready: false,
            worker_restarts: 0,
            available_percent: 100,
            pressure: PressureStep::None,
            pressure_steps: vec![0; PressureStep::ALL.len()],
            worker_crashes: 0,
            worker_confined: InForce::default(),
            reused: 0,
            loads: 0,
            evictions: 0,
            load_durations: Histogram::new(&LOAD_BUCKETS_S),
            compilations: vec![Histogram::new(&COMPILE_BUCKETS_S); CompileOutcome::ALL.len()],
            compile_queue: 0,
            artifacts: vec![0; ArtifactState::ALL.len()],
            uploads: vec![0; UploadEnd::ALL.len()],
            registered: Registered::default(),
            tls: TlsFigures::default(),
            store: None,
            recovery: None,
            log_lines_dropped: 0,
        }
    }

    pub(super) fn report(
        &mut self,
        report: &WorkerReport,
        known: impl Fn(&str) -> bool,
        now: SystemTime,
    ) {
        self.nothing_lives();
        for counts in &report.tenants {
            let live = Live {
                requests: counts.concurrent_requests,
                waiting: counts.waiting_requests,
                connections: counts.connections,
                quarantine_left_ms: counts.quarantine_left_ms,
                memory_bytes: counts.memory_bytes,
            };
            let ignored = if known(&counts.tenant) {
                self.give_label(&counts.tenant);
                let tenant = self.tenants.entry(counts.tenant.clone()).or_default();
                // Added and not replaced: a worker that names a tenant twice in one report loses nothing.
                tenant.live.add(live);
                tenant
                    .labelled
                    .as_mut()
                    .unwrap_or(&mut self.other)
                    .report(counts);
                tenant.used.report(counts)
            } else {
                self.other_live.add(live);
                self.other.report(counts)
            };
            raise(&mut self.entries_ignored, ignored);
        }
        let unknown = add_refusals(&mut self.unrouted, &report.unrouted);
        raise(&mut self.entries_ignored, unknown);
        let unknown = self.tls.report(&report.handshakes);
        raise(&mut self.entries_ignored, unknown);
        self.worker = WorkerLive {
            instances: report.instances,
            resting_instances: report.resting_instances,
            resident_modules: report.resident_modules,
            resident_bytes: report.resident_bytes,
            buffer_bytes: report.buffer_bytes,
            connections: report.connections,
        };
        raise(&mut self.reused, report.reused);
        raise(&mut self.loads, report.loads);
        raise(&mut self.evictions, report.evictions);
        for us in &report.load_us {
            self.load_durations.observe(Duration::from_micros(*us));
        }
        self.last_report = Some(now);
    }

    /// The same of a worker beside the one that serves: what lives stays as it was.
    pub(super) fn report_of_relieved(
        &mut self,
        report: &WorkerReport,
        known: impl Fn(&str) -> bool,
        now: SystemTime,
    ) {
        let living = self
            .tenants
            .iter()
            .map(|(name, tenant)| (name.clone(), tenant.live))
            .collect::<Vec<_>>();
        let (others, worker, last_report) = (self.other_live, self.worker, self.last_report);
        let handshakes = self.tls.under_way();
        self.report(report, known, now);
        self.nothing_lives();
        for (name, live) in living {
            if let Some(tenant) = self.tenants.get_mut(&name) {
                tenant.live = live;
            }
        }
        (self.other_live, self.worker, self.last_report) = (others, worker, last_report);
        self.tls.set_under_way(handshakes);
    }

    pub(super) fn pressure(&mut self, step: PressureStep, available_percent: u32) {
        self.available_percent = available_percent;
        if step != self.pressure {
            self.pressure = step;
            if let Some(count) = self.pressure_steps.get_mut(step.index()) {
                raise(count, 1);
            }
        }
    }

    /// A worker died, in a guest of this tenant, which is there, or nobody knows in whose.
    pub(super) fn worker_crashed(&mut self, tenant: Option<&str>) {
        let Some(name) = tenant else {
            return raise(&mut self.worker_crashes, 1);
        };
        self.give_label(name);
        let tenant = self.tenants.entry(name.to_owned()).or_default();
        let counts = tenant.labelled.as_mut().unwrap_or(&mut self.other);
        raise(&mut counts.worker_crashes, 1);
    }

    /// Gives a tenant a label of its own if it has none and one is free.
    pub(super) fn give_label(&mut self, name: &str) {
        if name == OTHER || self.labels >= self.tenants_label_max {
            return;
        }
        let tenant = self.tenants.entry(name.to_owned()).or_default();
        if tenant.labelled.is_none() {
            tenant.labelled = Some(Counts::default());
            self.labels = self.labels.saturating_add(1);
        }
    }

    pub(super) fn forget(&mut self, name: &str) {
        let Some(gone) = self.tenants.remove(name) else {
            return;
        };
        self.other_live.add(gone.live);
        if let Some(counts) = gone.labelled {
            self.other.add(&counts);
            self.labels = self.labels.saturating_sub(1);
        }
    }

    pub(super) fn worker_gone(&mut self) {
        self.nothing_lives();
        self.worker = WorkerLive::default();
        self.tls.worker_gone();
        self.worker_ready = false;
    }

    fn nothing_lives(&mut self) {
        self.other_live = Live::default();
        for tenant in self.tenants.values_mut() {
            tenant.live = Live::default();
        }
    }

    /// What is alive of all tenants without a label.
    pub(super) fn other_live(&self) -> Live {
        self.tenants
            .values()
            .filter(|tenant| tenant.labelled.is_none())
            .fold(self.other_live, |mut sum, tenant| {
                sum.add(tenant.live);
                sum
            })
    }

    pub(super) fn totals(&self, name: &str) -> TenantTotals {
        let Some(tenant) = self.tenants.get(name) else {
            return TenantTotals::default();
        };
        let used = &tenant.used;
        TenantTotals {
            requests: used.requests,
            refusals: Refusal::ALL
                .iter()
                .zip(used.refusals)
                .filter(|(_, count)| *count > 0)
                .map(|(refusal, count)| (refusal.reason().to_owned(), count))
                .collect(),
            request_body_bytes: used.request_body_bytes,
            response_body_bytes: used.response_body_bytes,
            cpu_us: used.cpu_us,
            concurrent_requests: tenant.live.requests,
            waiting_requests: tenant.live.waiting,
            connections: tenant.live.connections,
            quarantine_left_ms: tenant.live.quarantine_left_ms,
            memory_bytes: tenant.live.memory_bytes,
            log_bytes_dropped: used.log_bytes_dropped,
        }
    }
}
