//! One tenant in a worker: its limits, what it uses, what it has used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::{
    Budget, CpuAccount, CpuBounds, DebtBucket, OutboundAccount, Place, Places, Quarantine,
    RateState, Refusal, Refused, Taken, TenantMemory, TokenBucket,
};
use crate::link::flight::TenantMark;
use crate::link::{TenantCounts, TenantLimits};

/// Upper bounds of the request duration histogram, in seconds; one more bucket is above them all.
pub const DURATION_BUCKETS_S: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The node's own words about one tenant's guests, in bytes a second, and at once.
const WORD_BYTES_PER_S: u64 = 16 << 10;
const WORD_BURST_BYTES: u64 = 64 << 10;

/// A tenant as long as a worker knows it: limits are replaced, counts stay.
pub struct Tenant {
    name: Arc<str>,
    mark: TenantMark,
    limits: ArcSwap<TenantLimits>,
    counts: Counts,
    gate: Mutex<Gate>,
    places: Arc<Places>,
    cpu: Arc<CpuAccount>,
    memory: Arc<TenantMemory>,
    log: Mutex<TokenBucket>,
    words: Mutex<TokenBucket>,
    store_calls: Mutex<TokenBucket>,
    bodies: [Mutex<DebtBucket>; 2],
    connections: AtomicU64,
    outbound: Arc<OutboundAccount>,
}

/// What is looked at before a request is let in.
struct Gate {
    requests: TokenBucket,
    quarantine: Quarantine,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    refusals: [AtomicU64; Refusal::ALL.len()],
    request_body_bytes: AtomicU64,
    response_body_bytes: AtomicU64,
    log_bytes_dropped: AtomicU64,
    duration_buckets: [AtomicU64; DURATION_BUCKETS_S.len() + 1],
    duration_sum_us: AtomicU64,
    status_classes: [AtomicU64; 5],
}

impl Counts {
    fn are_zero(&self) -> bool {
        let alone = [
            &self.requests,
            &self.request_body_bytes,
            &self.response_body_bytes,
            &self.log_bytes_dropped,
            &self.duration_sum_us,
        ];
        alone
            .into_iter()
            .chain(&self.refusals)
            .chain(&self.duration_buckets)
            .chain(&self.status_classes)
            .all(|count| count.load(Ordering::Relaxed) == 0)
    }
}

/// Which way a body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Request,
    /// To the client.
    Response,
}

/// What a request asks for, as far as it is known from its head.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    /// Bytes of its target.
    pub url_bytes: u64,
    /// Bytes of its fields.
    pub header_bytes: u64,
    /// `Content-Length`, where there is one.
    pub body_bytes: Option<u64>,
    /// Priority classes below this are refused for now.
    pub shed_below_class: u64,
}

/// What a request gets that is not refused.
pub enum Entry {
    /// It may go on.
    Admitted(Admission),
    /// It may once there is a place.
    Queued(Queued),
}

/// A place in the queue; left by dropping it.
pub struct Queued {
    /// Gives the place when it is there.
    pub place: oneshot::Receiver<Place>,
    /// The longest wait for it.
    pub wait_max: Duration,
    tenant: Arc<Tenant>,
    limits: Arc<TenantLimits>,
}

/// One admitted request: what it took is given back on drop.
pub struct Admission {
    tenant: Arc<Tenant>,
    limits: Arc<TenantLimits>,
    admitted_at: Instant,
    deadline: Instant,
    _place: Place,
}

/// A connection on the account of the tenant whom its last request was for; taken off on drop.
pub struct Connected(Arc<Tenant>);

