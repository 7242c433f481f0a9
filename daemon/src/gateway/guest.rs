//! The guest of one request: when it may run, for how long, and how it is ended.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::compute::{Away, Compute, Habit, Returned, over, thread_cpu_time};
use super::exchange::{Exchange, Timer};
use super::log::RequestLog;
use crate::engine::{GuestEnd, Instances, Remains, Running, Serving, Slice};
use crate::link::flight::guest_runs;
use crate::quota::{Admission, Charge, Direction, Refusal, RunQueue, Turn};

/// What a guest may use on the thread of its connection before it goes on on those for guests that compute.
const FIRST_SLICE: Duration = Duration::from_millis(1);

/// A guest at work on one request, with all that it was admitted with.
pub(super) struct Guest {
    work: Work,
    admission: Arc<Admission>,
    turn: Turn,
    slice: Arc<Slice>,
    compute: Arc<Compute>,
    habit: Arc<Habit>,
    instances: Option<Arc<Instances>>,
    exchange: Arc<Exchange>,
    /// CPU time so far.
    used: Duration,
    /// Its last slice was interrupted: it computes, and is measured the careful way.
    computes: bool,
    was_away: bool,
    sent_bytes: u64,
    deadline: Timer,
    /// Until its tenant has CPU time again, or may send again.
    pause: Timer,
    log: Arc<RequestLog>,
    _running: Running,
    _buffers: Charge,
}

/// Where the guest is.
enum Work {
    /// Here, to be polled by whoever polls this.
    Here(Serving),
    /// On the threads for guests that compute.
    Away(Away),
    /// Ended on those threads, and not yet in its tenant's books.
    Remains(Remains),
    /// Nowhere: it ended or was ended.
    Over,
}

/// What a guest is made with besides its admission.
pub(super) struct GuestParts {
    pub(super) serving: Serving,
    pub(super) slice: Arc<Slice>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) compute: Arc<Compute>,
    pub(super) habit: Arc<Habit>,
    pub(super) instances: Option<Arc<Instances>>,
    pub(super) log: Arc<RequestLog>,
    pub(super) running: Running,
    pub(super) buffers: Charge,
}

impl Guest {
    pub(super) fn new(parts: GuestParts, admission: Admission, queue: &Arc<RunQueue>) -> Self {
        let GuestParts {
            serving,
            slice,
            exchange,
            compute,
            habit,
            instances,
            log,
            running,
            buffers,
        } = parts;
        Self {
            turn: Turn::new(queue, admission.tenant().cpu()),
            work: Work::Here(serving),
            slice,
            computes: habit.computes(),
            was_away: false,
            compute,
            habit,
            instances,
            admission: Arc::new(admission),
            exchange,
            used: Duration::ZERO,
            sent_bytes: 0,
            deadline: Timer::default(),
            pause: Timer::default(),
            log,
            _running: running,
            _buffers: buffers,
        }
    }

