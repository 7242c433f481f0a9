//! What `wasi:http` asks of the host on behalf of a guest.

use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt as _;
use wasmtime_wasi_http::{Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks};

use super::send;
use crate::host::capabilities::Capabilities;
use crate::host::hooks::{Answering, BODY_CHUNK_BYTES, Hooks, Transmission};
use crate::host::stdio::GuestLog;

/// The hooks of one instance.
pub(in crate::host) struct OutboundHooks {
    capabilities: Arc<Capabilities>,
    log: Arc<dyn GuestLog>,
    /// Requests that the guest has sent for the request that it serves.
    sent: u64,
}

impl OutboundHooks {
    /// Of an instance whose first request has this log.
    pub(in crate::host) fn new(capabilities: Arc<Capabilities>, log: Arc<dyn GuestLog>) -> Self {
        Self {
            capabilities,
            log,
            sent: 0,
        }
    }

    /// Where what becomes of its requests is told.
    pub(in crate::host) fn log(&self) -> Arc<dyn GuestLog> {
        Arc::clone(&self.log)
    }

    /// The number of the next request or connection, and where what becomes of it is told.
    pub(in crate::host) fn next(&mut self) -> (u64, Arc<dyn GuestLog>) {
        self.sent = self.sent.saturating_add(1);
        (self.sent, Arc::clone(&self.log))
    }

    /// The instance serves another request; one of several at once begins a new count for all of them.
    pub(in crate::host) fn turn_to(&mut self, log: Arc<dyn GuestLog>) {
        self.log = log;
        self.sent = 0;
    }
}

impl WasiHttpHooks for OutboundHooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Hooks.forbidden_header_filter()
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        // How the answer was taken: nobody here asks.
        _taken: Transmission,
    ) -> Answering {
        let (number, log) = self.next();
        let options = options.unwrap_or_default();
        let sending = send(
            Arc::clone(&self.capabilities),
            log,
            number,
            request,
            options,
        );
        Box::new(async move {
            match sending.await {
                // The connection has a task of its own.
                Ok(response) => {
                    let driven: Transmission = Box::new(std::future::ready(Ok(())));
                    Ok((response.map(|body| body.boxed_unsync()), driven))
                }
                Err(failure) => Err::<_, Error>(failure.code()),
            }
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}
