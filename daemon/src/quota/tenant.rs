//! One tenant in a worker: its limits, what it uses, what it has used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::{Refusal, TokenBucket};
use crate::link::flight::TenantMark;
use crate::link::{TenantCounts, TenantLimits};

/// Upper bounds of the request duration histogram, in seconds; one more bucket is above them all.
pub const DURATION_BUCKETS_S: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// A tenant as long as a worker knows it: limits are replaced, counts stay.
pub struct Tenant {
    name: Arc<str>,
    mark: TenantMark,
    limits: ArcSwap<TenantLimits>,
    counts: Counts,
    log: Mutex<TokenBucket>,
    /// Nothing is admitted before.
    rests_until: Mutex<Option<Instant>>,
    /// Linear memory of its live instances, in bytes.
    pub memory_bytes: Arc<AtomicU64>,
}

#[derive(Default)]
struct Counts {
    concurrent: AtomicU64,
    requests: AtomicU64,
    refusals: [AtomicU64; Refusal::ALL.len()],
    request_body_bytes: AtomicU64,
    response_body_bytes: AtomicU64,
    cpu_us: AtomicU64,
    log_bytes_dropped: AtomicU64,
    duration_buckets: [AtomicU64; DURATION_BUCKETS_S.len() + 1],
    duration_sum_us: AtomicU64,
    status_classes: [AtomicU64; 5],
}

/// One admitted request: what it took is given back on drop.
pub struct Admission {
    tenant: Arc<Tenant>,
    limits: Arc<TenantLimits>,
    admitted_at: Instant,
    deadline: Instant,
    body_bytes: u64,
}

impl Tenant {
    /// A tenant that has used nothing yet.
    #[must_use]
    pub fn new(name: &str, limits: TenantLimits, now: Instant) -> Self {
        let log = Mutex::new(TokenBucket::full(limits.log_burst_bytes_max, now));
        Self {
            name: name.into(),
            mark: TenantMark::of(name),
            limits: ArcSwap::from_pointee(limits),
            counts: Counts::default(),
            log,
            rests_until: Mutex::default(),
            memory_bytes: Arc::default(),
        }
    }

    /// The operator's id.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// As the flight record has it.
    #[must_use]
    pub fn mark(&self) -> TenantMark {
        self.mark
    }