    /// Lets the guest run until it waits, if it is its turn. Ready once, when it has ended; pending for ever after.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<GuestEnd> {
        if let Work::Away(away) = &mut self.work {
            match ready!(away.poll(cx)) {
                Returned::Ended(mut end, used) => {
                    self.used = used;
                    self.work = Work::Over;
                    self.let_rest(&mut end);
                    if let Some(remains) = end.remains.take() {
                        self.work = Work::Remains(remains);
                        if end.result.is_ok() {
                            self.stop();
                        }
                    }
                    return Poll::Ready(end);
                }
                Returned::Back(serving, used) => {
                    self.used = used;
                    self.work = Work::Here(serving);
                    // Without CPU time it was interrupted, and will go on computing.
                    self.computes = self.admission.tenant().cpu().wait(Instant::now()).is_some();
                }
            }
        }
        self.poll_here(cx)
    }

    fn poll_here(&mut self, cx: &mut Context<'_>) -> Poll<GuestEnd> {
        if !matches!(self.work, Work::Here(_)) {
            return Poll::Pending;
        }
        let began = Instant::now();
        ready!(self.poll_cpu(cx, began));
        if self.computes || self.compute.comes_before(self.admission.tenant().cpu()) {
            return self.go_away(cx);
        }
        ready!(self.turn.poll(cx, began));
        let Work::Here(serving) = &mut self.work else {
            return Poll::Pending;
        };
        self.slice.go_on(cx.waker());
        let cpu_before = (self.used >= FIRST_SLICE / 2).then(thread_cpu_time);
        let runs = guest_runs(self.admission.tenant().mark());
        let end = serving.as_mut().poll(cx);
        drop(runs);
        let interrupted = self.slice.take_interrupted() && end.is_pending();
        let now = Instant::now();
        let mut ran = now - began;
        if let Some(before) = cpu_before {
            // Less than what passed where the kernel let others run on this core.
            ran = ran.min(thread_cpu_time().saturating_sub(before));
        }
        self.used += ran;
        let over = over(&self.admission, self.used);
        self.computes = interrupted && self.used >= FIRST_SLICE;
        let lines_up = interrupted && !self.computes && over.is_none();
        self.turn.ran(ran, lines_up, cx.waker(), now);
        if let Poll::Ready(mut end) = end {
            self.work = Work::Over;
            self.let_rest(&mut end);
            return Poll::Ready(end);
        }
        if let Some(end) = over {
            self.stop();
            return Poll::Ready(end);
        }
        if self.computes {
            self.habit.computed();
            return self.poll_here(cx);
        }
        Poll::Pending
    }

    /// The instance of a guest that ended well is there for the next request, before this one's answer is out.
    fn let_rest(&self, end: &mut GuestEnd) {
        if let (Some(instances), Some(live)) = (&self.instances, end.live.take()) {
            instances.put(live, Instant::now());
        }
    }

    /// Moves the guest to the threads for those that compute.
    fn go_away(&mut self, cx: &mut Context<'_>) -> Poll<GuestEnd> {
        self.turn.leave();
        self.computes = false;
        self.was_away = true;
        if let Work::Here(serving) = std::mem::replace(&mut self.work, Work::Over) {
            let away =
                self.compute
                    .take(serving, self.used, &self.admission, &self.slice, cx.waker());
            self.work = Work::Away(away);
        }
        Poll::Pending
    }

    /// Ends the guest where it is.
    fn stop(&mut self) {
        self.turn.leave();
        match std::mem::replace(&mut self.work, Work::Over) {
            Work::Here(serving) if self.was_away => self.compute.bury(Remains::of(serving)),
            Work::Remains(remains) => self.compute.bury(remains),
            Work::Here(_) | Work::Away(_) | Work::Over => {}
        }
    }

    /// Ready when the guest's tenant has CPU time left.
    fn poll_cpu(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let Some(wait) = self.admission.tenant().cpu().wait(now) else {
            return Poll::Ready(());
        };
        self.turn.leave();
        self.pause.poll_after(wait, now, cx)
    }

    /// The moment by which the last response byte must be out.
    pub(super) fn deadline(&self) -> Instant {
        self.admission.deadline()
    }

    /// Whether that is past.
    pub(super) fn is_overdue(&self) -> bool {
        Instant::now() >= self.deadline()
    }

    /// Whether the guest ran to its end.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.work, Work::Over | Work::Remains(_))
    }

    /// Ready once the response's head is overdue.
    pub(super) fn poll_head_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.admission.head_deadline();
        self.deadline.poll_at(at, cx)
    }

    /// Ready once the response is overdue or nothing has moved for too long; gives which.
    pub(super) fn poll_stream_timeout(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<(Refusal, &'static str)> {
        let idle_max = Duration::from_millis(self.admission.limits().stream_idle_ms_max);
        let idle_at = self.exchange.moved_at() + idle_max;
        let deadline = self.deadline();
        ready!(self.deadline.poll_at(deadline.min(idle_at), cx));
        Poll::Ready(if deadline <= idle_at {
            (Refusal::Deadline, "the response was not out in time")
        } else {
            (Refusal::Idle, "nothing moved for too long")
        })
    }

    /// Ready while the tenant may send, or the deadline is past.
    pub(super) fn poll_pace(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        match self.admission.tenant().body_wait(Direction::Response, now) {
            None => Poll::Ready(()),
            Some(wait) => {
                // The deadline ends the wait too.
                let left = self.deadline().saturating_duration_since(now);
                self.pause.poll_after(wait.min(left), now, cx)
            }
        }
    }

    /// Response body bytes so far.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Counts response body bytes; ends the guest where they are too many.
    pub(super) fn sends(&mut self, bytes: u64) -> Result<(), Refusal> {
        let now = Instant::now();
        self.exchange.moved(now);
        self.admission
            .tenant()
            .moved(Direction::Response, bytes, now);
        let sent = self.admission.sends(&mut self.sent_bytes, bytes);
        sent.inspect_err(|refusal| {
            let most = self.admission.limits().response_body_bytes_max;
            self.fail(
                *refusal,
                &format!("the response body is larger than {most} bytes"),
            );
        })
    }

    /// Ends the guest's request in its tenant's books.
    pub(super) fn fail(&mut self, refusal: Refusal, why: &str) {
        self.stop();
        let tenant = self.admission.tenant();
        tenant.refused(refusal);
        self.log.node(&format!("{}: {why}", refusal.reason()));
        if refusal.is_failure()
            && let Some(rest) = tenant.failed(Instant::now())
        {
            let rest_s = rest.as_secs();
            self.log.node(&format!(
                "quarantined: too many guests failed in a row; the next request is taken in {rest_s} s"
            ));
            tracing::warn!(
                tenant = &**tenant.name(),
                module = &*self.log.module,
                reason = refusal.reason(),
                rest_s,
                "a tenant's guests failed over and over; it rests"
            );
        }
    }

    /// The response is out and the guest at its end.
    pub(super) fn went_well(&self) {
        self.admission.tenant().went_well();
    }

    /// The limits it was admitted with.
    pub(super) fn response_header_bytes_max(&self) -> u64 {
        self.admission.limits().response_header_bytes_max
    }

    /// Whether the client sent more than it may.
    pub(super) fn is_request_over(&self) -> bool {
        self.exchange.is_request_over()
    }

    /// What it takes to run on after the response is out: until it ends or its deadline comes.
    pub(super) async fn run_on(mut self) {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(end) = self.poll_end(cx) {
                if end.result.is_err() {
                    let (refusal, why) = end.refusal();
                    self.fail(refusal, &why);
                } else {
                    self.went_well();
                }
                return Poll::Ready(());
            }
            let at = self.deadline();
            ready!(self.deadline.poll_at(at, cx));
            self.fail(
                Refusal::Deadline,
                "the guest still ran after its response was out",
            );
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Interrupted or not: whoever used so much is not what others should wait for.
        if self.used < FIRST_SLICE / 2 {
            self.habit.did_not();
        } else {
            self.habit.computed();
        }
        self.stop();
    }
}
