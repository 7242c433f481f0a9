//! One request, from its head to the last byte of its answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Instant;

use arc_swap::ArcSwap;
use edge_config::{Hostname, HostnameError};
use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustls::SignatureScheme;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::WasiBody;

use super::body::{GatewayBody, GuestBody, RequestBody};
use super::buffers::Buffers;
use super::compute::Compute;
use super::exchange::Exchange;
use super::forwarded::{Client, TrustedProxies, remove_hop_by_hop, set_forwarded};
use super::frames::Frames;
use super::guest::{Guest, GuestParts};
use super::log::{LineSender, RequestLog};
use super::overdue::ResponseDeadline;
use super::request_head::{
    authority_of, declared_bytes, header_bytes, is_target_of_a_site, join_cookies,
};
use super::respond::{REASON, refuse, stamp};
use super::response_head::head_of;
use super::spin;
use super::table::{Route, Table};
use super::tls::Served;
use crate::engine::{InstanceLimits, Loaded, Resident, Resting, Slice, Start, Ticker};
use crate::host::{ClockResolution, GuestLog, GuestOptions, GuestState, NextRequest};
use crate::quota::{Admission, Ask, Charge, Connected, Entry, Refusal, Refused, RunQueue, Tenant};

/// Whose connection a request came on.
pub(super) struct Peer {
    /// The other end.
    pub(super) client: Client,
    /// The same with its port, as Spin programs are told it.
    pub(super) client_addr: HeaderValue,
    /// Over TLS, the certificate that the client was shown.
    pub(super) certificate: Option<Arc<Served>>,
    /// The fields of a head may take this many bytes.
    pub(super) header_bytes_max: usize,
    /// There may be so many of them.
    pub(super) header_count_max: usize,
    /// The guests of the thread that the connection lives on.
    pub(super) queue: Arc<RunQueue>,
    /// What was read of frames, if the connection is HTTP/2.
    pub(super) frames: Option<Arc<Frames>>,
    /// On whose account the connection is: that of the tenant whom its last request was for.
    pub(super) connected: Mutex<Option<Connected>>,
}

impl Peer {
    /// Puts the connection on this tenant's account.
    fn connect(&self, tenant: &Arc<Tenant>) -> Result<(), Refusal> {
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !connected
            .as_ref()
            .is_some_and(|connected| Arc::ptr_eq(connected.tenant(), tenant))
        {
            // Off the other's account first, whatever comes of it.
            *connected = None;
            *connected = Some(tenant.connect()?);
        }
        Ok(())
    }
}

/// What every request needs, shared by all threads of a worker.
pub struct Gateway {
    table: ArcSwap<Table>,
    resident: Arc<Resident>,
    resting: Arc<Resting>,
    ticker: Ticker,
    lines: LineSender,
    trusted: TrustedProxies,
    clocks: ClockResolution,
    unrouted: [AtomicU64; Refusal::ALL.len()],
    tracker: TaskTracker,
    compute: Arc<Compute>,
    buffers: Buffers,
    shed_below_class: AtomicU64,
}

/// What a gateway is made of.
pub struct GatewayParts {
    /// Components in memory.
    pub resident: Arc<Resident>,
    /// Instances that rest between requests.
    pub resting: Arc<Resting>,
    /// Interrupts guests.
    pub ticker: Ticker,
    /// Where guests' lines go.
    pub lines: LineSender,
    /// Whose word about clients is believed.
    pub trusted: TrustedProxies,
    /// How exact guests' clocks are.
    pub clocks: ClockResolution,
    /// Holds the tasks that outlive a response.
    pub tracker: TaskTracker,
    /// Threads for guests that compute.
    pub compute: Arc<Compute>,
    /// The node's budget for buffers.
    pub buffers: Buffers,
}

impl Gateway {
    /// A gateway with an empty table.
    #[must_use]
    pub fn new(parts: GatewayParts) -> Self {
        let GatewayParts {
            resident,
            resting,
            ticker,
            lines,
            trusted,
            clocks,
            tracker,
            compute,
            buffers,
        } = parts;
        Self {
            table: ArcSwap::default(),
            resident,
            resting,
            ticker,
            lines,
            trusted,
            clocks,
            unrouted: std::array::from_fn(|_| AtomicU64::new(0)),
            tracker,
            compute,
            buffers,
            shed_below_class: AtomicU64::new(0),
        }
    }

