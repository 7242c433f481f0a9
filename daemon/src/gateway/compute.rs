//! Threads for guests that compute.
//!
//! Takes guests that used up their first slice on the thread of their connection; runs them slice by slice, the tenant
//! that is furthest behind its share first, and gives them back when they wait for something or have ended. These
//! threads stand behind those that own connections in the kernel's eyes, so that a request that computes little waits
//! for no guest that computes a lot. Every guest that was taken is given back, or dropped once nobody wants it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;

use crate::engine::{GuestEnd, Remains, Serving, Slice};
use crate::link::flight::guest_runs;
use crate::quota::{Admission, CpuAccount, FairQueue, Next, Refusal, VirtualClock};

/// The least priority there is: on its way back from a socket, a connection's thread finds a core at once.
const NICENESS: i32 = 19;
/// Requests that begin on these threads after one of their module was moved there.
const HABIT: u32 = 16;

/// The threads and their queue.
pub struct Compute {
    queue: FairQueue<Work>,
    next_job: AtomicU64,
}

enum Work {
    /// A slice of this guest.
    Slice(Arc<Job>),
    /// The end of this one: what it held is given back here, not on a thread that others wait for.
    Bury(Remains),
}

/// Whether a module's requests compute: what the next one is expected to do.
#[derive(Debug, Default)]
pub struct Habit(AtomicU32);

impl Habit {
    /// Whether the next request had better begin on the threads for guests that compute.
    #[must_use]
    pub fn computes(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// One did.
    pub fn computed(&self) {
        self.0.store(HABIT, Ordering::Relaxed);
    }

    /// One did not.
    pub fn did_not(&self) {
        let left = self.0.load(Ordering::Relaxed);
        if left > 0 {
            // Two at once may count as one: it is a guess.
            self.0.store(left - 1, Ordering::Relaxed);
        }
    }
}

/// A guest while it is away from its connection's thread.
struct Job {
    id: u64,
    admission: Arc<Admission>,
    slice: Arc<Slice>,
    /// The runtime of the connection's thread, which drives what the guest waits for.
    home: Handle,
    cell: Mutex<Cell>,
}

struct Cell {
    owner: Waker,
    used: Duration,
    standing: Standing,
}

enum Standing {
    /// For a slice.
    Waits(Serving),
    /// On one of the threads.
    Runs,
    /// It waits for something other than CPU time, or its tenant has none left.
    Back(Serving),
    Ended(GuestEnd),
    /// Nobody wants it any more.
    Unwanted,
    /// Given back.
    Taken,
}

/// The owner's half of a guest that is away; dropping it ends the guest.
pub(super) struct Away {
    compute: Arc<Compute>,
    job: Arc<Job>,
}

/// How a guest comes back, with its CPU time so far.
pub(super) enum Returned {
    /// To be polled where it came from.
    Back(Serving, Duration),
    /// It has ended.
    Ended(GuestEnd, Duration),
}

impl Compute {
    /// Starts the threads; each calls `begin` with its number first. Returns once all of them are set up.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start(
        threads: usize,
        clock: Arc<VirtualClock>,
        begin: impl Fn(usize) + Copy + Send + 'static,
    ) -> std::io::Result<Arc<Self>> {
        let compute = Arc::new(Self {
            queue: FairQueue::new(clock),
            next_job: AtomicU64::new(0),
        });
        let set_up = Arc::new(Barrier::new(threads + 1));
        for number in 0..threads {
            let (compute, set_up) = (Arc::clone(&compute), Arc::clone(&set_up));
            std::thread::Builder::new()
                .name(format!("compute-{number}"))
                .spawn(move || {
                    begin(number);
                    stand_back();
                    set_up.wait();
                    compute.work();
                })?;
        }
        set_up.wait();
        Ok(compute)
    }

    /// Whether a tenant has had so much more than its share that its short requests, too, must line up here.
    pub(super) fn comes_before(&self, account: &CpuAccount) -> bool {
        self.queue.comes_before(account)
    }

    /// Takes a guest that used `used` so far. Must be called on the thread of its connection, within its runtime.
    pub(super) fn take(
        self: &Arc<Self>,
        serving: Serving,
        used: Duration,
        admission: &Arc<Admission>,
        slice: &Arc<Slice>,
        owner: &Waker,
    ) -> Away {
        let job = Arc::new(Job {
            id: self.next_job.fetch_add(1, Ordering::Relaxed),
            admission: Arc::clone(admission),
            slice: Arc::clone(slice),
            home: Handle::current(),
            cell: Mutex::new(Cell {
                owner: owner.clone(),
                used,
                standing: Standing::Waits(serving),
            }),
        });
        let work = Work::Slice(Arc::clone(&job));
        self.queue.push(job.account(), job.id, work);
        Away {
            compute: Arc::clone(self),
            job,
        }
    }

