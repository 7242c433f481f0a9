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

use crate::host::GuestState;
use crate::link::World;
use crate::quota::Refusal;

/// Bytes a guest may hand over in one host call beyond its own memory: lists and strings on their way.
const HOSTCALL_BYTES_MAX: usize = 4 << 20;
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
    pub memory_refused: bool,
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
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.set_max_component_handles(COMPONENT_HANDLES_MAX);
        store.set_epoch_deadline(1);
        // Yielding behind the runtime's own queue lets sockets and timers of this thread have their turn.
        store.epoch_deadline_callback(|_| {
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(tokio::task::yield_now()),
            ))
        });
        let result = match &self.handler {
            Handler::Proxy02(pre) => serve_proxy(&mut store, pre, request, head).await,
            Handler::Service03(pre) => serve_service(&mut store, pre, request, head).await,
        };
        GuestEnd {
            result,
            memory_refused: store.data().limits.memory_refused(),
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
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request)?;
    let outparam = http.new_response_outparam_from_callback(move |answer| {
        // Nobody waits any more once the client is gone; the guest is ended by then or will be.
        drop(head.send(answer.map_err(|code| format!("{code:?}"))));
    })?;
    proxy
        .wasi_http_incoming_handler()
        .call_handle(store, request, outparam)
        .await
}

async fn serve_service(
    store: &mut Store<GuestState>,
    pre: &ServicePre<GuestState>,
    request: Request<WasiBody>,
    head: oneshot::Sender<Head>,
) -> wasmtime::Result<()> {
    let service = pre.instantiate_async(&mut *store).await?;
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
    /// The refusal that a guest's end amounts to where it gave no answer, with what to tell its tenant, line by line.
    #[must_use]
    pub fn refusal(&self) -> (Refusal, String) {
        match &self.result {
            Ok(()) => (
                Refusal::NoResponse,
                "the guest returned without an answer".to_owned(),
            ),
            Err(error) if error.is::<PoolConcurrencyLimitError>() => (
                Refusal::Instances,
                "the node has no instance left".to_owned(),
            ),
            Err(error) if self.memory_refused => (Refusal::Memory, told(error)),
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
