//! Whose guest runs next on a thread: fair by tenant, not by request.
//!
//! Takes guests that want to run and what each ran; promises that while guests of several tenants want to run, the
//! tenant that is furthest behind its share goes next, that a thread is never idle while somebody wants to run, and
//! that a guest which nobody competes with runs at once. A queue belongs to one thread, so that its lock is never
//! waited for. Polls no guest itself: it wakes the task that does.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::cpu::{CpuAccount, VirtualClock};

/// After another tenant's guest ran, guests line up for this long instead of running as they come.
const CONTENDED_FOR: Duration = Duration::from_millis(10);
/// A turn that is not used by then passes to the next: its task has something else to wait for.
const UNUSED_FOR_MAX: Duration = Duration::from_millis(5);

/// The guests of one thread that want to run.
#[derive(Debug)]
pub struct RunQueue {
    state: Mutex<State>,
    due: Notify,
    clock: Arc<VirtualClock>,
}

#[derive(Debug)]
struct State {
    next_guest: u64,
    /// Who may run: from being granted its turn until it has run.
    holder: Option<Holder>,
    /// By the address of their account, which lives as long as the entry.
    tenants: HashMap<usize, Waiting>,
    /// Tenants that wait, by virtual time as it was when they were put here: it only grows.
    order: BinaryHeap<Reverse<(u64, usize)>>,
    /// A call to [`RunQueue::grant`] is on its way.
    dispatching: bool,
    last_tenant: usize,
    contended_until: Instant,
    last_ran: Option<Instant>,
}

#[derive(Debug)]
struct Holder {
    guest: u64,
    since: Instant,
}

#[derive(Debug)]
struct Waiting {
    account: Arc<CpuAccount>,
    guests: VecDeque<(u64, Waker)>,
}

/// One guest's part in its thread's queue.
#[derive(Debug)]
pub struct Turn {
    queue: Arc<RunQueue>,
    account: Arc<CpuAccount>,
    guest: u64,
    wants_to_run: bool,
}