    /// Drops a guest off the threads that others wait for.
    pub(super) fn bury(&self, remains: Remains) {
        self.queue.push_first(Work::Bury(remains));
    }

    fn work(&self) {
        while let Some(next) = self.queue.pop() {
            match next {
                Next::First(Work::Bury(remains)) => drop(remains),
                Next::First(Work::Slice(_)) => {}
                Next::Job(account, id, work) => match self.run(work) {
                    Some(work) => self.queue.again(&account, id, work),
                    None => self.queue.done(&account),
                },
            }
        }
    }

    /// One slice; gives the work back if it wants another.
    fn run(&self, work: Work) -> Option<Work> {
        let Work::Slice(job) = work else { return None };
        let (mut serving, waker, mut used) = job.begin()?;
        job.slice.go_on(&waker);
        let before = thread_cpu_time();
        let polled = {
            let _home = job.home.enter();
            let mut cx = Context::from_waker(&waker);
            let _runs = guest_runs(job.admission.tenant().mark());
            catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(&mut cx)))
        };
        let interrupted = job.slice.take_interrupted();
        let ran = thread_cpu_time().saturating_sub(before);
        let now = Instant::now();
        job.account().charge(ran, now);
        used += ran;
        let standing = match polled {
            Ok(Poll::Ready(end)) => Standing::Ended(end),
            Err(_) => Standing::Ended(GuestEnd::killed(
                Refusal::Trap,
                "the node failed while the guest ran".to_owned(),
            )),
            Ok(Poll::Pending) => match over(&job.admission, used) {
                Some(mut end) => {
                    end.remains = Some(Remains::of(serving));
                    Standing::Ended(end)
                }
                None if interrupted && job.account().wait(now).is_none() => {
                    Standing::Waits(serving)
                }
                None => Standing::Back(serving),
            },
        };
        job.put_back(standing, used).then_some(Work::Slice(job))
    }
}

/// Puts this thread behind all others.
fn stand_back() {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "guests that compute run at the same priority as all others");
    }
}

/// How a guest ends that has used more CPU time than one request may; `None` while it has not.
pub(super) fn over(admission: &Admission, used: Duration) -> Option<GuestEnd> {
    let most_ms = admission.limits().request_cpu_ms_max;
    (used > Duration::from_millis(most_ms)).then(|| {
        let why = format!("the guest used more than {most_ms} ms of CPU time");
        GuestEnd::killed(Refusal::Cpu, why)
    })
}

impl Job {
    fn account(&self) -> &Arc<CpuAccount> {
        self.admission.tenant().cpu()
    }

    fn cell(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the guest to run it; `None` if there is nothing to run.
    fn begin(&self) -> Option<(Serving, Waker, Duration)> {
        let mut cell = self.cell();
        match std::mem::replace(&mut cell.standing, Standing::Runs) {
            Standing::Waits(serving) => Some((serving, cell.owner.clone(), cell.used)),
            other => {
                cell.standing = other;
                None
            }
        }
    }

    /// Puts down how it stands after a slice; whether it wants another.
    fn put_back(&self, standing: Standing, used: Duration) -> bool {
        let mut cell = self.cell();
        cell.used = used;
        if matches!(cell.standing, Standing::Unwanted) {
            drop(cell);
            // Its end is this thread's work too, outside of the lock.
            drop(standing);
            return false;
        }
        let waits = matches!(standing, Standing::Waits(_));
        cell.standing = standing;
        let owner = (!waits).then(|| cell.owner.clone());
        drop(cell);
        if let Some(owner) = owner {
            owner.wake();
        }
        waits
    }
}

impl Away {
    /// Ready when the guest is back.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Returned> {
        let mut cell = self.job.cell();
        let used = cell.used;
        match std::mem::replace(&mut cell.standing, Standing::Taken) {
            Standing::Back(serving) => Poll::Ready(Returned::Back(serving, used)),
            Standing::Ended(end) => Poll::Ready(Returned::Ended(end, used)),
            other => {
                cell.standing = other;
                cell.owner.clone_from(cx.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let standing = {
            let mut cell = self.job.cell();
            let next = match cell.standing {
                Standing::Runs => Standing::Unwanted,
                _ => Standing::Taken,
            };
            std::mem::replace(&mut cell.standing, next)
        };
        match standing {
            Standing::Waits(serving) => {
                drop(self.compute.queue.cancel(self.job.account(), self.job.id));
                self.compute.bury(Remains::of(serving));
            }
            Standing::Back(serving) => self.compute.bury(Remains::of(serving)),
            Standing::Runs | Standing::Ended(_) | Standing::Unwanted | Standing::Taken => {}
        }
    }
}

/// CPU time of this thread (clock_gettime(2), `CLOCK_THREAD_CPUTIME_ID`).
pub(super) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
