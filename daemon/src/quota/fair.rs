//! Guests that compute: whose runs next on the threads kept for them, fair by tenant over the whole worker.
//!
//! Takes jobs of tenants; promises that of the tenants that wait the one furthest behind its share goes next, whatever
//! number of jobs each has, and that a thread sleeps only while there is no job. Runs nothing itself. Requests that
//! compute little never come here: the lock is shared by all threads, but held for a few instructions a slice.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::cpu::{CpuAccount, VirtualClock};

/// How far a tenant may be ahead of those that wait here before its short requests line up here too, in nanoseconds of
/// virtual time.
const AHEAD_NS_MAX: u64 = 10_000_000;

/// Jobs by tenant, each tenant's in the order they came.
#[derive(Debug)]
pub struct FairQueue<T> {
    state: Mutex<State<T>>,
    work: Condvar,
    /// Virtual time of the tenant that is furthest behind of those here; `u64::MAX` where nobody is.
    behind_ns: AtomicU64,
    clock: Arc<VirtualClock>,
}

#[derive(Debug)]
struct State<T> {
    /// By the address of their account, which lives as long as the entry.
    tenants: HashMap<usize, Present<T>>,
    /// Tenants with jobs that wait, by virtual time as it was when they were put here: it only grows. One entry each.
    order: BinaryHeap<Reverse<(u64, usize)>>,
    /// Whose jobs run, once for each: no more than there are threads.
    running: Vec<Arc<CpuAccount>>,
    /// What goes before all jobs and is on nobody's account.
    first: VecDeque<T>,
    closed: bool,
}

#[derive(Debug)]
struct Present<T> {
    account: Arc<CpuAccount>,
    jobs: VecDeque<(u64, T)>,
    is_in_order: bool,
}

/// What a thread does next.
#[derive(Debug)]
pub enum Next<T> {
    /// A job that [`FairQueue::push_first`] put there.
    First(T),
    /// A job of the tenant with this account; [`FairQueue::again`] or [`FairQueue::done`] must follow.
    Job(Arc<CpuAccount>, u64, T),
}