    /// What holds from the next request on; requests under way keep what they were admitted with.
    pub fn set_limits(&self, limits: TenantLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// Control says that the tenant is not served until then.
    pub fn rest_until(&self, until: Instant) {
        *self.rest() = Some(until);
    }

    fn rest(&self) -> MutexGuard<'_, Option<Instant>> {
        self.rests_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits one request, or says why not.
    ///
    /// `declared_body_bytes` is `Content-Length`, where there is one.
    ///
    /// # Errors
    /// [`Refusal::Suspended`], [`Refusal::Quarantined`], [`Refusal::Body`] or [`Refusal::Concurrency`], counted here.
    pub fn admit(
        self: &Arc<Self>,
        declared_body_bytes: Option<u64>,
        now: Instant,
    ) -> Result<Admission, Refusal> {
        let limits = self.limits.load_full();
        let refused = if limits.suspended {
            Some(Refusal::Suspended)
        } else if self.rest().is_some_and(|until| now < until) {
            Some(Refusal::Quarantined)
        } else if declared_body_bytes.is_some_and(|bytes| bytes > limits.request_body_bytes_max) {
            Some(Refusal::Body)
        } else {
            self.take_place(limits.concurrent_requests_max).err()
        };
        if let Some(refusal) = refused {
            self.refused(refusal);
            return Err(refusal);
        }
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let deadline = now + Duration::from_millis(limits.request_deadline_ms_max);
        Ok(Admission {
            tenant: Arc::clone(self),
            limits,
            admitted_at: now,
            deadline,
            body_bytes: 0,
        })
    }

    fn take_place(&self, most: u64) -> Result<(), Refusal> {
        let taken = self.counts.concurrent.fetch_add(1, Ordering::Relaxed);
        if taken < most {
            return Ok(());
        }
        self.counts.concurrent.fetch_sub(1, Ordering::Relaxed);
        Err(Refusal::Concurrency)
    }

    /// Counts a refusal.
    pub fn refused(&self, refusal: Refusal) {
        if let Some(count) = self.counts.refusals.get(refusal.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts time that a guest ran.
    pub fn ran(&self, time: Duration) {
        self.counts
            .cpu_us
            .fetch_add(micros(time), Ordering::Relaxed);
    }

    /// Counts a response that goes out, a guest's or a refusal.
    pub fn responded(&self, status: u16) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = self.counts.status_classes.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How much of a log line may be kept: its length cut to the line limit, or `None` where the rate is used up,
    /// which is counted.
    #[must_use]
    pub fn log_allowance(&self, line_bytes: usize, now: Instant) -> Option<usize> {
        let limits = self.limits.load();
        let kept = line_bytes.min(usize::try_from(limits.log_line_bytes_max).unwrap_or(usize::MAX));
        let allowed = self
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(
                kept as u64,
                limits.log_bytes_per_s_max,
                limits.log_burst_bytes_max,
                now,
            );
        let dropped = if allowed {
            line_bytes - kept
        } else {
            line_bytes
        };
        if dropped > 0 {
            self.log_dropped(dropped);
        }
        allowed.then_some(kept)
    }

    /// Counts log bytes that went nowhere.
    pub fn log_dropped(&self, bytes: usize) {
        self.counts
            .log_bytes_dropped
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What happened since the last call, and how things stand; `None` where nothing did and nothing is live.
    #[must_use]
    pub fn report(&self) -> Option<TenantCounts> {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let counts = &self.counts;
        let refusals = Refusal::ALL
            .iter()
            .zip(&counts.refusals)
            .map(|(refusal, count)| (refusal.reason().to_owned(), take(count)))
            .filter(|(_, count)| *count > 0)
            .collect::<Vec<_>>();
        let report = TenantCounts {
            tenant: self.name.to_string(),
            requests: take(&counts.requests),
            refusals,
            request_body_bytes: take(&counts.request_body_bytes),
            response_body_bytes: take(&counts.response_body_bytes),
            cpu_us: take(&counts.cpu_us),
            concurrent_requests: counts.concurrent.load(Ordering::Relaxed),
            memory_bytes: self.memory_bytes.load(Ordering::Relaxed),
            log_bytes_dropped: take(&counts.log_bytes_dropped),
            duration_buckets: counts.duration_buckets.iter().map(take).collect(),
            duration_sum_us: take(&counts.duration_sum_us),
            status_classes: std::array::from_fn(|class| {
                counts.status_classes.get(class).map_or(0, take)
            }),
        };
        let idle = TenantCounts {
            tenant: report.tenant.clone(),
            duration_buckets: vec![0; report.duration_buckets.len()],
            ..TenantCounts::default()
        };
        (report != idle).then_some(report)
    }
}

impl Admission {
    /// Whose request it is.
    #[must_use]
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// What held when it was admitted.
    #[must_use]
    pub fn limits(&self) -> &TenantLimits {
        &self.limits
    }

    /// The moment by which the last response byte must be out.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Counts request body bytes.
    ///
    /// # Errors
    /// [`Refusal::Body`] once there are more than the tenant may send.
    pub fn took(tenant: &Tenant, so_far: &mut u64, bytes: u64, most: u64) -> Result<(), Refusal> {
        *so_far = so_far.saturating_add(bytes);
        if *so_far > most {
            return Err(Refusal::Body);
        }
        tenant
            .counts
            .request_body_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Counts response body bytes.
    ///
    /// # Errors
    /// [`Refusal::ResponseBody`] once there are more than the tenant may send.
    pub fn sends(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.body_bytes = self.body_bytes.saturating_add(bytes);
        if self.body_bytes > self.limits.response_body_bytes_max {
            return Err(Refusal::ResponseBody);
        }
        self.tenant
            .counts
            .response_body_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let counts = &self.tenant.counts;
        counts.concurrent.fetch_sub(1, Ordering::Relaxed);
        let took = self.admitted_at.elapsed();
        let bucket = DURATION_BUCKETS_S.partition_point(|bound| *bound < took.as_secs_f64());
        if let Some(count) = counts.duration_buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        counts
            .duration_sum_us
            .fetch_add(micros(took), Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> TenantLimits {
        TenantLimits {
            instance_memory_bytes_max: 1 << 20,
            request_deadline_ms_max: 1000,
            concurrent_requests_max: 2,
            request_body_bytes_max: 10,
            response_body_bytes_max: 10,
            log_bytes_per_s_max: 10,
            log_burst_bytes_max: 20,
            log_line_bytes_max: 8,
            suspended: false,
        }
    }

    #[test]
    fn a_place_is_given_back_when_the_admission_ends() {
        let now = Instant::now();
        let tenant = Arc::new(Tenant::new("acme", limits(), now));
        let first = tenant.admit(None, now).unwrap();
        let _second = tenant.admit(Some(10), now).unwrap();
        assert_eq!(tenant.admit(None, now).err(), Some(Refusal::Concurrency));
        drop(first);
        assert!(tenant.admit(None, now).is_ok());
        let report = tenant.report().unwrap();
        assert_eq!((report.requests, report.concurrent_requests), (3, 1));
        assert_eq!(report.refusals, [("concurrency".to_owned(), 1)]);
    }

    #[test]
    fn bodies_are_bounded_both_ways() {
        let now = Instant::now();
        let tenant = Arc::new(Tenant::new("acme", limits(), now));
        assert_eq!(tenant.admit(Some(11), now).err(), Some(Refusal::Body));
        let mut admission = tenant.admit(None, now).unwrap();
        let mut taken = 0;
        assert!(Admission::took(&tenant, &mut taken, 10, 10).is_ok());
        assert_eq!(
            Admission::took(&tenant, &mut taken, 1, 10),
            Err(Refusal::Body)
        );
        assert!(admission.sends(10).is_ok());
        assert_eq!(admission.sends(1), Err(Refusal::ResponseBody));
    }

    #[test]
    fn limits_change_for_the_next_request_and_not_for_those_under_way() {
        let now = Instant::now();
        let tenant = Arc::new(Tenant::new("acme", limits(), now));
        let under_way = tenant.admit(None, now).unwrap();
        tenant.set_limits(TenantLimits {
            suspended: true,
            request_deadline_ms_max: 5,
            ..limits()
        });
        assert_eq!(tenant.admit(None, now).err(), Some(Refusal::Suspended));
        assert_eq!(under_way.deadline(), now + Duration::from_secs(1));
    }

    #[test]
    fn log_lines_are_cut_and_then_dropped() {
        let now = Instant::now();
        let tenant = Tenant::new("acme", limits(), now);
        assert_eq!(tenant.log_allowance(5, now), Some(5));
        assert_eq!(tenant.log_allowance(100, now), Some(8));
        assert_eq!(tenant.log_allowance(8, now), None);
        assert_eq!(tenant.report().unwrap().log_bytes_dropped, 92 + 8);
        assert_eq!(tenant.report(), None);
    }
}
