//! Sums that only rise. Additions stop at `u64::MAX` instead of wrapping: a worker's figures are outside data.

use std::time::Duration;

use prometheus::proto;

use crate::link::TenantCounts;
use crate::quota::{DURATION_BUCKETS_S, Outcome, Refusal};

pub(super) const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Durations in buckets.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    /// Upper bounds in seconds, rising.
    bounds_s: &'static [f64],
    /// One more than there are bounds: the last one is above them all.
    buckets: Box<[u64]>,
    sum_us: u64,
}

impl Histogram {
    pub(super) fn new(bounds_s: &'static [f64]) -> Self {
        Self {
            bounds_s,
            buckets: vec![0; bounds_s.len().saturating_add(1)].into(),
            sum_us: 0,
        }
    }

    pub(super) fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = self.bounds_s.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get_mut(at) {
            raise(bucket, 1);
        }
        raise(
            &mut self.sum_us,
            u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        );
    }

    /// Adds counts bucket by bucket; returns how many buckets were too many.
    pub(super) fn add(&mut self, buckets: &[u64], sum_us: u64) -> u64 {
        for (bucket, count) in self.buckets.iter_mut().zip(buckets) {
            raise(bucket, *count);
        }
        raise(&mut self.sum_us, sum_us);
        buckets.len().saturating_sub(self.buckets.len()) as u64
    }

    pub(super) fn to_proto(&self) -> proto::Histogram {
        let mut below = 0_u64;
        let buckets = self
            .bounds_s
            .iter()
            .zip(&self.buckets)
            .map(|(bound, count)| {
                raise(&mut below, *count);
                let mut bucket = proto::Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(below);
                bucket
            });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(
            self.buckets
                .iter()
                .fold(0, |sum, count| sum.saturating_add(*count)),
        );
        histogram.set_sample_sum(seconds(self.sum_us));
        histogram
    }
}

/// What one tenant, or several together, used.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) refusals: [u64; Refusal::ALL.len()],
    pub(super) request_body_bytes: u64,
    pub(super) response_body_bytes: u64,
    pub(super) cpu_us: u64,
    pub(super) log_bytes_dropped: u64,
    pub(super) worker_crashes: u64,
    pub(super) outbound: [u64; Outcome::ALL.len()],
    pub(super) outbound_connections: u64,
    /// Sent and received.
    pub(super) outbound_bytes: [u64; 2],
    pub(super) durations: Histogram,
    pub(super) status_classes: [u64; STATUS_CLASSES.len()],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            requests: 0,
            refusals: [0; Refusal::ALL.len()],
            request_body_bytes: 0,
            response_body_bytes: 0,
            cpu_us: 0,
            log_bytes_dropped: 0,
            worker_crashes: 0,
            outbound: [0; Outcome::ALL.len()],
            outbound_connections: 0,
            outbound_bytes: [0; 2],
            durations: Histogram::new(&DURATION_BUCKETS_S),
            status_classes: [0; STATUS_CLASSES.len()],
        }
    }
}

impl Counts {
    /// Adds one report; returns how many of its entries this node has no name for.
    pub(super) fn report(&mut self, report: &TenantCounts) -> u64 {
        raise(&mut self.requests, report.requests);
        raise(&mut self.request_body_bytes, report.request_body_bytes);
        raise(&mut self.response_body_bytes, report.response_body_bytes);
        raise(&mut self.cpu_us, report.cpu_us);
        raise(&mut self.log_bytes_dropped, report.log_bytes_dropped);
        raise_each(&mut self.status_classes, &report.status_classes);
        raise(&mut self.outbound_connections, report.outbound_connections);
        raise_each(&mut self.outbound_bytes, &report.outbound_bytes);
        let durations = self
            .durations
            .add(&report.duration_buckets, report.duration_sum_us);
        add_refusals(&mut self.refusals, &report.refusals)
            .saturating_add(add_outcomes(&mut self.outbound, &report.outbound))
            .saturating_add(durations)
    }

    /// Adds all of another.
    pub(super) fn add(&mut self, more: &Self) {
        raise(&mut self.requests, more.requests);
        raise_each(&mut self.refusals, &more.refusals);
        raise(&mut self.request_body_bytes, more.request_body_bytes);
        raise(&mut self.response_body_bytes, more.response_body_bytes);
        raise(&mut self.cpu_us, more.cpu_us);
        raise(&mut self.log_bytes_dropped, more.log_bytes_dropped);
        raise(&mut self.worker_crashes, more.worker_crashes);
        raise_each(&mut self.outbound, &more.outbound);
        raise(&mut self.outbound_connections, more.outbound_connections);
        raise_each(&mut self.outbound_bytes, &more.outbound_bytes);
        self.durations
            .add(&more.durations.buckets, more.durations.sum_us);
        raise_each(&mut self.status_classes, &more.status_classes);
    }
}

/// Adds refusals by reason; returns how many reasons are not on the list.
pub(super) fn add_refusals(
    sums: &mut [u64; Refusal::ALL.len()],
    refusals: &[(String, u64)],
) -> u64 {
    let mut unknown = 0;
    for (reason, count) in refusals {
        let listed = Refusal::ALL
            .iter()
            .find(|refusal| refusal.reason() == reason)
            .and_then(|refusal| sums.get_mut(refusal.index()));
        match listed {
            Some(sum) => raise(sum, *count),
            None => raise(&mut unknown, 1),
        }
    }
    unknown
}

/// Adds ends of outgoing requests; returns how many outcomes are not on the list.
fn add_outcomes(sums: &mut [u64; Outcome::ALL.len()], ended: &[(String, u64)]) -> u64 {
    let mut unknown = 0;
    for (name, count) in ended {
        let listed = Outcome::ALL.iter().zip(sums.iter_mut());
        match listed
            .into_iter()
            .find(|(outcome, _)| outcome.name() == name)
        {
            Some((_, sum)) => raise(sum, *count),
            None => raise(&mut unknown, 1),
        }
    }
    unknown
}

pub(super) fn raise(sum: &mut u64, by: u64) {
    *sum = sum.saturating_add(by);
}

fn raise_each(sums: &mut [u64], by: &[u64]) {
    for (sum, by) in sums.iter_mut().zip(by) {
        raise(sum, *by);
    }
}

/// Microseconds as Prometheus wants them.
pub(super) fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