impl Tenant {
    /// A tenant that has used nothing yet. `shared` is the node's memory for guests.
    #[must_use]
    pub fn new(name: &str, limits: TenantLimits, shared: Arc<Budget>, now: Instant) -> Self {
        let rates = [
            limits.request_bytes_per_s_max,
            limits.response_bytes_per_s_max,
        ];
        Self {
            name: name.into(),
            mark: TenantMark::of(name),
            counts: Counts::default(),
            gate: Mutex::new(Gate {
                requests: TokenBucket::full(limits.requests_burst_max, now),
                quarantine: Quarantine::default(),
            }),
            places: Arc::default(),
            cpu: Arc::new(CpuAccount::new(cpu_bounds(&limits), now)),
            memory: Arc::new(TenantMemory::new(
                shared,
                limits.memory_bytes_max,
                limits.memory_guaranteed_bytes,
            )),
            log: Mutex::new(TokenBucket::full(limits.log_burst_bytes_max, now)),
            words: Mutex::new(TokenBucket::full(WORD_BURST_BYTES, now)),
            store_calls: Mutex::new(TokenBucket::full(limits.key_value_calls_per_s_max, now)),
            bodies: rates.map(|burst| Mutex::new(DebtBucket::full(burst, now))),
            connections: AtomicU64::new(0),
            outbound: Arc::default(),
            limits: ArcSwap::from_pointee(limits),
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

    /// Its CPU time.
    #[must_use]
    pub fn cpu(&self) -> &Arc<CpuAccount> {
        &self.cpu
    }

    /// The memory of its instances.
    #[must_use]
    pub fn memory(&self) -> &Arc<TenantMemory> {
        &self.memory
    }

    /// What its guests ask of others.
    #[must_use]
    pub fn outbound(&self) -> &Arc<OutboundAccount> {
        &self.outbound
    }

    /// What holds now.
    #[must_use]
    pub fn limits(&self) -> Arc<TenantLimits> {
        self.limits.load_full()
    }

    /// What holds from now on. Shares of CPU time and memory, rates and places hold for what is under way too; a
    /// request's own limits are those it was admitted with.
    pub fn set_limits(&self, limits: TenantLimits) {
        self.cpu.set_bounds(cpu_bounds(&limits));
        self.memory
            .set_bounds(limits.memory_bytes_max, limits.memory_guaranteed_bytes);
        let places = limits.concurrent_requests_max;
        self.limits.store(Arc::new(limits));
        self.places.set_most(places);
    }

    /// Control says that the tenant is not served until then.
    pub fn rest_until(&self, until: Instant) {
        self.gate().quarantine.rest_until(until);
    }

    /// Admits one request, queues it, or says why not; refusals are counted here.
    ///
    /// # Errors
    /// [`Refusal::Suspended`], [`Refusal::Pressure`], [`Refusal::Quarantined`], [`Refusal::Url`], [`Refusal::Header`], [`Refusal::Body`],
    /// [`Refusal::Rate`] or [`Refusal::Concurrency`].
    pub fn admit(self: &Arc<Self>, ask: Ask, now: Instant) -> Result<Entry, Refused> {
        let limits = self.limits.load_full();
        self.pass(&limits, ask, now)
            .and_then(|()| {
                match self
                    .places
                    .take(limits.concurrent_requests_max, limits.waiting_requests_max)
                {
                    Taken::Now(place) => Ok(Entry::Admitted(Admission::new(
                        Arc::clone(self),
                        Arc::clone(&limits),
                        place,
                        now,
                    ))),
                    Taken::Later(place) => Ok(Entry::Queued(Queued {
                        place,
                        wait_max: Duration::from_millis(limits.waiting_ms_max),
                        tenant: Arc::clone(self),
                        limits,
                    })),
                    Taken::Full => Err(Refusal::Concurrency.into()),
                }
            })
            .inspect_err(|refused| self.refused(refused.refusal))
    }

    /// All that is judged before places are.
    fn pass(&self, limits: &TenantLimits, ask: Ask, now: Instant) -> Result<(), Refused> {
        let refusal = if limits.suspended {
            Some(Refusal::Suspended)
        } else if limits.priority_class < ask.shed_below_class {
            Some(Refusal::Pressure)
        } else if ask.url_bytes > limits.url_bytes_max {
            Some(Refusal::Url)
        } else if ask.header_bytes > limits.request_header_bytes_max {
            Some(Refusal::Header)
        } else if ask
            .body_bytes
            .is_some_and(|bytes| bytes > limits.request_body_bytes_max)
        {
            Some(Refusal::Body)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Err(refusal.into());
        }
        let (rate, burst) = (limits.requests_per_s_max, limits.requests_burst_max);
        let mut gate = self.gate();
        if let Some(rest) = gate.quarantine.rest(now) {
            return Err(Refused {
                retry_after_s: Some(whole_seconds(rest)),
                ..Refusal::Quarantined.into()
            });
        }
        if gate.requests.take(1, rate, burst, now) {
            return Ok(());
        }
        Err(Refused {
            retry_after_s: Some(whole_seconds(gate.requests.wait(1, rate, now))),
            rate: Some(RateState {
                quota: burst,
                window_s: burst.div_ceil(rate.max(1)),
                remaining: gate.requests.tokens(),
                reset_s: whole_seconds(gate.requests.wait(burst, rate, now)),
            }),
            ..Refusal::Rate.into()
        })
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A guest was ended or trapped. Gives the length of the tenant's rest, if one begins with it.
    pub fn failed(&self, now: Instant) -> Option<Duration> {
        let in_a_row_max = self.limits.load().failures_in_a_row_max;
        self.gate().quarantine.failed(in_a_row_max, now)
    }

    /// A guest answered and ended well.
    pub fn went_well(&self) {
        self.gate().quarantine.went_well();
    }

    /// Counts a connection whose request is for this tenant.
    ///
    /// # Errors
    /// [`Refusal::Connections`], not counted here.
    pub fn connect(self: &Arc<Self>) -> Result<Connected, Refusal> {
        let most = self.limits.load().connections_max;
        let connected = Connected(Arc::clone(self));
        // Counted first, so that two that come at once do not both find the last place free.
        if self.connections.fetch_add(1, Ordering::Relaxed) < most {
            Ok(connected)
        } else {
            Err(Refusal::Connections)
        }
    }

    /// Charges body bytes that moved.
    pub fn moved(&self, direction: Direction, bytes: u64, now: Instant) {
        let rate = self.body_rate(direction);
        self.body(direction).charge(bytes, rate, rate, now);
    }

    /// How long until more of the tenant's bodies may move; `None` if some may now.
    #[must_use]
    pub fn body_wait(&self, direction: Direction, now: Instant) -> Option<Duration> {
        let rate = self.body_rate(direction);
        self.body(direction).wait(rate, rate, now)
    }

    fn body_rate(&self, direction: Direction) -> u64 {
        let limits = self.limits.load();
        match direction {
            Direction::Request => limits.request_bytes_per_s_max,
            Direction::Response => limits.response_bytes_per_s_max,
        }
    }

    fn body(&self, direction: Direction) -> MutexGuard<'_, DebtBucket> {
        let [request, response] = &self.bodies;
        let bucket = match direction {
            Direction::Request => request,
            Direction::Response => response,
        };
        bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a refusal.
    pub fn refused(&self, refusal: Refusal) {
        if let Some(count) = self.counts.refusals.get(refusal.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a response that goes out, a guest's or a refusal.
    pub fn responded(&self, status: u16) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = self.counts.status_classes.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a call of a key-value store or for variables; how long until the next is possible where there were too many.
    #[must_use]
    pub fn store_wait(&self, now: Instant) -> Option<Duration> {
        let rate = self.limits.load().key_value_calls_per_s_max;
        let mut calls = self
            .store_calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (!calls.take(1, rate, rate, now)).then(|| calls.wait(1, rate, now))
    }

    /// How much of a guest's log line may be kept: its length cut to the line limit, or `None` where the rate is used up,
    /// which is counted.
    #[must_use]
    pub fn log_allowance(&self, line_bytes: usize, now: Instant) -> Option<usize> {
        let limits = self.limits.load();
        let rate = (limits.log_bytes_per_s_max, limits.log_burst_bytes_max);
        self.line_allowance(&self.log, rate, &limits, line_bytes, now)
    }

    /// The same for the node's own words about the tenant's guests, which have a rate of their own: what a guest prints
    /// takes nothing from it.
    #[must_use]
    pub fn word_allowance(&self, line_bytes: usize, now: Instant) -> Option<usize> {
        let rate = (WORD_BYTES_PER_S, WORD_BURST_BYTES);
        self.line_allowance(&self.words, rate, &self.limits.load(), line_bytes, now)
    }

    fn line_allowance(
        &self,
        bucket: &Mutex<TokenBucket>,
        (rate, burst): (u64, u64),
        limits: &TenantLimits,
        line_bytes: usize,
        now: Instant,
    ) -> Option<usize> {
        let kept = line_bytes.min(usize::try_from(limits.log_line_bytes_max).unwrap_or(usize::MAX));
        let allowed = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(
            kept as u64,
            rate,
            burst,
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
    pub fn report(&self, now: Instant) -> Option<TenantCounts> {
        let (concurrent_requests, waiting_requests) = self.places.counts();
        let rest = self.gate().quarantine.rest(now).unwrap_or_default();
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let counts = &self.counts;
        // Most tenants of most nodes do nothing most of the time.
        let stands_still = concurrent_requests == 0
            && waiting_requests == 0
            && rest.is_zero()
            && self.connections.load(Ordering::Relaxed) == 0
            && self.memory.used_bytes() == 0
            && !self.cpu.has_used()
            && self.outbound.stands_still()
            && counts.are_zero();
        if stands_still {
            return None;
        }
        let refusals = Refusal::ALL
            .iter()
            .zip(&counts.refusals)
            .map(|(refusal, count)| (refusal.reason().to_owned(), take(count)))
            .filter(|(_, count)| *count > 0)
            .collect::<Vec<_>>();
        let outbound = self.outbound.take();
        let report = TenantCounts {
            tenant: self.name.to_string(),
            requests: take(&counts.requests),
            refusals,
            request_body_bytes: take(&counts.request_body_bytes),
            response_body_bytes: take(&counts.response_body_bytes),
            cpu_us: micros(self.cpu.take_used()),
            concurrent_requests,
            waiting_requests,
            connections: self.connections.load(Ordering::Relaxed),
            memory_bytes: self.memory.used_bytes(),
            quarantine_left_ms: u64::try_from(rest.as_millis()).unwrap_or(u64::MAX),
            log_bytes_dropped: take(&counts.log_bytes_dropped),
            outbound: outbound.outcomes,
            outbound_connections: outbound.connections,
            outbound_bytes: outbound.bytes,
            duration_buckets: counts.duration_buckets.iter().map(take).collect(),
            duration_sum_us: take(&counts.duration_sum_us),
            status_classes: std::array::from_fn(|class| {
                counts.status_classes.get(class).map_or(0, take)
            }),
        };
        Some(report)
    }
}

impl Queued {
    /// The admission that goes with the place.
    #[must_use]
    pub fn admitted(self, place: Place, now: Instant) -> Admission {
        Admission::new(self.tenant, self.limits, place, now)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connected {
    /// Whose connection it is.
    #[must_use]
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.0
    }
}

impl Admission {
    fn new(tenant: Arc<Tenant>, limits: Arc<TenantLimits>, place: Place, now: Instant) -> Self {
        tenant.counts.requests.fetch_add(1, Ordering::Relaxed);
        Self {
            deadline: now + Duration::from_millis(limits.request_deadline_ms_max),
            tenant,
            limits,
            admitted_at: now,
            _place: place,
        }
    }

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

    /// The moment by which the response's head must be there.
    #[must_use]
    pub fn head_deadline(&self) -> Instant {
        let head = Duration::from_millis(self.limits.response_head_ms_max);
        self.deadline.min(self.admitted_at + head)
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
    pub fn sends(&self, so_far: &mut u64, bytes: u64) -> Result<(), Refusal> {
        *so_far = so_far.saturating_add(bytes);
        if *so_far > self.limits.response_body_bytes_max {
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

fn cpu_bounds(limits: &TenantLimits) -> CpuBounds {
    CpuBounds {
        share: limits.cpu_share,
        ms_per_s_max: limits.cpu_ms_per_s_max,
        burst_ms_max: limits.cpu_burst_ms_max,
    }
}

/// Rounded up: whoever waits that long finds it done.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