impl RunQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(clock: Arc<VirtualClock>, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                next_guest: 0,
                holder: None,
                tenants: HashMap::new(),
                order: BinaryHeap::new(),
                dispatching: false,
                last_tenant: 0,
                contended_until: now,
                last_ran: None,
            }),
            due: Notify::new(),
            clock,
        })
    }

    /// Hands out turns for as long as the thread lives; runs as a task of its own on that thread.
    ///
    /// # Cancel safety
    /// Whoever waits then waits for ever.
    pub async fn dispatch(self: Arc<Self>) -> std::convert::Infallible {
        loop {
            self.due.notified().await;
            // Behind every task that can run now and one look at the sockets: whoever wants to run has said so then.
            tokio::task::yield_now().await;
            self.grant(Instant::now());
        }
    }

    /// Gives the turn to whoever is furthest behind, if it is free.
    pub fn grant(&self, now: Instant) {
        let mut state = self.state();
        state.dispatching = false;
        state.pass_on(&self.clock, now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pass_on(&mut self, clock: &VirtualClock, now: Instant) {
        if self.holder.is_some() {
            return;
        }
        while let Some(Reverse((queued_ns, key))) = self.order.pop() {
            let Some(waiting) = self.tenants.get_mut(&key) else {
                continue;
            };
            let virtual_ns = waiting.account.virtual_ns();
            if virtual_ns > queued_ns {
                // Its guests ran meanwhile, here or on other threads.
                self.order.push(Reverse((virtual_ns, key)));
                continue;
            }
            let Some((guest, waker)) = waiting.guests.pop_front() else {
                self.tenants.remove(&key);
                continue;
            };
            if waiting.guests.is_empty() {
                self.tenants.remove(&key);
            } else {
                self.order.push(Reverse((virtual_ns, key)));
            }
            clock.advance(virtual_ns);
            self.holder = Some(Holder { guest, since: now });
            waker.wake();
            return;
        }
    }

    fn line_up(&mut self, account: &Arc<CpuAccount>, guest: u64, waker: Waker) {
        let key = key(account);
        let order = &mut self.order;
        let waiting = self.tenants.entry(key).or_insert_with(|| {
            order.push(Reverse((account.virtual_ns(), key)));
            Waiting {
                account: Arc::clone(account),
                guests: VecDeque::new(),
            }
        });
        match waiting.guests.iter_mut().find(|(other, _)| *other == guest) {
            Some((_, known)) => *known = waker,
            None => waiting.guests.push_back((guest, waker)),
        }
    }

    /// Whether a grant must be asked for, because nobody has the turn and none is on its way.
    fn must_dispatch(&mut self) -> bool {
        let must = self.holder.is_none() && !self.tenants.is_empty() && !self.dispatching;
        self.dispatching |= must;
        must
    }

    fn is_contended(&self, key: usize, now: Instant) -> bool {
        now < self.contended_until || (key != self.last_tenant && self.ran_lately(now))
    }

    fn ran_lately(&self, now: Instant) -> bool {
        self.last_ran.is_some_and(|last| now < last + CONTENDED_FOR)
    }

    fn has_turn(&self, guest: u64) -> bool {
        self.holder
            .as_ref()
            .is_some_and(|holder| holder.guest == guest)
    }
}

fn key(account: &Arc<CpuAccount>) -> usize {
    Arc::as_ptr(account).addr()
}

impl Turn {
    /// A guest that does not want to run yet.
    #[must_use]
    pub fn new(queue: &Arc<RunQueue>, account: &Arc<CpuAccount>) -> Self {
        let mut state = queue.state();
        state.next_guest += 1;
        let guest = state.next_guest;
        drop(state);
        Self {
            queue: Arc::clone(queue),
            account: Arc::clone(account),
            guest,
            wants_to_run: false,
        }
    }

    /// Ready when the guest may run; it must then run, and [`Turn::ran`] be called. Pending otherwise, to be woken.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let mut state = self.queue.state();
        if state.has_turn(self.guest) {
            return Poll::Ready(());
        }
        if !self.wants_to_run {
            // Among those who wait here it is at least as far as the one furthest behind.
            let behind_ns = state.order.peek().map(|Reverse((queued_ns, _))| *queued_ns);
            self.account
                .wants_to_run(behind_ns.unwrap_or_else(|| self.queue.clock.now_ns()));
            self.wants_to_run = true;
        }
        if state
            .holder
            .as_ref()
            .is_some_and(|holder| now >= holder.since + UNUSED_FOR_MAX)
        {
            state.holder = None;
        }
        let key = key(&self.account);
        if state.holder.is_none() && state.tenants.is_empty() && !state.is_contended(key, now) {
            state.holder = Some(Holder {
                guest: self.guest,
                since: now,
            });
            self.queue.clock.advance(self.account.virtual_ns());
            return Poll::Ready(());
        }
        state.line_up(&self.account, self.guest, cx.waker().clone());
        if state.must_dispatch() {
            self.queue.due.notify_one();
        }
        Poll::Pending
    }

    /// The guest ran: its time is charged. If it was interrupted it lines up again, and `waker` is woken when its turn
    /// comes.
    pub fn ran(&mut self, ran: Duration, interrupted: bool, waker: &Waker, now: Instant) {
        self.account.charge(ran, now);
        let mut state = self.queue.state();
        if state.has_turn(self.guest) {
            state.holder = None;
        }
        let key = key(&self.account);
        if key != state.last_tenant {
            if state.ran_lately(now) {
                state.contended_until = now + CONTENDED_FOR;
            }
            state.last_tenant = key;
        }
        state.last_ran = Some(now);
        if interrupted {
            state.line_up(&self.account, self.guest, waker.clone());
        } else {
            self.wants_to_run = false;
            self.account.rests();
            // Whoever waits needs no look at the sockets first: nobody computed for long.
            if !state.dispatching {
                state.pass_on(&self.queue.clock, now);
            }
        }
        if state.must_dispatch() {
            self.queue.due.notify_one();
        }
    }

    /// Gives up wanting to run, and the turn if it has come.
    pub fn leave(&mut self) {
        if !self.wants_to_run {
            return;
        }
        self.wants_to_run = false;
        self.account.rests();
        let mut state = self.queue.state();
        let key = key(&self.account);
        if state.has_turn(self.guest) {
            state.holder = None;
        } else if let Some(waiting) = state.tenants.get_mut(&key) {
            waiting.guests.retain(|(guest, _)| *guest != self.guest);
            if waiting.guests.is_empty() {
                state.tenants.remove(&key);
            }
        }
        if state.must_dispatch() {
            self.queue.due.notify_one();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;
    use crate::quota::cpu::CpuBounds;

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// A thread whose clock the test turns: guests that want to run for ever, each interrupted after its slice.
    struct Thread {
        queue: Arc<RunQueue>,
        now: Instant,
        /// Whose task is polled next: tasks that were woken are polled in turn.
        next: usize,
    }

    struct Guest {
        turn: Turn,
        woken: Arc<Woken>,
        tenant: usize,
    }

    impl Thread {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                queue: RunQueue::new(Arc::default(), now),
                now,
                next: 0,
            }
        }

        fn account(&self, share: u64) -> Arc<CpuAccount> {
            let bounds = CpuBounds {
                share,
                ms_per_s_max: 1_000_000,
                burst_ms_max: 1_000_000,
            };
            Arc::new(CpuAccount::new(bounds, self.now))
        }

        fn guest(&self, account: &Arc<CpuAccount>, tenant: usize) -> Guest {
            Guest {
                turn: Turn::new(&self.queue, account),
                woken: Arc::new(Woken(AtomicBool::new(true))),
                tenant,
            }
        }

        /// One slice of whoever is woken and has the turn; which tenant's that was.
        fn turn(&mut self, guests: &mut [Guest], slice: Duration, interrupted: bool) -> usize {
            loop {
                for _ in 0..guests.len() {
                    let at = self.next % guests.len();
                    self.next = at + 1;
                    let guest = &mut guests[at];
                    if !guest.woken.0.swap(false, Ordering::Relaxed) {
                        continue;
                    }
                    let waker = Waker::from(Arc::clone(&guest.woken));
                    let polled = guest.turn.poll(&mut Context::from_waker(&waker), self.now);
                    if polled.is_ready() {
                        self.now += slice;
                        guest.turn.ran(slice, interrupted, &waker, self.now);
                        if !interrupted {
                            guest.woken.0.store(true, Ordering::Relaxed);
                        }
                        return guest.tenant;
                    }
                }
                self.queue.grant(self.now);
            }
        }
    }

    /// How often each of three tenants came, `guests` of them each.
    fn turns(shares: [u64; 3], guests: [usize; 3], interrupted: bool) -> [u64; 3] {
        let mut thread = Thread::new();
        let mut all = Vec::new();
        for (tenant, (share, guests)) in shares.into_iter().zip(guests).enumerate() {
            let account = thread.account(share);
            all.extend((0..guests).map(|_| thread.guest(&account, tenant)));
        }
        let mut turns = [0; 3];
        for _ in 0..7000 {
            turns[thread.turn(&mut all, Duration::from_millis(2), interrupted)] += 1;
        }
        turns
    }

    #[test]
    fn shares_of_one_two_and_four_come_out_so() {
        let turns = turns([100, 200, 400], [3, 2, 1], true);
        for (turns, due) in turns.into_iter().zip([1000_u64, 2000, 4000]) {
            assert!(turns.abs_diff(due) <= 3, "{turns} of {due}");
        }
    }

    #[test]
    fn many_guests_get_their_tenant_no_more() {
        let turns = turns([100, 100, 100], [50, 1, 1], true);
        assert!(
            turns.iter().all(|turns| turns.abs_diff(2333) <= 3),
            "{turns:?}"
        );
    }

    #[test]
    fn short_requests_share_too() {
        let turns = turns([100, 100, 100], [50, 2, 2], false);
        assert!(
            turns.iter().all(|turns| turns.abs_diff(2333) <= 2333 / 50),
            "{turns:?}"
        );
    }

    #[test]
    fn who_was_idle_goes_first_and_earned_nothing() {
        let mut thread = Thread::new();
        let (busy, idle) = (thread.account(100), thread.account(100));
        let mut guests = vec![thread.guest(&busy, 0)];
        let slice = Duration::from_millis(2);
        for _ in 0..1000 {
            thread.turn(&mut guests, slice, true);
        }
        guests.push(thread.guest(&idle, 1));
        let turns: Vec<_> = (0..10)
            .map(|_| thread.turn(&mut guests, slice, true))
            .collect();
        assert!(turns[..2].contains(&1), "{turns:?}");
        let of_idle = turns.iter().filter(|tenant| **tenant == 1).count();
        assert!((4..=6).contains(&of_idle), "{turns:?}");
    }

    #[test]
    fn nobody_waits_alone() {
        let thread = Thread::new();
        let account = thread.account(1);
        let mut guest = thread.guest(&account, 0);
        for _ in 0..100 {
            let waker = Waker::noop();
            let polled = guest.turn.poll(&mut Context::from_waker(waker), thread.now);
            assert!(polled.is_ready());
            guest
                .turn
                .ran(Duration::from_micros(50), false, waker, thread.now);
        }
    }

    #[test]
    fn a_turn_that_is_not_used_passes_on() {
        let mut thread = Thread::new();
        let (lost, other) = (thread.account(100), thread.account(100));
        let mut first = thread.guest(&lost, 0);
        let waker = Waker::noop();
        let mut cx = Context::from_waker(waker);
        assert!(first.turn.poll(&mut cx, thread.now).is_ready());
        let mut second = thread.guest(&other, 1);
        assert!(second.turn.poll(&mut cx, thread.now).is_pending());
        thread.now += UNUSED_FOR_MAX;
        assert!(second.turn.poll(&mut cx, thread.now).is_pending());
        thread.queue.grant(thread.now);
        assert!(second.turn.poll(&mut cx, thread.now).is_ready());
    }

    proptest! {
        /// Guests come, run, are interrupted, finish and vanish in any order: while anybody wants to run, somebody
        /// gets the turn.
        #[test]
        fn the_turn_never_gets_lost(steps in prop::collection::vec((0usize..6, 0u8..5), 1..300)) {
            let mut thread = Thread::new();
            let accounts = [thread.account(1), thread.account(100), thread.account(10_000)];
            let mut guests: Vec<_> = (0..6).map(|at| thread.guest(&accounts[at % 3], at % 3)).collect();
            for (at, what) in steps {
                match what {
                    0 => guests[at] = thread.guest(&accounts[at % 3], at % 3),
                    1 => {
                        guests[at].turn.leave();
                        guests[at].woken.0.store(true, Ordering::Relaxed);
                    }
                    2 => thread.now += UNUSED_FOR_MAX,
                    // Either ends, or the test hangs: the turn was lost.
                    _ => drop(thread.turn(&mut guests, Duration::from_millis(1), what == 3)),
                }
            }
            for account in &accounts {
                let wanting = guests.iter().filter(|guest| guest.turn.wants_to_run && Arc::ptr_eq(&guest.turn.account, account));
                prop_assert_eq!(account.state_runnable(), wanting.count() as u64);
            }
        }
    }
}