    /// Refuses new requests of tenants whose priority class is below this, from the next one on.
    pub fn shed_below(&self, class: u64) {
        self.shed_below_class.store(class, Ordering::Relaxed);
    }

    /// The node's budget for buffers.
    #[must_use]
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    pub(super) fn trusted(&self) -> &TrustedProxies {
        &self.trusted
    }

    /// Counts a refusal of what belongs to no tenant.
    pub(super) fn refused_unrouted(&self, refusal: Refusal) {
        if let Some(count) = self.unrouted.get(refusal.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Serves by this table from the next request on.
    pub fn set_table(&self, table: Table) {
        self.table.store(Arc::new(table));
    }

    /// The certificate that a server name gets now.
    pub(super) fn certificate(
        &self,
        name: &str,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<Served>> {
        self.table.load().certificate(name, schemes).cloned()
    }

    /// Guests alive now.
    #[must_use]
    pub fn instances(&self) -> u64 {
        self.ticker.count()
    }

    /// Refusals of requests that belong to no tenant, since the last call.
    #[must_use]
    pub fn take_unrouted(&self) -> Vec<(String, u64)> {
        Refusal::ALL
            .iter()
            .zip(&self.unrouted)
            .map(|(refusal, count)| {
                (
                    refusal.reason().to_owned(),
                    count.swap(0, Ordering::Relaxed),
                )
            })
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Answers one request. `deadline` is where its connection, or stream, looks at when the response must be out.
    ///
    /// # Cancel safety
    /// Dropped when the client goes away: the guest ends there.
    pub(super) async fn serve(
        self: Arc<Self>,
        peer: &Peer,
        deadline: &Arc<ResponseDeadline>,
        request: Request<Incoming>,
        request_id: String,
    ) -> Response<GatewayBody> {
        // Next to it there may have been a `Content-Length`, which hyper does not show: after such a request the
        // connection must be closed (RFC 9112 §6.1), lest a proxy in front took the other length for the true one.
        let chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let mut response = self.answer(peer, deadline, request, request_id).await;
        if chunked {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }

    async fn answer(
        self: Arc<Self>,
        peer: &Peer,
        deadline: &Arc<ResponseDeadline>,
        request: Request<Incoming>,
        request_id: String,
    ) -> Response<GatewayBody> {
        let (route, authority) = match self.route(peer, &request) {
            Ok(found) => found,
            Err(refusal) => {
                self.refused_unrouted(refusal);
                return refuse(refusal, &request_id);
            }
        };
        if let Err(refusal) = peer.connect(&route.tenant) {
            route.tenant.refused(refusal);
            route.tenant.responded(refusal.status());
            let mut response = refuse(refusal, &request_id);
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
            return response;
        }
        let (admission, buffers) = match self.admit(&route.tenant, &request).await {
            Ok(admitted) => admitted,
            Err(refused) => {
                route.tenant.responded(refused.refusal.status());
                return refuse(refused, &request_id);
            }
        };
        let log = Arc::new(RequestLog {
            tenant: Arc::clone(&route.tenant),
            module: Arc::clone(&route.module),
            request_id: request_id.as_str().into(),
            lines: self.lines.clone(),
        });
        let loaded = match self.loaded(&route, &admission).await {
            Ok(loaded) => loaded,
            Err(refusal) => {
                route.tenant.refused(refusal);
                route.tenant.responded(refusal.status());
                log.node(&format!(
                    "{}: version {} could not be loaded",
                    refusal.reason(),
                    route.version
                ));
                return refuse(refusal, &request_id);
            }
        };
        let head_only = request.method() == Method::HEAD;
        let exchange = Arc::new(Exchange::new(Instant::now(), peer.frames.clone()));
        let guest_request =
            self.guest_request(request, authority, peer, &route, &admission, &exchange);
        let (start, slice) = self.start(&route, &loaded, &admission, &log);
        let (sender, head) = oneshot::channel();
        let keep = route.instances.is_some();
        let serving = Box::pin(loaded.serve(start, guest_request, sender, keep));
        let running = self.ticker.running();
        let parts = GuestParts {
            serving,
            slice,
            exchange,
            compute: Arc::clone(&self.compute),
            habit: Arc::clone(&route.habit),
            instances: route.instances.clone(),
            log,
            running,
            buffers,
        };
        let mut guest = Guest::new(parts, admission, &peer.queue);
        let mut response = match head_of(&mut guest, head).await {
            Ok(response) => match self.respond(response, guest, head_only, deadline).await {
                Ok(response) => response,
                Err(refusal) => refuse(refusal, &request_id),
            },
            Err(refusal) => refuse(refusal, &request_id),
        };
        route.tenant.responded(response.status().as_u16());
        stamp(response.headers_mut(), &request_id);
        response
    }

    /// Admits a request, after its wait for a place where there is none.
    async fn admit(
        &self,
        tenant: &Arc<Tenant>,
        request: &Request<Incoming>,
    ) -> Result<(Admission, Charge), Refused> {
        let target = request.uri().path_and_query();
        let ask = Ask {
            url_bytes: target.map_or(0, |target| target.as_str().len() as u64),
            header_bytes: header_bytes(request.headers()) as u64,
            body_bytes: declared_bytes(request.headers()),
            shed_below_class: self.shed_below_class.load(Ordering::Relaxed),
        };
        let Some(buffers) = self.buffers.request(request.version() == Version::HTTP_2) else {
            tenant.refused(Refusal::Pressure);
            return Err(Refusal::Pressure.into());
        };
        let mut queued = match tenant.admit(ask, Instant::now())? {
            Entry::Admitted(admission) => return Ok((admission, buffers)),
            Entry::Queued(queued) => queued,
        };
        match tokio::time::timeout(queued.wait_max, &mut queued.place).await {
            Ok(Ok(place)) => Ok((queued.admitted(place, Instant::now()), buffers)),
            Ok(Err(_)) | Err(_) => {
                tenant.refused(Refusal::Concurrency);
                Err(Refusal::Concurrency.into())
            }
        }
    }

    /// The route, and the authority the client asked for.
    fn route(
        &self,
        peer: &Peer,
        request: &Request<Incoming>,
    ) -> Result<(Arc<Route>, Authority), Refusal> {
        // hyper bounds its buffer, which may hold one read more than that.
        // Of HTTP/2 it counts no fields.
        if header_bytes(request.headers()) > peer.header_bytes_max
            || request.headers().len() > peer.header_count_max
        {
            return Err(Refusal::Header);
        }
        if !is_target_of_a_site(request.method(), request.uri()) {
            return Err(Refusal::BadRequest);
        }
        let authority = authority_of(request).ok_or(Refusal::BadRequest)?;
        let host =
            Hostname::normal_form_of_host_header(authority.as_str()).map_err(
                |error| match error {
                    // An address is a fine authority; it just names no site.
                    HostnameError::IpLiteral { .. } => Refusal::NoRoute,
                    _ => Refusal::BadRequest,
                },
            )?;
        let certificate = peer.certificate.as_deref();
        // The client has not been shown that this is who it asks for (RFC 9110 §7.4).
        if certificate.is_some_and(|certificate| !certificate.covers(&host)) {
            return Err(Refusal::Misdirected);
        }
        let table = self.table.load();
        let route = table
            .find(&host, request.uri().path())
            .ok_or(Refusal::NoRoute)?;
        if certificate.is_some_and(|certificate| certificate.tenant() != &**route.tenant.name()) {
            return Err(Refusal::Misdirected);
        }
        Ok((Arc::clone(route), authority))
    }

    /// An instance that has rested, where the module uses them again and there is one; else what a new one needs.
    fn start(
        &self,
        route: &Route,
        loaded: &Loaded,
        admission: &Admission,
        log: &Arc<RequestLog>,
    ) -> (Start, Arc<Slice>) {
        let limits = admission.limits();
        let to_usize = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let log = Arc::clone(log) as Arc<dyn GuestLog>;
        let handles_max = to_usize(limits.instance_handles_max);
        let hostcall_bytes_max = to_usize(limits.instance_hostcall_bytes_max);
        let memory_bytes_max = limits.instance_memory_bytes_max;
        let memory_refused_traps = limits.memory_refused_traps;
        let next = || NextRequest {
            log: Arc::clone(&log),
            handles_max,
            hostcall_bytes_max,
            memory_bytes_max,
            memory_refused_traps,
        };
        let shared = route
            .instances
            .as_ref()
            .filter(|instances| instances.are_shared());
        if let Some(instances) = &route.instances {
            if shared.is_some() {
                if let Some(member) = instances.join(&next()) {
                    let slice = member.slice();
                    return (Start::Join(member), slice);
                }
            } else if let Some(mut live) = instances.take(memory_bytes_max, Instant::now()) {
                live.turn_to(next());
                let slice = live.slice();
                return (Start::Again(live), slice);
            }
        }
        let slice = Arc::<Slice>::default();
        let memory = Arc::clone(admission.tenant().memory());
        let resting = Arc::clone(&self.resting);
        let state = GuestState::new(GuestOptions {
            log: Arc::clone(&log),
            limits: InstanceLimits::new(memory_bytes_max, memory_refused_traps, memory, resting),
            handles_max,
            hostcall_bytes_max,
            slice: Arc::clone(&slice),
            clocks: self.clocks,
            capabilities: Arc::clone(&route.capabilities),
            files: loaded.files(),
        });
        let start = match shared {
            Some(instances) => Start::Share {
                state,
                instances: Arc::clone(instances),
                next: next(),
            },
            None => Start::New(state),
        };
        (start, slice)
    }

    async fn loaded(&self, route: &Route, admission: &Admission) -> Result<Arc<Loaded>, Refusal> {
        if let Some(loaded) = route.slot.get() {
            return Ok(loaded);
        }
        tokio::time::timeout_at(admission.deadline().into(), self.resident.load(&route.slot))
            .await
            .unwrap_or(Err(Refusal::Deadline))
    }

    fn guest_request(
        &self,
        request: Request<Incoming>,
        authority: Authority,
        peer: &Peer,
        route: &Route,
        admission: &Admission,
        exchange: &Arc<Exchange>,
    ) -> Request<WasiBody> {
        let (mut parts, body) = request.into_parts();
        remove_hop_by_hop(&mut parts.headers);
        if parts.version == Version::HTTP_2 {
            join_cookies(&mut parts.headers);
        }
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            set_forwarded(&mut parts.headers, &peer.client, &host);
        }
        let path = parts
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(match peer.certificate {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        });
        uri.authority = Some(authority);
        uri.path_and_query = Some(path);
        // All three parts are there, so they make a URI.
        parts.uri = Uri::from_parts(uri).unwrap_or_default();
        spin::set(
            &mut parts.headers,
            &route.fields,
            &parts.uri,
            &peer.client_addr,
        );
        let tenant = Arc::clone(admission.tenant());
        let body = RequestBody::new(
            body,
            tenant,
            admission.limits().request_body_bytes_max,
            Arc::clone(exchange),
        );
        Request::from_parts(parts, body.boxed_unsync())
    }

    /// The response with what is there of its body; a refusal where that is broken already.
    async fn respond(
        &self,
        response: Response<WasiBody>,
        guest: Guest,
        head_only: bool,
        deadline: &Arc<ResponseDeadline>,
    ) -> Result<Response<GatewayBody>, Refusal> {
        let (mut parts, body) = response.into_parts();
        remove_hop_by_hop(&mut parts.headers);
        // Only the node says why it answered in a guest's place.
        parts.headers.remove(REASON);
        let bodiless = head_only
            || matches!(
                parts.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let body = if bodiless {
            let body = GuestBody::new(guest, body, None, self.tracker.clone(), None);
            self.tracker.spawn(body.discard());
            GatewayBody::whole(None)
        } else {
            let deadline = Some(Arc::clone(deadline));
            let declared = declared_bytes(&parts.headers);
            let tracker = self.tracker.clone();
            let mut body = GuestBody::new(guest, body, declared, tracker, deadline);
            std::future::poll_fn(|cx| Poll::Ready(body.look(cx))).await?;
            GatewayBody::of_guest(body)
        };
        Ok(Response::from_parts(parts, body))
    }
}
