//! One instance of WASI 0.3 that serves several requests at once.
//!
//! The instance is driven by the requests that are in it: whichever of them is polled lets all of them go on, and pays
//! for it. When that one leaves, another takes its place; when none is left, the instance rests. So a request crosses
//! no thread, waits in no queue, and the CPU time of a tenant is its tenant's whoever drives.
//!
//! A request that is given up amid its work (its client hung up, a limit ended it) cannot be taken out of an instance:
//! then nobody new comes in, and the instance ends with the last of those that are there.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, oneshot};
use wasmtime::Store;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{Error as WasiError, WasiBody, p3};

use super::end::GuestEnd;
use super::instance::Head;
use super::limits::MemoryRefused;
use super::slice::Slice;
use crate::host::{GuestState, Hooks, NextRequest};

type Drive = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send>>;

/// An instance and the requests that are in it.
pub(super) struct Hive {
    /// `None` once it has ended.
    drive: Mutex<Option<Drive>>,
    jobs: mpsc::UnboundedSender<Job>,
    shared: Arc<Shared>,
    slice: Arc<Slice>,
}

struct Shared {
    members: Mutex<Members>,
    /// Requests that ever came in.
    total: AtomicU32,
    /// Nobody comes in any more.
    closed: AtomicBool,
    /// Nothing in the instance has anything left to do.
    quiet: AtomicBool,
    memory_bytes: AtomicU64,
    /// Why it ended, once it has; how it was last refused memory.
    broken: Mutex<Option<(String, MemoryRefused)>>,
}

struct Members {
    next: u64,
    /// When the last of them left.
    left_at: Instant,
    wakers: HashMap<u64, Option<Waker>>,
    /// Who polled last: it is woken when the instance has something to do.
    leader: Option<u64>,
}

/// A request on its way in.
struct Job {
    request: Request<WasiBody>,
    state: NextRequest,
    head: oneshot::Sender<Head>,
    done: Arc<Done>,
}

/// How far one request has come.
#[derive(Default)]
struct Done {
    answered: AtomicBool,
    body_is_out: AtomicBool,
}

impl Shared {
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self) -> MutexGuard<'_, Option<(String, MemoryRefused)>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        let leader = {
            let members = self.members();
            let leader = members.leader.and_then(|id| members.wakers.get(&id));
            leader.cloned().flatten()
        };
        if let Some(leader) = leader {
            leader.wake();
        }
    }
}

impl Hive {
    pub(super) fn new(store: Store<GuestState>, service: Service) -> Arc<Self> {
        let (jobs, coming) = mpsc::unbounded_channel();
        let slice = Arc::clone(&store.data().slice);
        let shared = Arc::new(Shared {
            members: Mutex::new(Members {
                next: 0,
                left_at: Instant::now(),
                wakers: HashMap::new(),
                leader: None,
            }),
            total: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            quiet: AtomicBool::new(true),
            memory_bytes: AtomicU64::new(store.data().limits.memory_bytes()),
            broken: Mutex::new(None),
        });
        let drive = drive(store, service, coming, Arc::clone(&shared));
        Arc::new(Self {
            drive: Mutex::new(Some(Box::pin(drive))),
            jobs,
            shared,
            slice,
        })
    }

    /// What the instance and whoever polls it share.
    pub(super) fn slice(&self) -> Arc<Slice> {
        Arc::clone(&self.slice)
    }

    /// Since when nobody is in it.
    pub(super) fn rests_since(&self) -> Option<Instant> {
        let members = self.shared.members();
        members.wakers.is_empty().then_some(members.left_at)
    }

