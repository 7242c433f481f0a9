//! One component, ready to be instantiated; one instance, serving one request.

use std::fmt::Write as _;
use std::pin::Pin;

use http::{Request, Response};
use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{WasiBody, WasiHttpView, p3};

use super::limits::MemoryRefused;
use crate::host::GuestState;
use crate::link::World;
use crate::quota::Refusal;

/// Handles of the component model itself a store may hold.
const COMPONENT_HANDLES_MAX: usize = 8192;

/// A component linked to this host, of which instances are made at will.
pub struct Loaded {
    handler: Handler,
}

enum Handler {
    Proxy02(ProxyPre<GuestState>),
    Service03(ServicePre<GuestState>),
}

/// The head of a guest's answer with its body, or the error code it answered instead.
pub type Head = Result<Response<WasiBody>, String>;

/// How a guest ended.
pub struct GuestEnd {
    /// What wasmtime says.
    pub result: wasmtime::Result<()>,
    /// Whether it was refused memory on the way.
    pub memory_refused: MemoryRefused,
    /// Whether there was ever an instance: without, what failed was making one.
    pub started: bool,
    /// The limit that it was ended for, where that is how.
    pub killed: Option<Refusal>,
    /// What it leaves behind.
    pub remains: Option<Remains>,
}

/// What an ended guest leaves behind: its store, with its memory. Dropping it takes a while, and ends the guest's bodies;
/// whoever reads those must know by then how the guest ended.
pub struct Remains(#[expect(dead_code, reason = "it is there to be dropped")] Box<dyn Send>);

impl Remains {
    /// Of anything that a guest lived in.
    pub fn of(guest: impl Send + 'static) -> Self {
        Self(Box::new(guest))
    }
}

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
    ) -> wasmtime::Result<Self> {
        let pre = linker.instantiate_pre(component)?;
        let handler = match world {
            World::Proxy02 => Handler::Proxy02(ProxyPre::new(pre)?),
            World::Service03 => Handler::Service03(ServicePre::new(pre)?),
        };
        Ok(Self { handler })
    }

    fn engine(&self) -> &Engine {
        match &self.handler {
            Handler::Proxy02(pre) => pre.engine(),
            Handler::Service03(pre) => pre.engine(),
        }
    }

    /// Serves one request in an instance of its own.
    ///
    /// The answer's head goes to `head` as soon as the guest gives it; its body is filled while the returned future
    /// is polled. The future ends when the guest does.
    ///
    /// # Cancel safety
    /// May be dropped at any await point: the instance ends there and its memory is given back.
    pub async fn serve(
        self: std::sync::Arc<Self>,
        state: GuestState,
        request: Request<WasiBody>,
        head: oneshot::Sender<Head>,
    ) -> GuestEnd {
        let mut store = Store::new(self.engine(), state);
        store.limiter(|state| &mut state.limits);
        let hostcall_bytes_max = store.data().hostcall_bytes_max;
        store.set_hostcall_fuel(hostcall_bytes_max);
        store.set_max_component_handles(COMPONENT_HANDLES_MAX);
        store.set_epoch_deadline(1);
        // Whether the guest goes on, and when, is for whoever polls it to say.
        store.epoch_deadline_callback(|store| {
            let interrupted = store.data().slice.interrupt();
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(interrupted)))
        });
        let result = match &self.handler {
            Handler::Proxy02(pre) => serve_proxy(&mut store, pre, request, head).await,
            Handler::Service03(pre) => serve_service(&mut store, pre, request, head).await,
        };
        GuestEnd {
            result,
            memory_refused: store.data().limits.memory_refused(),
            started: store.data().started,
            killed: None,
            remains: Some(Remains::of(store)),
        }
    }
}

async fn serve_proxy(
    store: &mut Store<GuestState>,
    pre: &ProxyPre<GuestState>,
    request: Request<WasiBody>,
    head: oneshot::Sender<Head>,
) -> wasmtime::Result<()> {
    let proxy = pre.instantiate_async(&mut *store).await?;
    store.data_mut().started = true;
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request)?;
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
    pre: &ServicePre<GuestState>,
    request: Request<WasiBody>,
    head: oneshot::Sender<Head>,
) -> wasmtime::Result<()> {
    let service = pre.instantiate_async(&mut *store).await?;
    store.data_mut().started = true;
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

impl GuestEnd {
    /// The end of a guest that was ended for what it did.
    #[must_use]
    pub fn killed(refusal: Refusal, why: String) -> Self {
        Self {
            result: Err(wasmtime::Error::msg(why)),
            memory_refused: MemoryRefused::No,
            started: true,
            killed: Some(refusal),
            remains: None,
        }
    }

    /// The refusal that a guest's end amounts to where it gave no answer, with what to tell its tenant, line by line.
    #[must_use]
    pub fn refusal(&self) -> (Refusal, String) {
        if let (Some(refusal), Err(error)) = (self.killed, &self.result) {
            return (refusal, error.to_string());
        }
        match &self.result {
            Ok(()) => (
                Refusal::NoResponse,
                "the guest returned without an answer".to_owned(),
            ),
            Err(error) if error.is::<PoolConcurrencyLimitError>() => (
                Refusal::Instances,
                "the node has no instance left".to_owned(),
            ),
            Err(_) if !self.started && self.memory_refused == MemoryRefused::ByQuota => (
                Refusal::MemoryUsedUp,
                "the tenant or the node has no memory left for one more instance".to_owned(),
            ),
            Err(error) if self.memory_refused != MemoryRefused::No => {
                (Refusal::Memory, told(error))
            }
            Err(error) => (Refusal::Trap, told(error)),
        }
    }
}

/// What happened first, then where, innermost call first.
fn told(error: &wasmtime::Error) -> String {
    let mut text = error.root_cause().to_string();
    let frames = error
        .downcast_ref::<WasmBacktrace>()
        .map(WasmBacktrace::frames)
        .unwrap_or_default();
    for frame in frames {
        let _ = match frame.func_name() {
            Some(name) => write!(text, "\n  in {name}"),
            None => write!(text, "\n  in wasm function {}", frame.func_index()),
        };
    }
    text
}
