//! One component, ready to be instantiated; one instance, serving one request at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Request, Response};
use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, UpdateDeadline};
use wasmtime_wasi::p2::bindings::{Command, CommandPre};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};
use wasmtime_wasi_http::{WasiBody, WasiHttpView, p3};

use super::end::{GuestEnd, Remains};
use super::hive::{Hive, Member};
use super::program;
use super::reuse::Instances;
use super::slice::Slice;
use crate::host::{Files, GuestState, NextRequest};
use crate::link::World;

/// The next instance's number.
static NEXT_DICE: AtomicU64 = AtomicU64::new(0);

/// Handles of the component model itself a store may hold.
const COMPONENT_HANDLES_MAX: usize = 8192;

/// A component linked to this host, of which instances are made at will.
pub struct Loaded {
    handler: Handler,
    files: Option<Arc<Files>>,
}

enum Handler {
    Proxy02(ProxyPre<GuestState>),
    Service03(ServicePre<GuestState>),
    Command02(CommandPre<GuestState>),
}

/// The head of a guest's answer with its body, or the error code it answered instead.
pub type Head = Result<Response<WasiBody>, String>;

/// One request being served: nothing happens unless it is polled, and dropping it ends the instance at once.
pub type Serving = Pin<Box<dyn Future<Output = GuestEnd> + Send>>;

impl Loaded {
    /// Links a component.
    ///
    /// # Errors
    /// If it imports what the linker has not, or does not export what `world` says.
    pub fn link(
        linker: &Linker<GuestState>,
        component: &Component,
        world: World,
        files: Option<Arc<Files>>,
    ) -> wasmtime::Result<Self> {
        let pre = linker.instantiate_pre(component)?;
        let handler = match world {
            World::Proxy02 => Handler::Proxy02(ProxyPre::new(pre)?),
            World::Service03 => Handler::Service03(ServicePre::new(pre)?),
            World::Command02 => Handler::Command02(CommandPre::new(pre)?),
        };
        Ok(Self { handler, files })
    }

    /// The files that were deployed with it.
    #[must_use]
    pub fn files(&self) -> Option<Arc<Files>> {
        self.files.clone()
    }

    fn engine(&self) -> &Engine {
        match &self.handler {
            Handler::Proxy02(pre) => pre.engine(),
            Handler::Service03(pre) => pre.engine(),
            Handler::Command02(pre) => pre.engine(),
        }
    }

    /// Serves one request.
    ///
    /// The answer's head goes to `head` as soon as the guest gives it; its body is filled while the returned future
    /// is polled. The future ends when the guest does; with `keep` it gives the instance back if that ended well.
    ///
    /// # Cancel safety
    /// May be dropped at any await point: the instance ends there and its memory is given back.
    pub async fn serve(
        self: std::sync::Arc<Self>,
        start: Start,
        request: Request<WasiBody>,
        head: oneshot::Sender<Head>,
        keep: bool,
    ) -> GuestEnd {
        let mut live = match start {
            Start::Again(live) => live,
            Start::Join(member) => return member.serve(request, head).await,
            Start::New(state) => match self.instantiate(state).await {
                Ok(live) => live,
                Err(end) => return end,
            },
            Start::Share {
                state,
                instances,
                next,
            } => match self.instantiate(state).await {
                Ok(live) => match live.share(&instances, next) {
                    Ok(member) => return member.serve(request, head).await,
                    Err(live) => live,
                },
                Err(end) => return end,
            },
        };
        let result = live.serve(request, head).await;
        let memory_refused = live.store.data().limits.memory_refused();
        live.served = live.served.saturating_add(1);
        let (remains, live) = if keep && result.is_ok() {
            live.store.data_mut().rest();
            (None, Some(live))
        } else {
            (Some(Remains::of(live)), None)
        };
        GuestEnd {
            result,
            memory_refused,
            started: true,
            killed: None,
            remains,
            live,
        }
    }

    /// A new instance. Where the node or the tenant has no room, instances that rest make some.
    async fn instantiate(&self, state: GuestState) -> Result<Live, GuestEnd> {
        let mut store = self.store(state);
        let mut made = self.instantiate_in(&mut store).await;
        if let Err(error) = &made
            && error.is::<PoolConcurrencyLimitError>()
            && store.data().limits.make_room()
        {
            let mut state = store.into_data();
            state.limits.start_over();
            store = self.store(state);
            made = self.instantiate_in(&mut store).await;
        }
        match made {
            Ok(guest) => Ok(Live {
                store,
                guest,
                served: 0,
                dice: NEXT_DICE.fetch_add(1, Ordering::Relaxed),
            }),
            Err(error) => Err(GuestEnd {
                result: Err(error),
                memory_refused: store.data().limits.memory_refused(),
                started: false,
                killed: None,
                remains: Some(Remains::of(store)),
                live: None,
            }),
        }
    }