impl<T> FairQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new(clock: Arc<VirtualClock>) -> Self {
        Self {
            state: Mutex::new(State {
                tenants: HashMap::new(),
                order: BinaryHeap::new(),
                running: Vec::new(),
                first: VecDeque::new(),
                closed: false,
            }),
            work: Condvar::new(),
            behind_ns: AtomicU64::new(u64::MAX),
            clock,
        }
    }

    /// Adds a job, at the end of its tenant's. `id` is its own among that tenant's.
    pub fn push(&self, account: &Arc<CpuAccount>, id: u64, job: T) {
        let mut state = self.state();
        let floor_ns = state.behind_ns().unwrap_or_else(|| self.clock.now_ns());
        account.wants_to_run(floor_ns);
        state.line_up(account, id, job);
        self.changed(state);
    }

    /// Adds what goes before all jobs.
    pub fn push_first(&self, job: T) {
        let mut state = self.state();
        state.first.push_back(job);
        drop(state);
        self.work.notify_one();
    }

    /// The next job; waits for one. `None` once the queue was closed.
    pub fn pop(&self) -> Option<Next<T>> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(next) = self.take(&mut state) {
                return Some(next);
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn take(&self, state: &mut State<T>) -> Option<Next<T>> {
        if let Some(first) = state.first.pop_front() {
            return Some(Next::First(first));
        }
        let (virtual_ns, key) = state.settle()?;
        let present = state.tenants.get_mut(&key)?;
        let (id, job) = present.jobs.pop_front()?;
        let account = Arc::clone(&present.account);
        state.running.push(Arc::clone(&account));
        self.clock.advance(virtual_ns);
        Some(Next::Job(account, id, job))
    }

    /// The job that was taken wants to run on: it lines up again.
    pub fn again(&self, account: &Arc<CpuAccount>, id: u64, job: T) {
        let mut state = self.state();
        state.stopped(account);
        state.line_up(account, id, job);
        self.changed(state);
    }

    /// The job that was taken needs no more.
    pub fn done(&self, account: &Arc<CpuAccount>) {
        let mut state = self.state();
        state.stopped(account);
        account.rests();
        self.changed(state);
    }

    /// Takes back a job that waits; `None` where it does not, because it runs or has run.
    pub fn cancel(&self, account: &Arc<CpuAccount>, id: u64) -> Option<T> {
        let mut state = self.state();
        let present = state.tenants.get_mut(&key(account))?;
        let at = present.jobs.iter().position(|(other, _)| *other == id)?;
        let (_, job) = present.jobs.remove(at)?;
        account.rests();
        self.changed(state);
        Some(job)
    }

    /// Wakes every thread to its end; jobs that wait are dropped with the queue.
    pub fn close(&self) {
        self.state().closed = true;
        self.work.notify_all();
    }

    /// Whether a tenant has had so much more than its share that those who wait here come first, wherever its guests
    /// run. One load of an atomic.
    #[must_use]
    pub fn comes_before(&self, account: &CpuAccount) -> bool {
        let behind_ns = self.behind_ns.load(Ordering::Relaxed);
        behind_ns != u64::MAX && account.virtual_ns() > behind_ns.saturating_add(AHEAD_NS_MAX)
    }

    /// Publishes who is furthest behind, and wakes a thread if there is work.
    fn changed(&self, mut state: MutexGuard<'_, State<T>>) {
        let behind_ns = state.behind_ns().unwrap_or(u64::MAX);
        self.behind_ns.store(behind_ns, Ordering::Relaxed);
        let wake = !state.order.is_empty();
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn line_up(&mut self, account: &Arc<CpuAccount>, id: u64, job: T) {
        let key = key(account);
        let present = self.tenants.entry(key).or_insert_with(|| Present {
            account: Arc::clone(account),
            jobs: VecDeque::new(),
            is_in_order: false,
        });
        if !present.is_in_order {
            present.is_in_order = true;
            self.order.push(Reverse((account.virtual_ns(), key)));
        }
        present.jobs.push_back((id, job));
    }

    /// The tenant that waits and is furthest behind, with its virtual time. What has changed since entries were made is
    /// put right on the way: those without jobs go, those that ran meanwhile move back.
    fn settle(&mut self) -> Option<(u64, usize)> {
        loop {
            let Reverse((queued_ns, key)) = *self.order.peek()?;
            let waiting = self
                .tenants
                .get(&key)
                .filter(|present| !present.jobs.is_empty());
            let Some(present) = waiting else {
                self.order.pop();
                self.tenants.remove(&key);
                continue;
            };
            let virtual_ns = present.account.virtual_ns();
            if virtual_ns <= queued_ns {
                return Some((queued_ns, key));
            }
            self.order.pop();
            self.order.push(Reverse((virtual_ns, key)));
        }
    }

    /// Virtual time of the tenant here that is furthest behind, whether its jobs wait or run.
    fn behind_ns(&mut self) -> Option<u64> {
        let waiting = self.settle().map(|(virtual_ns, _)| virtual_ns);
        let running = self.running.iter().map(|account| account.virtual_ns());
        running.chain(waiting).min()
    }

    fn stopped(&mut self, account: &Arc<CpuAccount>) {
        let runs = |other: &Arc<CpuAccount>| Arc::ptr_eq(other, account);
        if let Some(at) = self.running.iter().position(runs) {
            self.running.swap_remove(at);
        }
    }
}

fn key(account: &Arc<CpuAccount>) -> usize {
    Arc::as_ptr(account).addr()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::quota::cpu::CpuBounds;

    fn account(share: u64) -> Arc<CpuAccount> {
        let bounds = CpuBounds {
            share,
            ms_per_s_max: 1_000_000,
            burst_ms_max: 1_000_000,
        };
        Arc::new(CpuAccount::new(bounds, Instant::now()))
    }

    fn queue() -> FairQueue<usize> {
        FairQueue::new(Arc::default())
    }

    /// Takes one job; the queue must have one, for nobody is there to wait.
    fn take(queue: &FairQueue<usize>) -> (Arc<CpuAccount>, u64, usize) {
        match queue.take(&mut queue.state()) {
            Some(Next::Job(account, id, job)) => (account, id, job),
            other => panic!("{other:?}"),
        }
    }

    /// Slices of 2 ms on `threads` threads at once; how many each of the tenants got.
    fn slices(shares: [u64; 3], jobs: [u64; 3], threads: usize, rounds: usize) -> [u64; 3] {
        let queue = queue();
        let now = Instant::now();
        let accounts = shares.map(account);
        for (tenant, account) in accounts.iter().enumerate() {
            for id in 0..jobs[tenant] {
                queue.push(account, id, tenant);
            }
        }
        let mut got = [0; 3];
        for _ in 0..rounds {
            let running: Vec<_> = (0..threads).map(|_| take(&queue)).collect();
            for (account, id, tenant) in running {
                got[tenant] += 1;
                account.charge(Duration::from_millis(2), now);
                queue.again(&account, id, tenant);
            }
        }
        got
    }

    #[test]
    fn shares_come_out_on_two_threads() {
        let got = slices([100, 200, 400], [4, 4, 4], 2, 7000);
        for (got, due) in got.into_iter().zip([2000_u64, 4000, 8000]) {
            assert!(got.abs_diff(due) <= due / 100, "{got} of {due}");
        }
    }

    #[test]
    fn many_jobs_get_their_tenant_no_more() {
        let got = slices([100, 100, 100], [50, 2, 2], 2, 3000);
        assert!(got.iter().all(|got| got.abs_diff(2000) <= 20), "{got:?}");
    }

    #[test]
    fn who_comes_late_goes_first_and_earned_nothing() {
        let queue = queue();
        let now = Instant::now();
        let (busy, late) = (account(100), account(100));
        queue.push(&busy, 0, 0);
        for _ in 0..1000 {
            let (account, id, tenant) = take(&queue);
            account.charge(Duration::from_millis(2), now);
            queue.again(&account, id, tenant);
        }
        queue.push(&late, 0, 1);
        let got: Vec<_> = (0..10)
            .map(|_| {
                let (account, id, tenant) = take(&queue);
                account.charge(Duration::from_millis(2), now);
                queue.again(&account, id, tenant);
                tenant
            })
            .collect();
        assert!(got[..2].contains(&1), "{got:?}");
        let of_late = got.iter().filter(|tenant| **tenant == 1).count();
        assert!((4..=6).contains(&of_late), "{got:?}");
    }

    #[test]
    fn who_is_far_ahead_gives_way_while_somebody_waits() {
        let queue = queue();
        let now = Instant::now();
        let (ahead, behind) = (account(100), account(100));
        ahead.charge(Duration::from_secs(1), now);
        assert!(!queue.comes_before(&ahead), "nobody is here");
        queue.push(&behind, 0, 0);
        assert!(queue.comes_before(&ahead));
        assert!(!queue.comes_before(&behind));
        let (account, ..) = take(&queue);
        assert!(queue.comes_before(&ahead), "one that runs counts too");
        queue.done(&account);
        assert!(!queue.comes_before(&ahead));
    }

    #[test]
    fn what_goes_first_goes_first_and_a_closed_queue_ends() {
        let queue = queue();
        queue.push(&account(100), 0, 7);
        queue.push_first(9);
        assert!(matches!(queue.pop(), Some(Next::First(9))));
        assert!(matches!(queue.pop(), Some(Next::Job(_, 0, 7))));
        queue.close();
        assert!(queue.pop().is_none());
    }

    proptest! {
        /// Jobs come, run on, end and are taken back in any order: none is lost or run twice, nobody is kept in the
        /// books who has none, and whoever is taken was the furthest behind.
        #[test]
        fn no_job_gets_lost(steps in prop::collection::vec((0usize..3, 0u8..6, 1u64..5), 1..300)) {
            let queue = queue();
            let now = Instant::now();
            let accounts = [account(1), account(100), account(10_000)];
            let mut waiting: Vec<(usize, u64)> = Vec::new();
            let mut running: Vec<(usize, u64)> = Vec::new();
            let mut next_id = 0;
            for (tenant, what, ms) in steps {
                match what {
                    0 | 1 => {
                        queue.push(&accounts[tenant], next_id, tenant);
                        waiting.push((tenant, next_id));
                        next_id += 1;
                    }
                    2 if !waiting.is_empty() => {
                        let (account, id, tenant) = take(&queue);
                        let least = waiting.iter().map(|(other, _)| accounts[*other].virtual_ns()).min();
                        prop_assert_eq!(Some(account.virtual_ns()), least);
                        let at = waiting.iter().position(|job| *job == (tenant, id));
                        prop_assert!(at.is_some());
                        waiting.remove(at.unwrap());
                        running.push((tenant, id));
                    }
                    3 if !running.is_empty() => {
                        let (tenant, id) = running.swap_remove(0);
                        accounts[tenant].charge(Duration::from_millis(ms), now);
                        queue.again(&accounts[tenant], id, tenant);
                        waiting.push((tenant, id));
                    }
                    4 if !running.is_empty() => {
                        let (tenant, _) = running.swap_remove(0);
                        queue.done(&accounts[tenant]);
                    }
                    5 if !waiting.is_empty() => {
                        let (tenant, id) = waiting.swap_remove(0);
                        prop_assert_eq!(queue.cancel(&accounts[tenant], id), Some(tenant));
                        prop_assert_eq!(queue.cancel(&accounts[tenant], id), None);
                    }
                    _ => {}
                }
                for (tenant, account) in accounts.iter().enumerate() {
                    let here = waiting.iter().chain(&running).filter(|(other, _)| *other == tenant);
                    prop_assert_eq!(account.state_runnable(), here.count() as u64);
                }
                let state = queue.state();
                prop_assert!(state.order.len() <= accounts.len(), "one entry a tenant");
                prop_assert_eq!(state.running.len(), running.len());
            }
        }
    }
}