    /// Whether nobody may come in any more.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.shared.memory_bytes.load(Ordering::Relaxed)
    }

    /// A place in the instance, if it has one: fewer than `at_once_max` in it, and fewer than `total_max` so far.
    pub(super) fn join(
        self: &Arc<Self>,
        at_once_max: u32,
        total_max: u64,
        request: NextRequest,
    ) -> Option<Member> {
        let mut members = self.shared.members();
        let at_once = u32::try_from(members.wakers.len()).unwrap_or(u32::MAX);
        if self.is_closed() || at_once >= at_once_max {
            return None;
        }
        let member = self.enter(&mut members, request);
        if u64::from(self.shared.total.load(Ordering::Relaxed)) >= total_max {
            self.close();
        }
        Some(member)
    }

    /// A place for the request that the instance was made for.
    pub(super) fn first(self: &Arc<Self>, request: NextRequest) -> Member {
        self.enter(&mut self.shared.members(), request)
    }

    fn enter(self: &Arc<Self>, members: &mut Members, request: NextRequest) -> Member {
        let id = members.next;
        members.next += 1;
        members.wakers.insert(id, None);
        self.shared.total.fetch_add(1, Ordering::Relaxed);
        Member {
            hive: Arc::clone(self),
            id,
            state: Some(request),
            done: Arc::default(),
            over: false,
        }
    }
}

/// One request's place in an instance. Dropping it before its end closes the instance to others.
pub struct Member {
    hive: Arc<Hive>,
    id: u64,
    state: Option<NextRequest>,
    done: Arc<Done>,
    over: bool,
}

impl Member {
    /// What the instance and whoever polls it share.
    #[must_use]
    pub fn slice(&self) -> Arc<Slice> {
        self.hive.slice()
    }

