//! What tenants used, counted over restarts, and signed receipts of it.
//!
//! Takes the worker's reports; gives totals that only rise for as long as a tenant is there. Promises that a receipt says no
//! less than any before it of the same tenant: what one says is durable before it is given. Between receipts totals are
//! written once an hour and when the node stops, so that a crash costs at most an hour of what nobody has a receipt of;
//! a tenant that uses nothing costs no write.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control_api::error::PlaneError;
use control_api::keypair::{KeyFileError, PrivateKey};
use control_api::receipt;
use control_api::view::{Receipt, ReceiptClaims};
use edge_config::TenantName;

use super::Control;
use super::change::store_error;
use super::plane::tenant_in;
use crate::link::{TenantCounts, WorkerReport};
use crate::logging::chain;
use crate::store::{Record, Revised, Transaction, UsageRecord};

/// How often totals that rose are written.
const WRITTEN_EVERY: Duration = Duration::from_secs(3600);
/// Totals in one transaction.
const WRITTEN_AT_ONCE: usize = 1000;
/// How long a receipt, or the writing of totals, waits for figures that are newer than the last report.
const FIGURES_PATIENCE: Duration = Duration::from_millis(500);
/// The key that signs receipts, in the folder of keys.
pub(super) const KEY_FILE: &str = "receipts.key";

/// What each tenant used. One entry for each tenant that ever had a request.
pub(super) struct Meter {
    key: PrivateKey,
    tenants: Mutex<BTreeMap<TenantName, Metered>>,
}

#[derive(Debug, Default)]
struct Metered {
    total: UsageRecord,
    /// Whether the store has less.
    rose: bool,
    /// What guests hold as of the last report, in bytes, and since when that is not counted yet.
    memory: Option<(u64, Instant)>,
}

impl Metered {
    fn report(&mut self, counts: &TenantCounts, serves: bool, now: Instant) {
        let total = &mut self.total;
        for (sum, more) in [
            (&mut total.requests, counts.requests),
            (&mut total.request_body_bytes, counts.request_body_bytes),
            (&mut total.response_body_bytes, counts.response_body_bytes),
            (&mut total.cpu_us, counts.cpu_us),
        ] {
            // A worker's figures are outside data.
            *sum = sum.saturating_add(more);
            self.rose |= more > 0;
        }
        if serves {
            self.settle(now);
            self.memory = (counts.memory_bytes > 0).then_some((counts.memory_bytes, now));
        }
    }

    /// Counts memory up to now.
    fn settle(&mut self, now: Instant) {
        let Some((bytes, since)) = self.memory else {
            return;
        };
        let ms = now.saturating_duration_since(since).as_millis();
        let kib_ms = u64::try_from(u128::from(bytes).saturating_mul(ms) >> 10).unwrap_or(u64::MAX);
        let sum = &mut self.total.memory_kib_ms;
        *sum = sum.saturating_add(kib_ms);
        self.rose |= kib_ms > 0;
        self.memory = Some((bytes, now));
    }
}

impl Meter {
    /// Goes on from what was written, with the key in `keys_dir`, which is made where there is none.
    ///
    /// # Errors
    /// The key cannot be read or made.
    pub(super) fn open(
        keys_dir: &Path,
        written: Vec<Revised<UsageRecord>>,
    ) -> Result<Self, KeyFileError> {
        let path = keys_dir.join(KEY_FILE);
        let key = if path.exists() {
            PrivateKey::read(&path)?
        } else {
            let key = PrivateKey::generate()?;
            key.write_new(&path)?;
            key
        };
        let tenants = written.into_iter().filter_map(|usage| {
            let total = usage.record;
            let name = total.tenant.parse().ok()?;
            let metered = Metered {
                total,
                ..Metered::default()
            };
            Some((name, metered))
        });
        Ok(Self {
            key,
            tenants: Mutex::new(tenants.collect()),
        })
    }

