//! What is told about the node: figures, log lines, the audit log.

use std::sync::PoisonError;
use std::time::Instant;

use control_api::error::PlaneError;
use control_api::plane::{LogLines, LogQuery};
use control_api::view::{AuditEntry, Page, PageRequest};
use edge_config::TenantName;
use rustix::process::Signal;

use super::crashes::Culprit;
use super::{Control, internal};
use crate::link::flight::{Seated, TenantMark};
use crate::link::{GuestLine, TableChange, WorkerReport};
use crate::metrics::{StoreFigures, TenantTotals};
use crate::store::Health;

impl Control {
    pub(super) fn take_report(&self, report: &WorkerReport, serves: bool) {
        let state = self.read();
        let known = |tenant: &str| {
            tenant
                .parse::<TenantName>()
                .is_ok_and(|name| state.tenants.contains_key(&name))
        };
        let now = std::time::SystemTime::now();
        if serves {
            self.metrics.report(report, known, now);
        } else {
            self.metrics.report_of_relieved(report, known, now);
        }
        let known = |name: &TenantName| state.tenants.contains_key(name);
        self.meter
            .report(report, known, serves, self.now_s(), Instant::now());
    }

    pub(super) fn take_lines(&self, lines: Vec<GuestLine>) {
        let state = self.read();
        let ring_bytes_max = |tenant: &str| {
            let name = tenant.parse::<TenantName>().ok()?;
            usize::try_from(state.tenants.get(&name)?.limits.log_ring_kib_max << 10).ok()
        };
        let dropped = self.logs.take(lines, ring_bytes_max);
        self.metrics.log_lines_dropped(dropped);
    }

    /// The tenants that are not served for a while, as changes to the whole table.
    pub(super) fn resting_tenants(&self) -> Vec<TableChange> {
        let crashes = self.crashes.lock().unwrap_or_else(PoisonError::into_inner);
        crashes
            .resting(Instant::now())
            .map(|(tenant, left)| TableChange::Quarantined {
                tenant: tenant.to_string(),
                ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            })
            .collect()
    }

    /// A worker died by a fault or an abort: says in whose guest, and has that tenant rest where it keeps happening.
    /// The successor learns of the rest with its first table.
    pub(super) fn take_crash(&self, signal: Signal, seats: &[Seated]) {
        let name_of = |mark: TenantMark| {
            let state = self.read();
            let mut names = state.tenants.keys();
            names
                .find(|name| TenantMark::of(name.as_str()) == mark)
                .cloned()
        };
        let tenant = match Culprit::of(seats) {
            Culprit::Nobody => {
                tracing::error!(?signal, "the worker crashed; no guest was running");
                self.metrics.worker_crashed(None);
                return;
            }
            Culprit::OneOf(marks) => {
                let names: Vec<_> = marks.into_iter().filter_map(name_of).collect();
                let names: Vec<_> = names.iter().map(TenantName::as_str).collect();
                tracing::error!(
                    ?signal,
                    candidates = names.join(" "),
                    "the worker crashed while guests of several tenants ran; none is blamed"
                );
                self.metrics.worker_crashed(None);
                return;
            }
            Culprit::Known(mark) => name_of(mark),
        };
        let Some(tenant) = tenant else {
            tracing::error!(
                ?signal,
                "the worker crashed in a guest of a tenant that is gone"
            );
            self.metrics.worker_crashed(None);
            return;
        };
        self.metrics.worker_crashed(Some(tenant.as_str()));
        let rest = {
            let mut crashes = self.crashes.lock().unwrap_or_else(PoisonError::into_inner);
            crashes.blame(&tenant, Instant::now())
        };
        let rest_s = rest.map(|rest| rest.as_secs());
        tracing::error!(?signal, %tenant, rest_s, "the worker crashed in a guest of this tenant");
        let mut said = "crash: the worker died while it ran a guest of this tenant".to_owned();
        if let Some(seconds) = rest_s {
            said.push_str(&format!(
                ", once more; the tenant is not served for {seconds} s"
            ));
        }
        self.take_lines(vec![GuestLine {
            tenant: tenant.to_string(),
            module: String::new(),
            request_id: String::new(),
            stream: 2,
            at_ms: self.now_s().saturating_mul(1000),
            text: said,
        }]);
    }

    pub(super) fn worker_crashes(&self, tenant: &TenantName) -> u64 {
        let crashes = self.crashes.lock().unwrap_or_else(PoisonError::into_inner);
        crashes.total(tenant)
    }

    pub(super) fn tenant_totals(&self, tenant: &TenantName) -> TenantTotals {
        self.metrics.totals(tenant.as_str())
    }

    pub(super) fn log_lines(
        &self,
        tenant: &TenantName,
        query: &LogQuery,
    ) -> Result<LogLines, PlaneError> {
        self.logs.read(tenant.as_str(), query)
    }

    pub(super) fn render_metrics(&self) -> Result<String, PlaneError> {
        {
            let state = self.read();
            let keys: usize = state.tenants.values().map(|tenant| tenant.keys.len()).sum();
            self.metrics.set_counts(
                state.tenants.len() as u64,
                state.module_count() as u64,
                state.route_count() as u64,
                keys as u64,
            );
        }
        self.observe_certificates();
        self.metrics.compile_queue(self.compile_queue_depth().1);
        let stats = self.store().stats();
        self.metrics.store(StoreFigures {
            transactions: stats.transactions,
            groups: stats.groups,
            journal_bytes: stats.journal_bytes,
            journal_us: stats.journal_us,
            ledger_us: stats.ledger_us,
            compactions: stats.compactions,
            rebuilds: stats.rebuilds,
            contents_bytes: stats.contents_bytes,
            ledger_bytes: stats.ledger_bytes,
            healthy: self.store().health() == Health::Working,
        });
        self.metrics.render().map_err(|error| internal(&error))
    }

    pub(super) async fn audit_page(
        &self,
        page: PageRequest,
    ) -> Result<Page<AuditEntry>, PlaneError> {
        let before = match &page.after {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| PlaneError::InvalidValue {
                field: "after".to_owned(),
                why: format!("`{text}` is not the sequence number of an entry"),
            })?),
        };
        let mut entries = self
            .store()
            .audit_page(before, page.limit.saturating_add(1))
            .await
            .map_err(|error| {
                tracing::error!(
                    error = crate::logging::chain(&error),
                    "the audit log cannot be read"
                );
                PlaneError::StoreUnavailable
            })?;
        let more = entries.len() > page.limit;
        entries.truncate(page.limit);
        let json = |bytes: &[u8]| serde_json::from_slice(bytes).ok();
        let items: Vec<_> = entries
            .into_iter()
            .map(|entry| AuditEntry {
                seq: entry.revision,
                at: entry.record.at_s,
                who: entry.record.who,
                action: entry.record.action,
                tenant: entry.record.tenant.and_then(|tenant| tenant.parse().ok()),
                resource: entry.record.resource,
                before: entry.record.before.as_deref().and_then(json),
                after: entry.record.after.as_deref().and_then(json),
                request_id: entry.record.request_id,
            })
            .collect();
        let next_after = if more {
            items.last().map(|entry| entry.seq.to_string())
        } else {
            None
        };
        Ok(Page { items, next_after })
    }
}