    fn store(&self, state: GuestState) -> Store<GuestState> {
        let mut store = Store::new(self.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_max_component_handles(COMPONENT_HANDLES_MAX);
        store.set_hostcall_fuel(store.data().hostcall_bytes_max);
        store.set_epoch_deadline(1);
        // Whether the guest goes on, and when, is for whoever polls it to say.
        store.epoch_deadline_callback(|store| {
            let interrupted = store.data().slice.interrupt();
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(interrupted)))
        });
        store
    }

    async fn instantiate_in(&self, store: &mut Store<GuestState>) -> wasmtime::Result<Exports> {
        Ok(match &self.handler {
            Handler::Proxy02(pre) => Exports::Proxy02(pre.instantiate_async(store).await?),
            Handler::Service03(pre) => Exports::Service03(pre.instantiate_async(store).await?),
            Handler::Command02(pre) => Exports::Command02(pre.instantiate_async(store).await?),
        })
    }
}

/// What a request is served in.
pub enum Start {
    /// An instance of its own, with this state.
    New(GuestState),
    /// One that served others before.
    Again(Live),
    /// One that serves others too.
    Join(Member),
    /// A new one, which others may join.
    Share {
        /// As for one of its own.
        state: GuestState,
        /// Where it is found by others.
        instances: Arc<Instances>,
        /// The request.
        next: NextRequest,
    },
}

/// An instance in its store.
pub struct Live {
    store: Store<GuestState>,
    guest: Exports,
    served: u32,
    /// Tells it from others: what about it is left to chance follows from this.
    dice: u64,
}

enum Exports {
    Proxy02(Proxy),
    Service03(Service),
    Command02(Command),
}

impl Live {
    /// Requests that it has served.
    #[must_use]
    pub fn served(&self) -> u32 {
        self.served
    }

    /// A number of its own.
    #[must_use]
    pub(super) fn dice(&self) -> u64 {
        self.dice
    }

    /// Bytes of linear memory that it has.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().limits.memory_bytes()
    }

    /// What it and whoever polls it share.
    #[must_use]
    pub fn slice(&self) -> Arc<Slice> {
        Arc::clone(&self.store.data().slice)
    }

    /// Turns to another request of its tenant.
    pub fn turn_to(&mut self, request: NextRequest) {
        self.store.data_mut().turn_to(request);
        let hostcall_bytes_max = self.store.data().hostcall_bytes_max;
        self.store.set_hostcall_fuel(hostcall_bytes_max);
        self.store.set_epoch_deadline(1);
    }

    /// Opens it to others, with this request as its first; gives it back if it serves one at a time.
    fn share(self, instances: &Instances, next: NextRequest) -> Result<Member, Self> {
        match self.guest {
            Exports::Service03(service) => {
                let hive = Hive::new(self.store, service);
                Ok(instances.open(hive, self.dice, next))
            }
            Exports::Proxy02(_) | Exports::Command02(_) => Err(self),
        }
    }

    async fn serve(
        &mut self,
        request: Request<WasiBody>,
        head: oneshot::Sender<Head>,
    ) -> wasmtime::Result<()> {
        match &self.guest {
            Exports::Proxy02(proxy) => serve_proxy(&mut self.store, proxy, request, head).await,
            Exports::Service03(service) => {
                serve_service(&mut self.store, service, request, head).await
            }
            Exports::Command02(command) => {
                program::serve(&mut self.store, command, request, head).await
            }
        }
    }
}

async fn serve_proxy(
    store: &mut Store<GuestState>,
    proxy: &Proxy,
    request: Request<WasiBody>,
    head: oneshot::Sender<Head>,
) -> wasmtime::Result<()> {
    let scheme = match request.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, request)?;
    let outparam = http.new_response_outparam_from_callback(move |answer| {
        // Nobody waits any more once the client is gone; the guest is ended by then or will be.
        drop(head.send(answer.map_err(|code| format!("{code:?}"))));
    })?;
    proxy
        .wasi_http_incoming_handler()
        .call_handle(&mut *store, request, outparam)
        .await?;
    store.data_mut().abort_unfinished_bodies();
    Ok(())
}

async fn serve_service(
    store: &mut Store<GuestState>,
    service: &Service,
    request: Request<WasiBody>,
    head: oneshot::Sender<Head>,
) -> wasmtime::Result<()> {
    let (request, request_body_result) =
        p3::Request::from_http(store.data_mut().http().hooks, request);
    store
        .run_concurrent(async |accessor| {
            let answer = match service.handle(accessor, request).await? {
                Ok(response) => {
                    Ok(accessor.with(|store| response.into_http(store, request_body_result))?)
                }
                Err(code) => Err(format!("{code:?}")),
            };
            drop(head.send(answer));
            // The body, and whatever else the guest began, is part of the request.
            std::future::poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            Ok(())
        })
        .await?
}
