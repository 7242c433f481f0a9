//! What `wasi:http` asks of the host beyond its own bookkeeping.

use std::sync::{Arc, LazyLock};

use http::HeaderName;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpHooks,
};

/// Most bytes copied out of a guest in one write of a body.
pub(super) const BODY_CHUNK_BYTES: usize = 64 << 10;

/// Headers and trailers that a guest may neither set nor see set: those of the connection, which are the gateway's.
static FORBIDDEN: LazyLock<ForbiddenHeaderFilter> =
    LazyLock::new(|| Arc::new(|name: &HeaderName| DEFAULT_FORBIDDEN_HEADERS.contains(name)));

/// What becomes of a message on its way.
pub(super) type Transmission = Box<dyn Future<Output = Result<(), Error>> + Send>;
/// An answer on its way.
pub(super) type Answering =
    Box<dyn Future<Output = Result<(http::Response<WasiBody>, Transmission), Error>> + Send>;

/// The hooks of whoever makes messages for guests and sends none.
pub(crate) struct Hooks;

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::clone(&FORBIDDEN)
    }

    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _taken: Transmission,
    ) -> Answering {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}