    /// Takes a report; `known` tells which of its tenants are there. What guests hold is asked of the worker that
    /// `serves`, and not of one that drains beside it.
    pub(super) fn report(
        &self,
        report: &WorkerReport,
        known: impl Fn(&TenantName) -> bool,
        serves: bool,
        at_s: u64,
        now: Instant,
    ) {
        let mut tenants = self.lock();
        for counts in &report.tenants {
            let Ok(name) = counts.tenant.parse::<TenantName>() else {
                continue;
            };
            if known(&name) {
                let metered = tenants.entry(name).or_default();
                if metered.total.tenant.is_empty() {
                    metered.total.tenant.clone_from(&counts.tenant);
                    metered.total.since_s = at_s;
                }
                metered.report(counts, serves, now);
            }
        }
    }

    /// There is no worker: nobody holds any memory.
    pub(super) fn worker_gone(&self, now: Instant) {
        for metered in self.lock().values_mut() {
            metered.settle(now);
            metered.memory = None;
        }
    }

    pub(super) fn forget(&self, tenant: &TenantName) {
        self.lock().remove(tenant);
    }

    /// Totals that rose, of tenants that are there, in the order of their names from the one behind `after`: at most
    /// [`WRITTEN_AT_ONCE`]. They count as written until [`Meter::not_written`].
    fn to_write(
        &self,
        known: impl Fn(&TenantName) -> bool,
        after: Option<&TenantName>,
        now: Instant,
    ) -> Vec<UsageRecord> {
        let mut records = Vec::new();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (name, metered) in self
            .lock()
            .range_mut::<TenantName, _>((from, Bound::Unbounded))
        {
            metered.settle(now);
            if metered.rose && known(name) {
                metered.rose = false;
                records.push(metered.total.clone());
            }
            if records.len() == WRITTEN_AT_ONCE {
                break;
            }
        }
        records
    }

    fn not_written(&self, records: &[UsageRecord]) {
        let mut tenants = self.lock();
        for record in records {
            let name = record.tenant.parse::<TenantName>();
            if let Some(metered) = name.ok().and_then(|name| tenants.get_mut(&name)) {
                metered.rose = true;
            }
        }
    }

