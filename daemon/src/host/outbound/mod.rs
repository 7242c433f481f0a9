//! Requests that guests send to others.
//!
//! Takes a guest's request and what its module was granted; gives the answer, or one reason why there is none. Control
//! judges where a connection may go and makes it ([`crate::control`]): this process cannot connect anywhere. Promises
//! that nothing is sent that no grant covers, that no redirect is followed, that a request, its bodies and its time are
//! within the tenant's limits, and that what a guest leaves undone is closed with it.

mod body;
mod failure;
mod flow;
mod hooks;
mod origin;
mod pool;
mod trust;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use edge_config::OutboundPattern;
use http::{Method, Request, Response, Uri, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use wasmtime_wasi_http::{RequestOptions, WasiBody};

use super::capabilities::Capabilities;
use super::databases::Databases;
use super::stdio::GuestLog;
use crate::link::TenantLimits;
use crate::link::services::{Ask, Unconnected};
use crate::quota::{OutboundAccount, OutboundPlace, Outcome};
use body::{ReceivedBody, SentBody};
use origin::Origin;
use pool::{Connection, Pool};

pub(super) use failure::Failure;
pub(super) use flow::{Flow, open, resolve};
pub(super) use hooks::OutboundHooks;
pub use trust::Trust;

/// The scheme of connections that guests speak on by themselves, as grants have it.
const TCP: &str = "tcp";
/// The largest header of an answer, in bytes; hyper's own bound on the number of its fields is 100.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// What the guests of one module may send, and the connections that they used.
pub(super) struct Outbound {
    grants: Vec<OutboundPattern>,
    pool: Arc<Pool>,
    databases: Databases,
}

impl Outbound {
    /// As a module's grants have it; nothing where nothing was granted.
    pub(super) fn new(granted: &[String]) -> Option<Box<Self>> {
        // Control wrote them: each is one.
        let grants: Vec<_> = granted
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        (!grants.is_empty()).then(|| {
            Box::new(Self {
                grants,
                pool: Arc::default(),
                databases: Databases::default(),
            })
        })
    }

    /// Whether connections to this name or address, and this port, are granted.
    pub(super) fn covers_tcp(&self, host: &str, port: u16) -> bool {
        self.covers_as(TCP, host, port)
    }

    /// The same for another scheme.
    pub(super) fn covers_as(&self, scheme: &str, host: &str, port: u16) -> bool {
        let mut grants = self.grants.iter();
        grants.any(|grant| grant.matches(scheme, host, port))
    }

    /// Its guests' connections to databases that may be used again.
    pub(super) fn databases(&self) -> &Databases {
        &self.databases
    }

    fn covers(&self, origin: &Origin) -> bool {
        self.covers_as(origin.scheme(), &origin.host, origin.port)
    }
}

/// One request under way, on its tenant's account.
struct Call {
    account: Arc<OutboundAccount>,
    limits: Arc<TenantLimits>,
    log: Arc<dyn GuestLog>,
    until: Instant,
    /// For the log.
    target: String,
    _place: OutboundPlace,
}

impl Call {
    /// Tells everybody but the guest.
    fn failed(&self, failure: &Failure) {
        tell(&self.account, &*self.log, &self.target, failure);
    }
}

fn tell(account: &OutboundAccount, log: &dyn GuestLog, target: &str, failure: &Failure) {
    account.ended(failure.outcome());
    log.word(&format!(
        "outgoing request to {target}: {}: {failure}",
        failure.outcome().name()
    ));
}

/// Sends a guest's request; `number` says how many its own request has sent, this one included.
///
/// # Errors
/// [`Failure`], counted and logged.
///
/// # Cancel safety
/// Dropped, the connection is closed.
async fn send(
    capabilities: Arc<Capabilities>,
    log: Arc<dyn GuestLog>,
    number: u64,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Response<WasiBody>, Failure> {
    let tenant = capabilities.tenant();
    let (account, limits) = (Arc::clone(tenant.outbound()), tenant.limits());
    // Only as much of it as names the place: paths and queries carry secrets.
    let target = match request.uri().authority() {
        Some(authority) => authority.as_str().chars().take(256).collect(),
        None => String::from("nowhere"),
    };
    let begun = begin(&capabilities, &limits, &account, number, &request);
    let (origin, place) = begun.inspect_err(|failure| tell(&account, &*log, &target, failure))?;
    let call = Call {
        until: Instant::now() + Duration::from_millis(limits.outbound_ms_max),
        account,
        limits,
        log,
        target,
        _place: place,
    };
    match answered(&capabilities, &call, origin, request, options).await {
        Ok((response, connection, pool)) => {
            call.account.ended(Outcome::Answered);
            let still_max = options.between_bytes_timeout;
            Ok(response.map(|body| {
                ReceivedBody::new(body, connection, pool, call, still_max).boxed_unsync()
            }))
        }
        Err(failure) => {
            call.failed(&failure);
            Err(failure)
        }
    }
}

/// All that is judged before anything is done.
fn begin(
    capabilities: &Capabilities,
    limits: &TenantLimits,
    account: &Arc<OutboundAccount>,
    number: u64,
    request: &Request<WasiBody>,
) -> Result<(Origin, OutboundPlace), Failure> {
    let origin = Origin::of(request.uri())?;
    if request.method() == Method::CONNECT {
        return Err(Failure::Tunnel);
    }
    let covered = capabilities.outbound();
    if !covered.is_some_and(|outbound| outbound.covers(&origin)) {
        return Err(Unconnected::NotGranted(origin.to_string()).into());
    }
    if number > limits.outbound_per_request_max {
        return Err(Failure::TooMany(limits.outbound_per_request_max));
    }
    let most = limits.outbound_at_once_max;
    let place = account.place(most).ok_or(Failure::TooManyAtOnce(most))?;
    Ok((origin, place))
}

async fn answered(
    capabilities: &Capabilities,
    call: &Call,
    origin: Origin,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<(Response<hyper::body::Incoming>, Connection, Arc<Pool>), Failure> {
    let Some(Outbound { pool, .. }) = capabilities.outbound() else {
        return Err(Unconnected::NotGranted(origin.to_string()).into());
    };
    let (mut parts, body) = request.into_parts();
    // The target in the form for origins (RFC 9112 §3.2.1); whose it is stands in `host`.
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    parts.version = Version::HTTP_11;
    let most = call.limits.outbound_sent_bytes_max;
    // Whoever may be asked twice is asked again where a server closed a kept connection just then (RFC 9110 §9.2.2).
    let again = (parts.method.is_idempotent() && body.is_end_stream()).then(|| parts.clone());
    let (body, is_over) = SentBody::new(body, Arc::clone(&call.account), most);
    let mut request = Request::from_parts(parts, body);
    // As many turns at most as connections are kept: each takes one out.
    loop {
        let kept = pool.take(&origin);
        let is_new = kept.is_none();
        let mut connection = match kept {
            Some(connection) => connection,
            None => connect(capabilities, call, &origin, options.connect_timeout).await?,
        };
        let left = call.until.saturating_duration_since(Instant::now());
        let time = options
            .first_byte_timeout
            .map_or(left, |time| time.min(left));
        let sent = connection.sender.try_send_request(request);
        let mut error = match tokio::time::timeout(time, sent).await {
            Ok(Ok(response)) => return Ok((response, connection, Arc::clone(pool))),
            Ok(Err(error)) => error,
            Err(_) => {
                let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                return Err(Failure::NoAnswer(ms));
            }
        };
        request = match (error.take_message(), &again) {
            // Closed while it was kept, and nothing was sent on it.
            (Some(unsent), _) if !is_new => unsent,
            (None, Some(parts)) if !is_new && is_gone(error.error()) => {
                let nothing = Empty::new().map_err(Into::into).boxed_unsync();
                let (body, _) = SentBody::new(nothing, Arc::clone(&call.account), most);
                Request::from_parts(parts.clone(), body)
            }
            _ if is_over.load(Ordering::Relaxed) => return Err(Failure::SentTooLarge(most)),
            _ => return Err(Failure::on_wire(error.error(), HEADER_BYTES_MAX)),
        };
    }
}

/// Whether the other side closed the connection before it answered.
fn is_gone(error: &hyper::Error) -> bool {
    let is_io = |error: &(dyn std::error::Error + 'static)| error.is::<std::io::Error>();
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || std::error::Error::source(error).is_some_and(is_io)
}

/// A new connection, with its TLS.
async fn connect(
    capabilities: &Capabilities,
    call: &Call,
    origin: &Origin,
    guest_max: Option<Duration>,
) -> Result<Connection, Failure> {
    let Some(Outbound { pool, .. }) = capabilities.outbound() else {
        return Err(Unconnected::NotGranted(origin.to_string()).into());
    };
    let own_max = Duration::from_millis(call.limits.outbound_connect_ms_max);
    let left = call.until.saturating_duration_since(Instant::now());
    let time = guest_max
        .map_or(own_max, |time| time.min(own_max))
        .min(left);
    let ms_max = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let connecting = async {
        let ask = Ask::Connect {
            scheme: origin.scheme().to_owned(),
            host: origin.host.clone(),
            port: origin.port,
            ms_max,
        };
        let socket = capabilities.connect(ask).await??;
        let stream = std::net::TcpStream::from(socket);
        let stream = TcpStream::from_std(stream)
            .map_err(|error| Unconnected::Unreachable(error.to_string()))?;
        call.account.connected();
        if !origin.is_tls {
            return handshake(pool, origin, stream).await;
        }
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|error| Failure::Tls(error.to_string()))?;
        let connector = capabilities.trust().connector();
        let connector = connector.ok_or_else(|| Failure::Tls("it is not offered".to_owned()))?;
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|error| Failure::in_tls(&error))?;
        handshake(pool, origin, stream).await
    };
    tokio::time::timeout(time, connecting)
        .await
        .unwrap_or(Err(Unconnected::TimedOut(ms_max).into()))
}

async fn handshake<S>(pool: &Arc<Pool>, origin: &Origin, stream: S) -> Result<Connection, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    TokioIo<S>: Read + Write,
{
    let (sender, driven) = http1::Builder::new()
        .max_buf_size(HEADER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::on_wire(&error, HEADER_BYTES_MAX))?;
    Ok(pool.drive(Arc::new(origin.clone()), sender, driven))
}