    /// Serves the request; ready when its answer is out, or the instance has ended.
    ///
    /// # Cancel safety
    /// May be dropped: the others go on.
    pub(super) async fn serve(
        mut self,
        request: Request<WasiBody>,
        head: oneshot::Sender<Head>,
    ) -> GuestEnd {
        if let Some(state) = self.state.take() {
            let done = Arc::clone(&self.done);
            // Gone only with the instance, which the first poll finds out.
            let _ = self.hive.jobs.send(Job {
                request,
                state,
                head,
                done,
            });
        }
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<GuestEnd> {
        {
            let mut members = self.hive.shared.members();
            members.leader = Some(self.id);
            if let Some(waker) = members.wakers.get_mut(&self.id)
                && !waker
                    .as_ref()
                    .is_some_and(|waker| waker.will_wake(cx.waker()))
            {
                *waker = Some(cx.waker().clone());
            }
        }
        let hive = Arc::clone(&self.hive);
        let drive = match hive.drive.try_lock() {
            Ok(drive) => Some(drive),
            Err(TryLockError::Poisoned(poisoned)) => {
                // The node failed while it drove: the instance cannot be driven on.
                *poisoned.into_inner() = None;
                hive.close();
                let why = "the node failed while the instance ran".to_owned();
                return self.ended(Err(wasmtime::Error::msg(why)));
            }
            // Another thread is at it, and what it misses wakes this task, which leads now.
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(mut drive) = drive
            && let Some(running) = drive.as_mut()
        {
            let waker = Waker::from(Arc::clone(&self.hive.shared));
            if let Poll::Ready(result) = running.as_mut().poll(&mut Context::from_waker(&waker)) {
                *drive = None;
                hive.close();
                return self.ended(result);
            }
        }
        if let Some((why, memory_refused)) = &*self.hive.shared.broken() {
            self.over = true;
            return Poll::Ready(GuestEnd::of_shared(
                Err(wasmtime::Error::msg(why.clone())),
                *memory_refused,
            ));
        }
        if self.is_done() {
            self.over = true;
            return Poll::Ready(GuestEnd::of_shared(Ok(()), MemoryRefused::No));
        }
        Poll::Pending
    }

    /// Answered, the body taken; and unless others drive the instance on, nothing left to do in it.
    fn is_done(&self) -> bool {
        let done = &self.done;
        done.answered.load(Ordering::Relaxed)
            && done.body_is_out.load(Ordering::Relaxed)
            && (self.hive.shared.quiet.load(Ordering::Relaxed)
                || self.hive.shared.members().wakers.len() > 1)
    }

    /// The instance has ended under this request's hands.
    fn ended(&mut self, result: wasmtime::Result<()>) -> Poll<GuestEnd> {
        self.over = true;
        let broken = self.hive.shared.broken().clone();
        let memory_refused = broken.map_or(MemoryRefused::No, |(_, refused)| refused);
        let wakers: Vec<_> = {
            let members = self.hive.shared.members();
            members.wakers.values().flatten().cloned().collect()
        };
        for waker in wakers {
            waker.wake();
        }
        Poll::Ready(GuestEnd::of_shared(result, memory_refused))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if !self.over {
            self.hive.close();
        }
        let next = {
            let mut members = self.hive.shared.members();
            members.wakers.remove(&self.id);
            members.left_at = Instant::now();
            if members.leader == Some(self.id) {
                members.leader = members.wakers.keys().next().copied();
            }
            let leader = members.leader.and_then(|id| members.wakers.get(&id));
            leader.cloned().flatten()
        };
        // Whoever drives now finds out what there is to do.
        if let Some(next) = next {
            next.wake();
        }
    }
}

/// The life of an instance: takes requests as they come, until it breaks.
async fn drive(
    mut store: Store<GuestState>,
    service: Service,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    shared: Arc<Shared>,
) -> wasmtime::Result<()> {
    let result = store
        .run_concurrent(async |accessor| {
            let mut calls = FuturesUnordered::new();
            std::future::poll_fn(|cx| {
                loop {
                    while let Poll::Ready(Some(job)) = jobs.poll_recv(cx) {
                        calls.push(call(accessor, &service, job, &shared));
                    }
                    match calls.poll_next_unpin(cx) {
                        Poll::Ready(Some(Ok(()))) => {}
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                        Poll::Ready(None) | Poll::Pending => break,
                    }
                }
                let quiet = calls.is_empty() && accessor.poll_no_interesting_tasks(cx).is_ready();
                shared.quiet.store(quiet, Ordering::Relaxed);
                Poll::Pending
            })
            .await
        })
        .await
        .flatten();
    if let Err(error) = &result {
        let refused = store.data().limits.memory_refused();
        *shared.broken() = Some((
            format!("the instance, which served several requests at once, ended: {error}"),
            refused,
        ));
    }
    result
}

async fn call(
    accessor: &Accessor<GuestState>,
    service: &Service,
    job: Job,
    shared: &Shared,
) -> wasmtime::Result<()> {
    let Job {
        request,
        state,
        head,
        done,
    } = job;
    // Which of the requests prints cannot be told: the last that came in stands for all.
    accessor.with(|mut store| store.data_mut().turn_to(state));
    let mut hooks = Hooks;
    let (request, request_body_result) = p3::Request::from_http(&mut hooks, request);
    let answer = match service.handle(accessor, request).await? {
        Ok(response) => Ok(accessor.with(|store| response.into_http(store, request_body_result))?),
        Err(code) => Err(format!("{code:?}")),
    };
    let memory_bytes = accessor.with(|mut store| store.data_mut().limits.memory_bytes());
    shared.memory_bytes.store(memory_bytes, Ordering::Relaxed);
    done.answered.store(true, Ordering::Relaxed);
    let answer = answer.map(|response: Response<WasiBody>| {
        let taken = Taken(Arc::clone(&done));
        response.map(|inner| {
            Tracked {
                inner,
                _taken: taken,
            }
            .boxed_unsync()
        })
    });
    if answer.is_err() {
        done.body_is_out.store(true, Ordering::Relaxed);
    }
    // Nobody waits any more once the client is gone; then the body goes with the answer.
    drop(head.send(answer));
    Ok(())
}

/// Says that a body is out when it is dropped.
struct Taken(Arc<Done>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.body_is_out.store(true, Ordering::Relaxed);
    }
}

/// A response's body.
struct Tracked {
    inner: WasiBody,
    _taken: Taken,
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = WasiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WasiError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