    /// A tenant's total with one more receipt; one that is not counted yet is from here on.
    fn with_receipt(&self, tenant: &TenantName, at_s: u64, now: Instant) -> UsageRecord {
        let mut tenants = self.lock();
        let metered = tenants.entry(tenant.clone()).or_default();
        if metered.total.tenant.is_empty() {
            metered.total.tenant = tenant.to_string();
            metered.total.since_s = at_s;
        }
        metered.settle(now);
        metered.total.receipts = metered.total.receipts.saturating_add(1);
        metered.rose = false;
        metered.total.clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantName, Metered>> {
        // Each change is whole by itself: a panic elsewhere leaves sums that are right.
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Writes totals that rose, every hour, until dropped.
    pub(super) async fn write_usage_hourly(self: std::sync::Arc<Self>) {
        loop {
            tokio::time::sleep(WRITTEN_EVERY).await;
            self.write_usage().await;
        }
    }

    /// Writes totals that rose. What cannot be written now is with the next.
    pub(super) async fn write_usage(&self) {
        self.supervisor().fresh_figures(FIGURES_PATIENCE).await;
        // Each once: the total of one that holds memory rises again before the others are written.
        let mut after: Option<TenantName> = None;
        loop {
            // A tenant that goes takes its record along: none is written behind its back.
            let _no_changes = self.changes().lock().await;
            let records = {
                let state = self.read();
                let known = |name: &TenantName| state.tenants.contains_key(name);
                self.meter.to_write(known, after.as_ref(), Instant::now())
            };
            let Some(last) = records.last().and_then(|last| last.tenant.parse().ok()) else {
                return;
            };
            after = Some(last);
            let transaction = Transaction {
                puts: records.iter().cloned().map(Record::Usage).collect(),
                ..Transaction::default()
            };
            if let Err(error) = self.store().commit(transaction).await {
                self.meter.not_written(&records);
                tracing::warn!(error = chain(&error), "what tenants used was not written");
                return;
            }
        }
    }

    /// A signed receipt of what a tenant used.
    ///
    /// # Errors
    /// [`PlaneError::TenantNotFound`]; those of a change that cannot be made durable.
    ///
    /// # Cancel safety
    /// Where the caller stops waiting, a receipt may have been counted that nobody has.
    pub(super) async fn give_receipt(&self, tenant: &TenantName) -> Result<Receipt, PlaneError> {
        if self.is_draining() {
            return Err(PlaneError::Draining);
        }
        self.supervisor().fresh_figures(FIGURES_PATIENCE).await;
        let _no_changes = self.changes().lock().await;
        tenant_in(&self.read(), tenant)?;
        let now_s = self.now_s();
        let total = self.meter.with_receipt(tenant, now_s, Instant::now());
        let write = Transaction {
            puts: vec![Record::Usage(total.clone())],
            known_good_time_s: Some(self.reached_s()),
            ..Transaction::default()
        };
        if let Err(error) = self.store().commit(write).await {
            self.meter.not_written(&[total]);
            return Err(store_error(error));
        }
        let usage = ReceiptClaims {
            iss: self.config().node.name.to_string(),
            tenant: tenant.clone(),
            serial: total.receipts,
            since: total.since_s,
            iat: now_s,
            requests: total.requests,
            request_body_bytes: total.request_body_bytes,
            response_body_bytes: total.response_body_bytes,
            cpu_ms: total.cpu_us / 1000,
            memory_mib_s: total.memory_kib_ms / (1024 * 1000),
        };
        Ok(Receipt {
            receipt: receipt::sign(&self.meter.key, &usage),
            key: self.meter.key.public(),
            usage,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme(requests: u64, memory_bytes: u64) -> WorkerReport {
        let counts = TenantCounts {
            tenant: "acme".into(),
            requests,
            cpu_us: 10 * requests,
            memory_bytes,
            ..TenantCounts::default()
        };
        WorkerReport {
            tenants: vec![counts],
            ..WorkerReport::default()
        }
    }

    fn everybody(_: &TenantName) -> bool {
        true
    }

    #[test]
    fn memory_counts_for_as_long_as_it_is_held_and_totals_are_written_once() {
        let keys = tempfile::tempdir().unwrap();
        let meter = Meter::open(keys.path(), Vec::new()).unwrap();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        meter.report(&acme(3, 2 << 20), everybody, true, 100, at(0));
        meter.report(&acme(1, 4 << 20), everybody, true, 101, at(10));
        let written = meter.to_write(everybody, None, at(15));
        let [total] = written.as_slice() else {
            panic!("{written:?}")
        };
        assert_eq!((total.requests, total.cpu_us, total.since_s), (4, 40, 100));
        // 10 s of 2 MiB, 5 s of 4 MiB.
        assert_eq!(total.memory_kib_ms, 40 * 1024 * 1000);
        // It holds memory still, and is written no second time in one go.
        let acme_name: TenantName = "acme".parse().unwrap();
        assert_eq!(meter.to_write(everybody, Some(&acme_name), at(16)), []);
        meter.worker_gone(at(16));
        assert_eq!(meter.to_write(everybody, None, at(20)).len(), 1);
        assert_eq!(meter.to_write(everybody, None, at(500)), []);
        meter.not_written(&written);
        assert_eq!(meter.to_write(everybody, None, at(500)).len(), 1);
        assert_eq!(meter.to_write(|_| false, None, at(500)), []);
    }

    #[test]
    fn totals_go_on_from_what_was_written_under_the_same_key() {
        let keys = tempfile::tempdir().unwrap();
        let first = Meter::open(keys.path(), Vec::new()).unwrap();
        let now = Instant::now();
        first.report(&acme(3, 0), everybody, true, 100, now);
        let acme_name: TenantName = "acme".parse().unwrap();
        let record = first.with_receipt(&acme_name, 7, now);
        let revised = Revised {
            revision: 1,
            record,
        };
        let second = Meter::open(keys.path(), vec![revised]).unwrap();
        assert_eq!(first.key.kid(), second.key.kid());
        second.report(&acme(2, 0), everybody, true, 200, now);
        let total = second.with_receipt(&acme_name, 7, now);
        assert_eq!((total.requests, total.receipts, total.since_s), (5, 2, 100));
        second.forget(&acme_name);
        assert_eq!(second.with_receipt(&acme_name, 7, now).since_s, 7);
    }
}
